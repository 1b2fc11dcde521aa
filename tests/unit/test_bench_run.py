"""A small run of the whole benchmark suite, and the commands that show its result."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.suite import TINY, drop_fleets

from benchmarks import __main__ as command
from benchmarks import (
    bulk,
    cliffs,
    cost,
    goals,
    growth,
    latency,
    memory,
    results,
    run,
    throughput,
    watching,
)
from benchmarks.budget import BUDGETS
from benchmarks.operations import OPERATIONS
from benchmarks.peers import PEERS, Peer, dashmap_native
from benchmarks.results import Result

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers' packages


@pytest.fixture(scope="module", autouse=True)
def _clean_up() -> Iterator[None]:
    yield
    drop_fleets()


@pytest.fixture(scope="module")
def small_run() -> Result:
    """One run of all sections and goals, with small fleets."""
    with pytest.MonkeyPatch.context() as patch:
        for section in (throughput, latency, bulk, watching):
            patch.setattr(section, "FLEET", 60)
        patch.setattr(memory, "RUNS", 1)
        patch.setattr(cliffs, "FLEET", 20)
        patch.setattr(goals, "RECONCILED", 30)
        return run.run("quick", [*run.SECTIONS, run.GOALS], Console(quiet=True), TINY)


def test_every_section_measures_us_and_the_dict(small_run: Result) -> None:
    for section in run.SECTIONS:
        assert small_run.find(section, side="registry"), section
        assert section == bulk.SECTION or small_run.find(section, side="dict + Lock"), section
    assert small_run.find(growth.SECTION, side=growth.DICT)
    assert small_run.find(latency.SECTION, side=latency.CLOCK)
    assert small_run.find(cost.SECTION, cost.REFERENCE, "builtin")
    measured = {one.operation for one in small_run.find(cost.SECTION, side="registry")}
    assert measured == {operation.name for operation in OPERATIONS}


def test_every_measurement_is_a_positive_number(small_run: Result) -> None:
    for one in small_run.rows:
        assert one.values, one
        assert all(isinstance(value, float) and value == value for value in one.values), one
        # In a run this small, the empty loop may take longer than the operation, and a process may
        # need no new pages.
        assert one.section in (cost.SECTION, memory.SECTION) or all(
            value > 0 for value in one.values
        ), one
    keys = [one.key for one in small_run.rows]
    assert len(keys) == len(set(keys))


def test_a_result_has_the_version_of_each_peer_or_why_it_is_missing(small_run: Result) -> None:
    assert set(small_run.peers) == {peer.name for peer in PEERS} | {dashmap_native.NAME}
    for peer in PEERS:
        assert small_run.peers[peer.name] == (peer.missing() or peer.release() or "in this tree")


def test_every_goal_is_measured(small_run: Result) -> None:
    measured = [goal.what for goal in small_run.goals]
    threads = 0 if results.gil_is_on() else 1
    for start, count in (
        ("increment_pending(id) / hash(id)", 1),
        ("get_backend, ns", 1),
        ("get_backends_for_model, 1,000 matching, us", 1),
        ("acquire and release / hash(id), 10 candidates, ", 2),
        ("acquire and release, 1,000 candidates, ", 2),
        ("POWER_OF_TWO, 2,000 candidates / 10", 1),
        ("HOT_COLD, 2,000 candidates / 10", 1),
        ("two threads on two backends / one thread", threads),
        ("two threads on one backend / one thread", threads),
        ("two threads on one model, ten backends, ", 2 * threads),
        ("get_backends_for_model, times faster than DashMap's", 1),
        ("two threads, ", 0 if dashmap_native.missing() else 2 * threads),
        ("bytes per backend", 2),
        ("rolling restart, 20 backends with 1,000 shared models, worst write / median", 1),
        ("rolling restart, 20 backends with 1,000 shared models, median write, us", 1),
        ("update_status, 10,000 views of two registries kept / none", 1),
        ("update_status, 10,000 views of two registries kept and dropped / none", 1),
        ("refusal / acquire and release, 1,000 candidates", 1),
        ("reconcile, 30 backends with ", 2),
        ("acquire and release / with ejection=None, 10 candidates", 1),
        ("acquire and release / with ejection=None, 1,000 candidates", 1),
        ("a failed request, more than a successful one, 10 candidates, us", 1),
    ):
        assert sum(what.startswith(start) for what in measured) == count, start
    for goal in small_run.goals:
        assert not isinstance(goal.measured, str) or goal.met is None, goal


def test_a_saved_result_is_read_again(small_run: Result, tmp_path: Path) -> None:
    results.save(small_run, tmp_path / "deep" / "a.json")
    read = results.load(tmp_path / "deep" / "a.json")
    assert [one.key for one in read.rows] == [one.key for one in small_run.rows]
    assert read.rows[0].values == pytest.approx(small_run.rows[0].values, rel=1e-4)
    assert replace(read, rows=[]) == replace(small_run, rows=[])


def test_another_file_is_not_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('{"rows": 1}')
    assert command.main(["show", str(tmp_path / "a.json")]) == 2
    assert "a.json: not a result of this suite" in capsys.readouterr().err
    assert command.main(["show", str(tmp_path / "b.json")]) == 2


def test_a_result_has_plots_and_tables(
    small_run: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.save(small_run, tmp_path / "a.json")
    assert command.main(["plot", str(tmp_path / "a.json"), "--folder", str(tmp_path)]) == 0
    for name in ("throughput", "cost", "latency"):
        text = (tmp_path / f"{name}.svg").read_text()
        assert "registry" in text
        assert "dict + Lock" in text
    capsys.readouterr()
    assert command.main(["show", str(tmp_path / "a.json")]) == 0
    shown = capsys.readouterr().out
    for title in (
        "Cost of an operation",
        "Throughput",
        "Removing and adding",
        "Memory",
        "Single and bulk",
        "Latency",
        "Goals",
    ):
        assert title in shown
    assert command.main(["side-by-side", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 0
    assert "1.0x" in capsys.readouterr().out


def test_the_command_measures_one_section(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUDGETS, "quick", TINY)
    assert command.main(["run", "bulk", "--output", str(tmp_path / "a.json")]) == 0
    assert "Single and bulk" in capsys.readouterr().out
    assert {one.section for one in results.load(tmp_path / "a.json").rows} == {"bulk", "cost"}


@pytest.mark.parametrize(
    ("output", "module", "message"),
    [
        ("folder", "", "Is a directory"),
        ("folder", "matplotlib", "Is a directory"),
        ("file/a.json", "", "File exists"),
        ("a.json", "matplotlib", "a plot needs matplotlib"),
    ],
)
def test_a_run_that_cannot_write_fails_before_it_measures(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    module: str,
    message: str,
) -> None:
    def measure(*_given: Any) -> None:
        raise AssertionError("the run has begun")

    monkeypatch.setattr(command, "run", measure)
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert command.main(["run", "--output", str(tmp_path / output)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert not (tmp_path / "a.json").exists()


def test_a_goal_names_the_missing_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashmap_native, "missing", lambda: "not built")
    monkeypatch.setattr(
        goals, "litellm", lambda: Peer("LiteLLM", "no-such-package", "litellm_router")
    )
    measured = [*goals.against_dashmap(TINY), *goals.against_litellm(TINY)]
    assert [goal.measured for goal in measured] == [
        "not built",
        *["not installed (pip install no-such-package)"] * 2,
    ]
    assert [goal.met for goal in measured] == [None] * 3
