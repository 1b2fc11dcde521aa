"""The benchmarks measure what they say: every operation of the table runs, and the arithmetic of the reports is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(FOLDER))  # behind the tests' own folder, which has a threads.py too

import measure  # noqa: E402
from operations import OPERATIONS, Operation, filled  # noqa: E402


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_runs_and_leaves_the_fleet_as_it_was(operation: Operation) -> None:
    registry, ids = filled(12)
    call = operation.prepare(registry, ids)
    for _ in range(3):
        call()
    assert list(registry) == ids
    assert sum(view.pending_requests for view in registry.get_all_backends()) in (0, 3)
    assert operation.calls >= 1


def test_figures_and_ratios() -> None:
    assert measure.figure([3.0, 1.0, 2.0]) == measure.Figure(2.0, 1.0, 3.0)
    assert measure.ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == measure.Figure(2.0, 1.0, 3.0)
    assert str(measure.Figure(1.2345, 1.0, 2.0)) == "1.23 (1 to 2)"
    with pytest.raises(ValueError, match="argument"):
        measure.ratios([1.0], [])


def test_sides_are_interleaved() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    assert measure.interleaved(2, lambda: side("a"), lambda: side("b")) == [[1.0, 3.0], [2.0, 4.0]]
    assert order == ["a", "b", "a", "b"]


def test_throughput_counts_all_threads() -> None:
    assert measure.throughput([lambda: 3, lambda: 4]) > 0


@pytest.mark.parametrize("script", ["threads.py", "goals.py"])
def test_the_scripts_give_json(script: str) -> None:
    options = ["--rounds", "1"] if script == "threads.py" else ["--size", "2000"]
    command = [sys.executable, script, "--quick", "--json", *options]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=120, check=True)
    document = json.loads(done.stdout)
    assert "cores" in document["machine"]
    assert document["rows"]
