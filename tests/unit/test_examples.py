"""The examples run, print what the README shows, and are the code that the README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
README = ROOT / "README.md"
GATEWAY = ROOT / "examples" / "async_gateway.py"

# A fenced block: its language, and its lines.
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A block of Python in the README, and the block of text after it: what it prints."""

    code: str
    output: str


Shown = tuple[Example, Example]


def examples(markdown: str) -> list[Example]:
    """The Python blocks of a document, each with the next block, which must be text."""
    blocks = BLOCK.findall(markdown)
    found = []
    for (language, code), (next_language, output) in pairwise(blocks):
        if language == "python":
            assert next_language == "text", "the output of the example is missing"
            found.append(Example(code, output))
    return found


def output_of(script: Path) -> str:
    """What a script prints in a fresh interpreter, where each warning is an error."""
    command = [sys.executable, "-X", "dev", "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # On a busy machine, asyncio's debug mode reports callbacks that took long.
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, errors) == (0, [])
    return done.stdout


@pytest.fixture(scope="module")
def shown() -> Shown:
    """The two examples of the README."""
    quickstart, gateway = examples(README.read_text(encoding="utf-8"))
    return quickstart, gateway


def test_the_quickstart_prints_what_the_readme_shows(shown: Shown, tmp_path: Path) -> None:
    quickstart, _ = shown
    script = tmp_path / "quickstart.py"
    script.write_text(quickstart.code, encoding="utf-8")
    assert output_of(script) == quickstart.output


def test_the_gateway_prints_what_the_readme_shows(shown: Shown) -> None:
    _, gateway = shown
    assert output_of(GATEWAY) == gateway.output


def test_the_readme_shows_the_core_of_the_gateway(shown: Shown) -> None:
    _, gateway = shown
    assert gateway.code in GATEWAY.read_text(encoding="utf-8")
    assert "registry.acquire(" in gateway.code
    assert "exclude=" in gateway.code
    assert "release(" in gateway.code


def test_an_example_without_its_output_is_noticed() -> None:
    markdown = "```python\nprint(1)\n```\n\n```\n1\n```\n"
    with pytest.raises(AssertionError, match="the output of the example is missing"):
        examples(markdown)
    assert examples(markdown.replace("\n```\n1", "\n```text\n1")) == [Example("print(1)\n", "1\n")]
