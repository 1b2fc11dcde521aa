"""Coverage-guided fuzzing by atheris: runs the targets of tests/support/fuzz.py in children.

Each target runs for a few seconds in turn. Inputs that reach new code are kept below build/fuzz.
`python -m long.fuzz`, run in tests/, copies those that tests/support/corpus lacks. An input that
fails stays in build/fuzz, with a name that begins with `crash`; once the bug is fixed, it belongs
in the corpus.

Coverage is measured in the Python layer and, for calls, in the oracle, whose branches follow the
contract.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import coverage
from support.fuzz import CORPUS, TARGETS

UNIT = "inputs"
GOAL = 10**5
PYTHONS = ("python3",)  # Atheris supports no later interpreters.

SLICE = 5  # Seconds for one target at a time.
FOUND = Path(__file__).resolve().parents[2] / "build" / "fuzz"
# Planted bugs that must be found without a corpus, within `PATIENCE` seconds.
PLANTS = {
    "calls": "support.broken:WrongAverage",
    "documents": "support.broken:names_no_place",
    "fleets": "support.broken:breaks_on_unknown_keys",
}
PATIENCE = 60


def run(until: Callable[[], bool]) -> Iterator[int]:
    """Finds the planted bugs first, then runs each target in turn.

    A target starts from the corpus and the inputs found so far.
    """
    for target, plant in PLANTS.items():
        crash, _ = fuzz(target, plant, PATIENCE)
        assert crash, f"{target}: {plant} is not found"
    for target in itertools.cycle(TARGETS):
        crash, inputs = fuzz(target, "", SLICE)
        assert not crash, f"{target}: {crash}"
        yield inputs
        if until():
            return


def fuzz(target: str, plant: str, seconds: int) -> tuple[str, int]:
    """Runs one child. Returns its output if it found a bug, and how many inputs it tried."""
    folder = FOUND / (f"planted-{target}" if plant else target)
    if plant:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [] if plant else [str(CORPUS / target)]
    options = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=4096",
        "-max_len=2048",
        f"-artifact_prefix={folder}/",
    ]
    command = [
        sys.executable,
        "-m",
        "long.fuzz_child",
        target,
        plant,
        *options,
        str(folder),
        *seeds,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds + 120,
    )
    tried = re.search(r"Done (\d+) runs", done.stderr)
    return "" if done.returncode == 0 and tried else (done.stdout + done.stderr)[
        -6000:
    ] or "?", int(tried[1]) if tried else 0


def keep() -> None:
    """Adds inputs that take a branch that no earlier input takes; tries short inputs first."""
    for target in TARGETS:
        taken: set[tuple[str, tuple[int, int]]] = set()
        found = sorted((FOUND / target).glob("[0-9a-f]*"), key=lambda path: path.stat().st_size)
        for path in (*sorted((CORPUS / target).iterdir()), *found):
            branches = branches_of(target, path.read_bytes())
            if path.parent != CORPUS / target and not branches <= taken:
                shutil.copy(path, CORPUS / target)
            taken |= branches


def branches_of(target: str, data: bytes) -> set[tuple[str, tuple[int, int]]]:
    """The branches that an input takes in the package, the oracle and the machine."""
    watch = coverage.Coverage(branch=True, data_file=None, include=["*/registry/*", "*/tests/*"])
    with watch.collect():
        TARGETS[target](data)
    taken = watch.get_data()
    return {(file, arc) for file in taken.measured_files() for arc in taken.arcs(file) or ()}


if __name__ == "__main__":
    keep()
