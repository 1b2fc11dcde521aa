"""`follow_fleet`: what changes in a file takes effect; mistakes and ends leave the fleet alone.

Nothing here depends on how long something takes: tests wait for a state, with a generous deadline.
In most of them the follower looks at the file only after an event, so a missed event is a failure.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.children import run_clean_child
from support.fleets import make_backend

from registry import (
    DiscoverySource,
    FleetFileError,
    FleetFollower,
    Registry,
    follow_fleet,
)
from registry.fleet import follow
from registry.fleet.file import parse_fleet
from registry.fleet.route import route_to

DEADLINE = 60.0
FOREVER = 10_000.0
Change = Callable[[str], None]


def fleet_of(*ids: str) -> str:
    """The content of a fleet file with these backends."""
    return "".join(f'[[backends]]\nname = "{one}"\nurl = "http://{one}"\n' for one in ids)


def wait_until(is_true: Callable[..., object], *arguments: Any) -> None:
    """Waits for a state that will come."""
    end = time.monotonic() + DEADLINE
    while not is_true(*arguments):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def put(path: Path, text: str) -> None:
    """Replaces a file by renaming."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    os.replace(new, path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A fleet file with the backend a."""
    path = tmp_path / "fleet.toml"
    path.write_text(fleet_of("a"))
    return path


@pytest.fixture
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers look only at the beginning and after events."""
    monkeypatch.setattr(follow, "LOOK_EVERY", FOREVER)
    monkeypatch.setattr(follow, "LOOK_UNWATCHED_EVERY", FOREVER)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [one for one in threading.enumerate() if one.name.startswith("follow ")] == []


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


# ---- entering


def test_the_file_is_loaded_on_entering(registry: Registry, file: Path) -> None:
    registry.add_backend(make_backend("old"))
    registry.add_backend(make_backend("other", discovery_source="mdns"))
    follower = follow_fleet(registry, file)
    assert list(registry) == ["old", "other"]
    with follower as entered:
        assert entered is follower
        assert isinstance(entered, FleetFollower)
        assert set(registry) == {"other", "a"}
        assert (follower.reloads, follower.last_error) == (0, None)
        assert repr(follower) == f"<FleetFollower of {str(file)!r}: 0 reloads>"
    assert set(registry) == {"other", "a"}


@pytest.mark.parametrize("source", [DiscoverySource.MANUAL, "manual"])
def test_the_backends_get_the_source(registry: Registry, file: Path, source: Any) -> None:
    registry.add_backend(make_backend("other"))
    with follow_fleet(registry, str(file), source=source) as follower:
        put(file, fleet_of("b"))
        wait_until(lambda: follower.reloads)
        found = {view.id: view.discovery_source.value for view in registry.get_all_backends()}
        assert found == {"other": "static", "b": "manual"}


@pytest.mark.parametrize("empty", ["", "backends = []", "[server]\nport = 1"])
def test_an_empty_file_on_entering_is_an_empty_fleet(
    registry: Registry, file: Path, empty: str
) -> None:
    registry.add_backend(make_backend("old"))
    file.write_text(empty)
    with follow_fleet(registry, file) as follower:
        assert list(registry) == []
        file.write_text(empty + "\n# still empty")
        wait_until(lambda: follower.reloads == 1)
        put(file, fleet_of("a"))
        wait_until(lambda: "a" in registry)
        assert follower.last_error is None


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("[[backends]]\nname = 1", FleetFileError, r"backends\[0\]"),
        ("[[", FleetFileError, "expected TOML"),
        (None, FileNotFoundError, "fleet.toml"),
        (fleet_of("a", "taken"), ValueError, "taken.*mdns"),
    ],
)
def test_a_mistake_on_entering_raises(
    registry: Registry, file: Path, text: str | None, error: type[Exception], match: str
) -> None:
    registry.add_backend(make_backend("old"))
    registry.add_backend(make_backend("taken", discovery_source="mdns"))
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(error, match=match), follow_fleet(registry, file):
        raise AssertionError("it was entered")
    assert list(registry) == ["old", "taken"]


def test_a_follower_is_entered_once(registry: Registry, file: Path) -> None:
    follower = follow_fleet(registry, file)
    with follower, pytest.raises(RuntimeError, match="once"), follower:
        pass
    with pytest.raises(RuntimeError, match="once"), follower:
        pass


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((5, "f"), TypeError, "^registry must be a Registry, not int"),
        ((Registry(), 5), TypeError, "^path must be"),
        ((Registry(), "f", "nowhere"), ValueError, "^source must be one of 'static'"),
        ((Registry(), "f", 5), TypeError, "^source must be"),
        ((Registry(), "f", "static", 1), TypeError, "^allow_empty must be a bool"),
    ],
)
def test_a_bad_argument_is_refused(
    arguments: tuple[Any, ...], error: type[Exception], match: str
) -> None:
    names = ("source", "allow_empty")
    with pytest.raises(error, match=match):
        follow_fleet(*arguments[:2], **dict(zip(names, arguments[2:], strict=False)))


def test_without_the_extra_the_error_names_it() -> None:
    code = """
import sys
sys.modules["watchfiles"] = None
from registry import Registry, follow_fleet
try:
    follow_fleet(Registry(), "fleet.toml")
except ImportError as error:
    print(error)
"""
    assert "pip install 'backend-registry[follow]'" in run_clean_child(code)


def test_the_package_imports_nothing_for_followers() -> None:
    code = "import sys, registry; print({'watchfiles', 'anyio', 'asyncio'} & set(sys.modules))"
    assert run_clean_child(code) == "set()\n"


# ---- changes of the file, and of the way to it


def in_place(path: Path) -> Change:
    return lambda text: put_in_place(path, text)


def put_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def renamed(path: Path) -> Change:
    """As most editors save."""
    return lambda text: put(path, text)


def with_backup(path: Path) -> Change:
    """As editors save that keep the old file under another name."""

    def change(text: str) -> None:
        os.replace(path, f"{path}~")
        path.write_text(text)

    return change


def removed_and_made(path: Path) -> Change:
    def change(text: str) -> None:
        path.unlink()
        path.write_text(text)

    return change


def config_map(path: Path) -> Change:
    """A Kubernetes ConfigMap: fleet.toml -> ..data/fleet.toml, ..data -> ..TIME."""
    data = path.with_name("..data")
    count = iter(range(1000))

    def change(text: str) -> None:
        fresh = path.with_name(f"..{next(count)}")
        fresh.mkdir()
        (fresh / path.name).write_text(text)
        old = data.resolve() if data.is_symlink() else None
        new = path.with_name("..data_tmp")
        new.symlink_to(fresh.name)
        os.replace(new, data)
        if old is not None:
            shutil.rmtree(old)
        elif not path.is_symlink():
            path.unlink()
            path.symlink_to(f"..data/{path.name}")

    change(path.read_text())
    return change


def release(path: Path, *, whole: bool = False, absolute: bool = False) -> Change:
    """Releases: `current` is a link that is swapped. The path leads through it."""
    releases = path.parent.parent / "releases"
    current = path.parent
    count = iter(range(1000))

    def change(text: str) -> None:
        fresh = releases / f"r{next(count)}"
        fresh.mkdir(parents=True)
        (fresh / path.name).write_text(text)
        new = current.with_name("current.new")
        new.symlink_to(fresh if absolute else os.path.relpath(fresh, current.parent))
        if current.is_symlink() or not current.exists():
            os.replace(new, current)
        else:
            shutil.rmtree(current)
            new.rename(current)
        if whole:
            for old in releases.iterdir():
                if old != fresh:
                    shutil.rmtree(old)

    change(path.read_text())
    return change


def moved_directory(path: Path) -> Change:
    """The directory itself is another one, perhaps with the number of the old one."""
    where = path.parent

    def change(text: str) -> None:
        fresh = where.with_name("fresh")
        fresh.mkdir()
        (fresh / path.name).write_text(text)
        shutil.rmtree(where)
        fresh.rename(where)

    return change


def link_to_link(path: Path) -> Change:
    """fleet.toml -> one -> two -> the file, and the last link changes its target."""
    folder = path.parent / "files"
    folder.mkdir()
    count = iter(range(1000))

    def change(text: str) -> None:
        fresh = folder / f"f{next(count)}"
        fresh.write_text(text)
        new = folder / "new"
        new.symlink_to(fresh)
        os.replace(new, folder / "two")

    change(path.read_text())
    path.unlink()
    path.with_name("one").symlink_to("files/../files/two")
    path.symlink_to("one")
    return change


def behind_a_link(path: Path) -> Change:
    """The file is elsewhere, and written there."""
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()
    real = elsewhere / "real.toml"
    real.write_text(path.read_text())
    path.unlink()
    path.symlink_to(real)
    return renamed(real)


def other_name(path: Path) -> Change:
    """Written through a hard link in another directory, as if only the file were mounted."""
    folder = path.parent / "outside"
    folder.mkdir()
    os.link(path, folder / "fleet.toml")
    return in_place(folder / "fleet.toml")


WAYS: dict[str, Callable[[Path], Change]] = {
    "in place": in_place,
    "renamed": renamed,
    "with backup": with_backup,
    "removed and made": removed_and_made,
    "config map": config_map,
    "release": release,
    "release, old one removed": lambda path: release(path, whole=True),
    "release, absolute": lambda path: release(path, absolute=True),
    "moved directory": moved_directory,
    "link to link": link_to_link,
    "behind a link": behind_a_link,
    "other name": other_name,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that ways may replace."""
    made = tmp_path / "in" / "current"
    made.mkdir(parents=True)
    return made


@pytest.mark.usefixtures("only_events")
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_change_a_file_is_followed(registry: Registry, folder: Path, way: str) -> None:
    path = folder / "fleet.toml"
    path.write_text(fleet_of("a"))
    change = WAYS[way](path)
    with follow_fleet(registry, path) as follower:
        for number in range(3):
            for name, write in (
                (f"b{number}", change),
                (f"c{number}", lambda text: put_in_place(path.resolve(), text)),
                (f"d{number}", lambda text: put(path.resolve(), text)),
            ):
                if way == "other name" and name[0] == "d":
                    continue  # it would undo the link
                write(fleet_of("a", name))
                wait_until(registry.__contains__, name)
                assert list(registry) == ["a", name]
        wait_until(lambda: follower.reloads >= 6)
        assert follower.last_error is None


@pytest.mark.usefixtures("only_events")
def test_a_relative_path_stays_where_it_was(
    registry: Registry, file: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.chdir(file.parent)
    with follow_fleet(registry, "./in/../fleet.toml"):
        monkeypatch.chdir(folder)
        put(file, fleet_of("b"))
        wait_until(lambda: list(registry) == ["b"])


@pytest.mark.usefixtures("only_events")
def test_only_what_is_new_is_loaded(registry: Registry, file: Path) -> None:
    with follow_fleet(registry, file) as follower:
        serial = registry.get_all_backends()[0].serial
        for _ in range(3):
            os.utime(file)
            put(file, file.read_text())
            (file.parent / "other.toml").write_text("x")
        put(file, fleet_of("a", "b"))
        wait_until(lambda: follower.reloads)
        assert (follower.reloads, list(registry)) == (1, ["a", "b"])
        assert registry.get_all_backends()[0].serial == serial


@pytest.mark.usefixtures("only_events")
def test_many_changes_end_with_the_last_one(registry: Registry, file: Path) -> None:
    with follow_fleet(registry, file):
        for number in range(300):
            put(file, fleet_of(f"b{number}"))
        wait_until(lambda: list(registry) == ["b299"])


# ---- nothing is missed in between


@pytest.mark.usefixtures("only_events")
def test_a_change_between_the_load_and_the_watch_is_seen(
    registry: Registry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(path: str) -> Any:
        if (found := route_to(path)) and file.read_text() == fleet_of("a"):
            put(file, fleet_of("b"))
        return found

    monkeypatch.setattr(follow, "route_to", late)
    with follow_fleet(registry, file):
        wait_until(lambda: list(registry) == ["b"])


@pytest.mark.usefixtures("only_events")
def test_a_link_swapped_before_the_watch_begins_is_followed(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch would see the old target only."""
    path = folder / "fleet.toml"
    path.write_text(fleet_of("a"))
    change = release(path)
    steps = iter([lambda: change(fleet_of("b"))])

    def late(path: str) -> Any:
        found = route_to(path)
        next(steps, lambda: None)()
        return found

    monkeypatch.setattr(follow, "route_to", late)
    with follow_fleet(registry, path):
        wait_until(lambda: list(registry) == ["b"])
        put(path.resolve(), fleet_of("c"))
        wait_until(lambda: list(registry) == ["c"])


@pytest.mark.usefixtures("only_events")
def test_a_change_during_a_load_is_seen(
    registry: Registry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any, **options: Any) -> Any:
        found = parse_fleet(*arguments, **options)
        if found[0].id == "b":
            put(file, fleet_of("c"))
        return found

    monkeypatch.setattr(follow, "parse_fleet", slow)
    with follow_fleet(registry, file):
        put(file, fleet_of("b"))
        wait_until(lambda: list(registry) == ["c"])


@pytest.mark.usefixtures("only_events")
def test_a_file_that_is_still_being_written_is_awaited(
    registry: Registry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there so far would be a fleet, too."""
    parts = [fleet_of("b"), fleet_of("b", "c"), fleet_of("b", "c", "d")]
    parsed = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        parsed.append(arguments[1])
        return parse_fleet(*arguments, **options)

    with follow_fleet(registry, file) as follower:
        monkeypatch.setattr(follow, "parse_fleet", recorded)
        reads = iter(part.encode() for part in parts)
        monkeypatch.setattr(follow, "_read", lambda _: next(reads, parts[-1].encode()))
        file.write_text(parts[0])
        wait_until(lambda: follower.reloads)
        assert parsed == [parts[-1].encode()]
        assert list(registry) == ["b", "c", "d"]


class Deaf:
    """A watcher that reports nothing, as of a network file system."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def __enter__(self) -> Deaf:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def watch(self, _debounce: int, _step: int, timeout: int, stopping: threading.Event, /) -> str:
        return "stop" if stopping.wait(timeout / 1000) else "timeout"


class Refused(Deaf):
    """No watch can be made: the user has none left."""

    def __init__(self, *_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no watches left")


class Failing(Deaf):
    def watch(self, *_arguments: object) -> str:
        raise RuntimeError("internal error")


@pytest.mark.parametrize("kind", [Deaf, Refused, Failing])
def test_without_events_the_file_is_followed_too(
    registry: Registry, file: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Deaf]
) -> None:
    monkeypatch.setattr(follow, "_watching_class", lambda: kind)
    with follow_fleet(registry, file) as follower:
        put(file, fleet_of("b"))
        wait_until(lambda: list(registry) == ["b"])
        file.unlink()
        wait_until(lambda: follower.last_error)
        put(file, fleet_of("c"))
        wait_until(lambda: list(registry) == ["c"])


# ---- mistakes


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


MISTAKES: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "malformed": (lambda path: put(path, "[[backends"), FleetFileError, "expected TOML"),
    "half": (lambda path: put(path, fleet_of("b", "c")[:-9]), FleetFileError, "expected TOML"),
    "wrong": (
        lambda path: put(path, fleet_of("b") + "weight = 0"),
        FleetFileError,
        "backends[0].weight: expected",
    ),
    "not UTF-8": (lambda path: path.write_bytes(b"# \xff"), FleetFileError, "byte 2: expected"),
    "missing": (lambda path: path.unlink(), FileNotFoundError, "No such file"),
    "directory": (make_directory, IsADirectoryError, "s a directory"),
    "pipe": (make_pipe, OSError, "not a regular file"),
    "circle": (make_circle, OSError, "symbolic links"),
    "folder missing": (
        lambda path: shutil.rmtree(path.parent),
        FileNotFoundError,
        "No such file",
    ),
    "empty": (lambda path: put(path, ""), FleetFileError, "expected [[backends]]: it has lost"),
    "misnamed": (
        lambda path: put(path, fleet_of("b").replace("backends", "Backends")),
        FleetFileError,
        "Backends was ignored: did you mean [[backends]]?",
    ),
    "conflict": (lambda path: put(path, fleet_of("a", "taken")), ValueError, "'taken'"),
}


@pytest.mark.usefixtures("only_events")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_leaves_the_fleet_and_gives_one_warning(
    registry: Registry, folder: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    mistake, error, text = MISTAKES[name]
    path = folder / "fleet.toml"
    path.write_text(fleet_of("a"))
    registry.add_backend(make_backend("taken", discovery_source="mdns"))
    with follow_fleet(registry, path) as follower:
        before = registry.get_all_backends()
        mistake(path)
        wait_until(lambda: follower.last_error)
        assert type(follower.last_error) is error
        (warning,) = warnings_in(caplog)
        assert warning.startswith(f"{path}: ")
        assert text in warning
        assert registry.get_all_backends() == before
        assert follower.reloads == 0
        assert error.__name__ in repr(follower)

        fresh = folder.with_name("fresh.toml")
        fresh.write_text(fleet_of("b"))
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        folder.mkdir(exist_ok=True)
        os.replace(fresh, path)
        wait_until(lambda: follower.reloads)
        assert follower._result == (1, None)
        assert set(registry) == {"taken", "b"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_mistake(registry: Registry, file: Path) -> None:
    with follow_fleet(registry, file) as follower:
        file.chmod(0)
        wait_until(lambda: type(follower.last_error) is PermissionError)
        file.chmod(0o644)
        wait_until(lambda: follower.last_error is None)
        assert list(registry) == ["a"]


def test_a_file_that_comes_back_as_it_was_is_a_success(registry: Registry, file: Path) -> None:
    with follow_fleet(registry, file) as follower:
        for number in range(1, 4):
            file.rename(f"{file}.away")
            wait_until(lambda: follower.last_error)
            Path(f"{file}.away").rename(file)
            wait_until(lambda: follower.last_error is None)
            assert follower.reloads == number
        assert list(registry) == ["a"]


@pytest.mark.usefixtures("only_events")
def test_there_is_one_warning_for_each_state_not_for_each_event(
    registry: Registry, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with follow_fleet(registry, file) as follower:
        for place in ("weight = 0", "max_pending = 0"):
            for number in range(4):  # other contents, but the same mistake
                earlier = follower.last_error
                put(file, fleet_of("a") + f"{place}\n# {number}")
                wait_until(lambda known: follower.last_error is not known, earlier)
                put(file, file.read_text())
        put(file, fleet_of("b"))
        wait_until(lambda: follower.reloads == 1)
        put(file, fleet_of("a") + "weight = 0")
        wait_until(lambda: follower.last_error)
    places = [one.split(": ")[1] for one in warnings_in(caplog)]
    assert places == ["backends[0].weight", "backends[0].max_pending", "backends[0].weight"]


def test_a_conflict_that_goes_away_is_resolved(
    registry: Registry, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry.add_backend(make_backend("taken", discovery_source="mdns"))
    with follow_fleet(registry, file) as follower:
        put(file, fleet_of("a", "taken"))
        wait_until(lambda: follower.last_error)
        first = follower.last_error
        wait_until(lambda: follower.last_error is not first)  # it was tried again
        assert len(warnings_in(caplog)) == 1
        registry.remove_backend("taken")
        wait_until(lambda: follower.last_error is None)
        assert list(registry) == ["a", "taken"]
        assert follower.reloads == 1


def test_with_allow_empty_a_file_may_lose_all_backends(registry: Registry, file: Path) -> None:
    registry.add_backend(make_backend("other", discovery_source="mdns"))
    with follow_fleet(registry, file, allow_empty=True) as follower:
        put(file, "")
        wait_until(lambda: list(registry) == ["other"])
        wait_until(lambda: follower.reloads == 1)
        assert follower.last_error is None


def test_an_error_that_nobody_expects_does_not_end_the_following(
    registry: Registry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([MemoryError()])
    read = follow._read

    def failing(path: str) -> Any:
        for failure in failures:
            raise failure
        return read(path)

    with follow_fleet(registry, file) as follower:
        monkeypatch.setattr(follow, "_read", failing)
        wait_until(lambda: type(follower.last_error) is MemoryError)
        put(file, fleet_of("b"))
        wait_until(lambda: list(registry) == ["b"])
        wait_until(lambda: follower.last_error is None)


def test_the_message_can_not_be_forged(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "fleet\x1b[31m.toml"
    path.write_text(fleet_of("a"))
    with follow_fleet(registry, path) as follower:
        path.unlink()
        wait_until(lambda: follower.last_error)
    assert all(one.isprintable() for one in warnings_in(caplog))


# ---- the end


def thread_of(follower: FleetFollower) -> threading.Thread:
    return follower._thread


def test_the_end_of_the_block_ends_the_thread(registry: Registry, file: Path) -> None:
    with follow_fleet(registry, file) as follower:
        assert thread_of(follower).is_alive()
        assert thread_of(follower).daemon
    assert not thread_of(follower).is_alive()
    put(file, fleet_of("b"))
    assert list(registry) == ["a"]


def test_a_block_that_raises_ends_the_thread(registry: Registry, file: Path) -> None:
    with pytest.raises(KeyboardInterrupt), follow_fleet(registry, file) as follower:
        raise KeyboardInterrupt
    assert not thread_of(follower).is_alive()


@pytest.mark.parametrize("count", [40])
def test_nothing_is_left_open(registry: Registry, file: Path, count: int) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    with follow_fleet(registry, file):
        pass
    before = descriptors()
    with follow_fleet(registry, file) as follower:
        for number in range(count):  # each begins another watch
            put(file, fleet_of(f"b{number}"))
            wait_until(lambda known: follower.reloads > known, number)
        assert descriptors() < before + 20
    # A thread of watchfiles closes the last watch, soon after it was asked to.
    wait_until(lambda known: descriptors() <= known, before)


def test_several_followers_of_one_registry(registry: Registry, tmp_path: Path) -> None:
    files = {source: tmp_path / source.value for source in DiscoverySource}
    for source, path in files.items():
        path.write_text(fleet_of(f"{source.value}0"))
    with (
        follow_fleet(registry, files[DiscoverySource.STATIC]),
        follow_fleet(registry, files[DiscoverySource.MDNS], source="mdns"),
        follow_fleet(registry, files[DiscoverySource.MANUAL], source="manual"),
    ):
        for number in range(1, 4):
            for source, path in files.items():
                put(path, fleet_of(f"{source.value}{number}"))
            wanted = {f"{source.value}{number}" for source in files}
            wait_until(lambda ids: set(registry) == ids, wanted)


ENTERED = """
import sys, threading
from pathlib import Path
from registry import Registry, follow_fleet
file = Path({file!r})
registry = Registry()
follower = follow_fleet(registry, file)
follower.__enter__()
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "raise SystemExit",
        "import os; file.write_text('[[backends]]')",  # while it is being read
        "import atexit; atexit.register(follower.__exit__, None, None, None)",
        "follower.__exit__(None, None, None); follower.__exit__(None, None, None)",
        "import signal, os; signal.signal(signal.SIGINT, signal.SIG_DFL)",
        "other = follow_fleet(registry, file); other.__enter__()",
        "threading.Thread(target=lambda: follower.__exit__(None, None, None)).start()",
    ],
)
def test_an_interpreter_that_exits_inside_the_block_exits(file: Path, end: str) -> None:
    code = f"import logging; logging.disable()\n{ENTERED.format(file=str(file))}{end}\n"
    for _ in range(3):
        file.write_text(fleet_of("a"))
        assert run_clean_child(code) == ""


def test_a_forked_child_may_leave_the_block(file: Path) -> None:
    code = f"""{ENTERED.format(file=str(file))}
import atexit, os
child = os.fork()
follower.__exit__(None, None, None)
if child == 0:
    atexit._run_exitfuncs()
    os._exit(0)  # `run_child` has a thread of its own that a child lacks
assert os.waitpid(child, 0)[1] == 0
"""
    assert run_clean_child(f"import warnings; warnings.simplefilter('ignore')\n{code}") == ""


def test_the_gil_stays_off(file: Path) -> None:
    """If it is off: on a free-threaded build, the import of watchfiles must not turn it on."""
    code = f"""import sys
is_enabled = getattr(sys, "_is_gil_enabled", lambda: True)
before = is_enabled()
{ENTERED.format(file=str(file))}
assert is_enabled() == before
"""
    assert run_clean_child(code) == ""


# ---- asyncio


async def until(is_true: Callable[[], object]) -> None:
    """As `wait_until`, without blocking the loop."""
    end = time.monotonic() + DEADLINE
    while not is_true():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)


def test_async_with_follows_too(registry: Registry, file: Path) -> None:
    async def main() -> FleetFollower:
        async with follow_fleet(registry, file) as follower:
            assert list(registry) == ["a"]
            put(file, fleet_of("b"))
            await until(lambda: follower.reloads == 1)
            assert list(registry) == ["b"]
        return follower

    assert not thread_of(asyncio.run(main())).is_alive()


def test_a_mistake_on_entering_raises_in_async_with(registry: Registry, file: Path) -> None:
    file.write_text("[[")

    async def main() -> None:
        async with follow_fleet(registry, file):
            raise AssertionError("it was entered")

    with pytest.raises(FleetFileError):
        asyncio.run(main())


def test_an_async_block_that_raises_ends_the_thread(registry: Registry, file: Path) -> None:
    kept = []

    async def main() -> None:
        async with follow_fleet(registry, file) as follower:
            kept.append(follower)
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(main())
    assert not thread_of(kept[0]).is_alive()


def test_a_task_cancelled_on_entering_leaves_no_thread(
    registry: Registry, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read = follow._read

    def slow(path: str) -> Any:
        reading.set()
        assert go_on.wait(DEADLINE)
        return read(path)

    monkeypatch.setattr(follow, "_read", slow)
    follower = follow_fleet(registry, file)

    async def enter() -> None:
        async with follower:
            raise AssertionError("it was entered")

    async def main() -> None:
        task = asyncio.create_task(enter())
        await until(reading.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(main())  # waits for the threads of `asyncio.to_thread`
    assert not thread_of(follower).is_alive()


# ---- the way to a file


def test_the_route_has_every_directory_that_holds_a_name(tmp_path: Path) -> None:
    top = tmp_path.resolve()
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_text("")
    (top / "link").symlink_to("a/b")
    (top / "up").symlink_to(top / "link" / ".." / "b" / "file")
    names = {
        top / "up",
        top / "link",
        top / "a",
        top / "a" / "b",
        top / "a" / "b" / "file",
    }
    route = route_to(str(top / "." / "up"))
    assert route.file == str(top / "a" / "b" / "file")
    above = {str(one) for one in (top, *top.parents[:-1])}
    assert route.names == {str(one) for one in names} | above
    assert set(route.directories) == {
        str(one) for one in (top / "a" / "b", top / "a", top, *top.parents)
    }
    assert set(route.watched) == {*route.directories, route.file}


def test_the_route_to_what_is_missing_ends_where_it_may_appear(tmp_path: Path) -> None:
    top = tmp_path.resolve()
    route = route_to(f"{top}/no/such/file")
    assert route.file is None
    assert route.directories[-1] == str(top)
    assert f"{top}/no" in route.names
    (top / "dangling").symlink_to("nowhere")
    route = route_to(f"{top}/dangling")
    assert route.file is None
    assert {f"{top}/dangling", f"{top}/nowhere"} < route.names


def test_a_route_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    assert route_to(str(tmp_path / "one")).file is None


def test_a_definition_from_a_file_differs_only_in_its_source(
    registry: Registry, file: Path
) -> None:
    file.write_text(fleet_of("a") + "[backends.settings]\nkey = 1\n")
    with follow_fleet(registry, file, source="mdns"):
        (view,) = registry.get_all_backends()
        assert view.backend.settings == {"key": 1}
        assert view.backend == replace(
            parse_fleet("", file.read_bytes())[0], discovery_source=DiscoverySource.MDNS
        )
