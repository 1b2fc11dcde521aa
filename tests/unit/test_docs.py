"""The pages in docs/, README and CONTRIBUTING name links, files and identifiers that exist."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# The pages for people who change the code: every identifier on them must be in the sources.
INSIDE = [ROOT / "CONTRIBUTING.md", ROOT / "docs/architecture.md", ROOT / "docs/concurrency.md"]
FOLDERS = ("src_c", "registry", "tests", "benchmarks", "examples")
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".c", ".h", ".pml", ""}
# Names that the sources lack: readers of a recipe will add them. Also a header of CPython.
EXAMPLES = {
    *("src_c/ROOM/name.h", "src_c/ROOM/name.c", "tests/c/test_name.c", "reg_increment_failures"),
    *("registry/probe/", "registry/discovery/", "registry/integrations/", "registry/metrics.py"),
    *("src_c/share/", "test_a_removed_backend_is_never_chosen", "`Python.h`"),
}


def text_of(page: Path) -> str:
    """The text of a page, without the names in `EXAMPLES`."""
    text = page.read_text(encoding="utf-8")
    for name in EXAMPLES:
        text = text.replace(name, "")
    return text


def ids(pages: list[Path]) -> list[str]:
    """The names of the pages, for pytest."""
    return [page.relative_to(ROOT).as_posix() for page in pages]


def is_source(path: Path) -> bool:
    """Whether a path below ROOT is neither a build's output nor an input of the fuzzer."""
    places = {*path.relative_to(ROOT).parts[:-1]}
    return path.is_file() and path.suffix in SOURCES and not places & {"build", "corpus", "target"}


@cache
def files() -> dict[str, Path]:
    """The files of the checkout, by path, without the files that builds leave."""
    return {
        path.relative_to(ROOT).as_posix(): path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if is_source(path)
    }


@cache
def words() -> set[str]:
    """Every word in the sources and in their file names."""
    named = [ROOT / name for name in ("pyproject.toml", "Makefile", "setup.py")]
    texts = (path.read_text(encoding="utf-8") for path in (*files().values(), *named))
    return {word for text in (*files(), *texts) for word in re.findall(r"\w+", text)}


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@pytest.mark.parametrize("page", PAGES, ids=ids(PAGES))
def test_every_path_exists(page: Path) -> None:
    for path in re.findall(rf"(?<![\w./])(?:{'|'.join(FOLDERS)})/[\w./-]*\w", text_of(page)):
        is_built = path.endswith((".so", "tests/c/build/plain")) or "/reference/" in path
        assert is_built or (ROOT / path).exists() or (ROOT / "src_c" / path).exists(), path


@pytest.mark.parametrize("page", INSIDE, ids=ids(INSIDE))
def test_every_file_name_exists(page: Path) -> None:
    for name in re.findall(r"`([\w./]*\w\.(?:py|pyi|pyx|pxd|pxi|c|h|pml))`", text_of(page)):
        assert any(f"/{path}".endswith(f"/{name}") for path in files()), name


@pytest.mark.parametrize("page", INSIDE, ids=ids(INSIDE))
def test_every_identifier_is_in_the_sources(page: Path) -> None:
    text = text_of(page)
    quoted = " ".join(re.findall(r"`([^`\n]+)`", text))
    identifiers = {*re.findall(r"\b_*[a-z]\w*_\w+", quoted), *re.findall(r"\b[A-Z]+_[A-Z_]+", text)}
    assert sorted(identifiers - words()) == []


def test_every_file_of_the_core_and_the_binding_is_on_the_map() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    stems = {Path(name).stem for name in re.findall(r"`([\w./]+)`", page)}
    paths = [Path(name) for name in files() if name.startswith(("src_c/", "registry/_core/"))]
    assert {path.name for path in paths if path.stem not in stems} == set()


def test_every_c_test_that_is_named_exists() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/c").glob("*.c"))
    page = (ROOT / "docs/concurrency.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w[\w ]*: [\w ]+)`", page)
    assert [name for name in named if f'"{name}"' not in tests] == []
    assert named
