"""The layers: which files of `src_c/` may include which, and which modules import which."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "src_c"
PACKAGE = ROOT / "registry"

# The rooms of the core, which are the folders of `src_c/`, from the bottom up. A file may include
# files of its own room and of lower rooms. The facade, `registry.h`, has no room; only the rooms
# from `registry` on may include it.
ROOMS = ("base", "reclaim", "store", "registry", "choose")
# These rooms of the package must not use each other or the commands in `cli`.
SIDE_ROOMS = ("fleet",)


def includes(path: Path) -> list[str]:
    """The core's headers that a file includes, as paths below `src_c/`."""
    return re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)


def sources() -> dict[str, list[str]]:
    """Each file of the core, and the headers that it includes."""
    files = sorted(CORE.rglob("*.[ch]"))
    return {path.relative_to(CORE).as_posix(): includes(path) for path in files}


def room_of(name: str) -> str:
    """The room of a file, or an empty string for the facade."""
    return name.partition("/")[0] if "/" in name else ""


def test_every_file_of_the_core_has_a_room() -> None:
    assert {room_of(name) for name in sources()} == {"", *ROOMS}
    assert [name for name in sources() if not room_of(name)] == ["registry.h"]


@pytest.mark.parametrize("name", sources())
def test_no_include_points_up(name: str) -> None:
    rank = ROOMS.index(room_of(name)) if room_of(name) else -1
    for header in sources()[name]:
        assert (CORE / header).is_file(), f"{header}: give its path from src_c/"
        if room_of(header):
            assert name == "registry.h" or ROOMS.index(room_of(header)) <= rank
            assert name != "registry.h" or room_of(header) == "base"
        else:
            assert rank >= ROOMS.index("registry"), f"{name} is below the facade"


def test_modules_of_the_core_have_no_circle() -> None:
    """A module is a header together with the `.c` file of the same name."""
    modules: dict[str, set[str]] = {}
    for name, headers in sources().items():
        used = modules.setdefault(name[:-2], set())
        used |= {header[:-2] for header in headers} - {name[:-2]}
    try:
        TopologicalSorter(modules).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def imports(path: Path) -> Iterator[str]:
    """The names that a file imports, including imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("room", SIDE_ROOMS)
def test_side_rooms_do_not_use_each_other_or_the_commands(room: str) -> None:
    others = (*(other for other in SIDE_ROOMS if other != room), "cli")
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imports(path):
            assert not name.startswith(tuple(f"registry.{other}" for other in others)), (path, name)


def test_only_the_commands_and_main_use_the_commands() -> None:
    for path in PACKAGE.rglob("*.py"):
        if PACKAGE / "cli" in path.parents or path.name == "__main__.py":
            continue
        assert not [name for name in imports(path) if name.startswith("registry.cli")], path
