"""The benchmarks measure what they say: every operation of the table runs, and the arithmetic of the reports is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from registry import Backend, Candidate, Policy

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(FOLDER))  # behind the tests' own folder, which has a threads.py too

import goals  # noqa: E402
import measure  # noqa: E402
from operations import OPERATIONS, SIZES, Operation, filled  # noqa: E402
from peers import litellm_router  # noqa: E402

CHOICES = [operation for operation in OPERATIONS if operation.name.startswith("acquire and release")]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_runs_and_leaves_the_fleet_as_it_was(operation: Operation) -> None:
    registry, ids = filled(12)
    call = operation.prepare(registry, ids)
    for _ in range(3):
        call()
    assert list(registry) == ids
    assert sum(view.pending_requests for view in registry.get_all_backends()) in (0, 3)
    assert operation.calls >= 1


@pytest.mark.parametrize("operation", CHOICES, ids=lambda operation: operation.name)
def test_acquire_and_release_are_one_request_with_its_latency(operation: Operation) -> None:
    registry, ids = filled(12)
    call = operation.prepare(registry, ids)
    assert call() is True
    views = [view for view in registry.get_all_backends() if view.total_requests]
    assert [(view.total_requests, view.pending_requests) for view in views] == [(1, 0)]
    # Who has a sample goes behind those who have none.
    leases = [registry.acquire("model-3", policy=Policy.LOWEST_LATENCY) for _ in range(11)]
    assert {lease.backend.id for lease in leases} == set(ids) - {views[0].id}
    assert all(lease.release() for lease in leases)


def test_every_policy_has_its_row_of_choices() -> None:
    sizes = {operation.name: operation.sizes for operation in CHOICES}
    assert sizes.pop("acquire and release") == SIZES
    assert sizes.pop("acquire and release, POWER_OF_TWO") == SIZES
    others = set(Policy) - {Policy.LEAST_PENDING, Policy.POWER_OF_TWO}
    assert sizes == {f"acquire and release, {policy.name}": (1000,) for policy in others}


def test_select_and_explain_count_nothing() -> None:
    registry, ids = filled(12)
    calls = {operation.name: operation.prepare(registry, ids) for operation in OPERATIONS}
    before = registry.get_all_backends()
    chosen, candidates = calls["select"](), calls["explain"]()
    assert isinstance(chosen, Backend)
    assert chosen.id in ids
    assert isinstance(candidates, list)
    assert all(isinstance(candidate, Candidate) for candidate in candidates)
    assert sorted(candidate.backend_id for candidate in candidates) == sorted(ids)
    assert registry.get_all_backends() == before


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
    if script == "goals.py":
        check_rows_of_choices(document["rows"])


def check_rows_of_choices(rows: list[dict[str, Any]]) -> None:
    names = [row["what"] for row in rows]
    for start, count in (
        ("acquire and release / hash(id), 10 candidates, ", 2),
        ("acquire and release, 1,000 candidates, ", 2),
        ("POWER_OF_TWO, 2,000 candidates / 10", 1),
        ("two threads on one model, ten backends, ", 2 if goals.FREE_THREADED else 0),
    ):
        assert sum(name.startswith(start) for name in names) == count
    peers = [row["measured"] for row in rows if "faster than LiteLLM" in row["what"]]
    missing = peers == [litellm_router.NOT_INSTALLED] * 2
    assert missing or [measured["median"] > 1 for measured in peers] == [True] * 4


def test_a_busy_fleet_has_nobody_idle() -> None:
    assert [view.pending_requests for view in goals.busy(12).get_all_backends()] == [1] * 12


def test_without_litellm_its_rows_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    rows = goals.against_litellm(goals.Settings(rounds=1, count=1, large=1, peer=None))
    assert [row.measured for row in rows] == ["litellm: not installed, pip install litellm"] * 2
    assert [row.met for row in rows] == [None] * 2


@pytest.mark.parametrize(("chosen", "is_deployment"), [("backend-4", True), ("backend-5", False)])
def test_what_litellm_chooses_is_a_deployment(
    monkeypatch: pytest.MonkeyPatch, chosen: str, is_deployment: bool
) -> None:
    class Router:
        def __init__(self, model_list: list[dict[str, Any]], **options: object) -> None:
            assert [entry["model_info"]["id"] for entry in model_list] == [f"backend-{n}" for n in range(5)]
            assert options == {"routing_strategy": "least-busy", "set_verbose": False}

        def get_available_deployment(self, **_request: object) -> dict[str, Any]:
            return {"model_info": {"id": chosen}}

    monkeypatch.setitem(sys.modules, "litellm", SimpleNamespace(Router=Router))
    monkeypatch.setattr(litellm_router, "version", lambda _name: "1")
    if is_deployment:
        assert litellm_router.selector(5)() == {"model_info": {"id": chosen}}
    else:
        with pytest.raises(RuntimeError, match="LiteLLM 1 chose 'backend-5'"):
            litellm_router.selector(5)
