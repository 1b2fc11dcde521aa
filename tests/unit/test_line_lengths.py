"""No line of a tracked text file is longer than 100 characters.

ruff and clang-format check only code, and neither checks comments in C.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 100
GENERATED = (".svg", ".json")  # files
TABLE_ROW = "|"  # of Markdown; most are generated
FOREIGN = ("LICENSE", "tests/support/corpus/")


def tracked_files() -> list[str]:
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a checkout with git")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def long_lines(name: str, text: str) -> list[str]:
    is_markdown = name.endswith(".md")
    return [
        f"{name}:{number}: {len(line)} characters"
        for number, line in enumerate(text.split("\n"), 1)
        if len(line) > LIMIT and not (is_markdown and line.startswith(TABLE_ROW))
    ]


def test_no_line_is_too_long() -> None:
    names = [
        name
        for name in tracked_files()
        if not name.endswith(GENERATED) and not name.startswith(FOREIGN)
    ]
    found = [line for name in names for line in long_lines(name, (ROOT / name).read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("name", "line", "is_found"),
    [
        ("a.c", "é" * 100, False),
        ("a.c", "é" * 101, True),
        ("a.md", "|" + "x" * 100, False),
        ("a.md", "x" * 101, True),
    ],
)
def test_characters_count_and_not_bytes(name: str, line: str, is_found: bool) -> None:
    assert bool(long_lines(name, line)) is is_found
