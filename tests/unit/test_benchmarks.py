"""The benchmark suite measures what it says: every side gives our answers, and the arithmetic of its reports is right."""

from __future__ import annotations

import gc
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks import (
    bulk,
    compare,
    cost,
    goals,
    growth,
    latency,
    memory,
    readme,
    report,
    results,
    run,
    throughput,
)
from benchmarks.budget import BUDGETS, Budget
from benchmarks.fleet import busy, changes, filled
from benchmarks.measure import Figure, calibrated, figure, interleaved, nanoseconds, ratios, work
from benchmarks.measure import throughput as rate
from benchmarks.operations import BULK, OPERATIONS, SIZES, Operation, loop
from benchmarks.peers import OURS, PEERS, Peer, dashmap_native, installed
from benchmarks.results import PER_SECOND, Goal, Machine, Result, Row
from registry import Policy, Registry

pytestmark = pytest.mark.filterwarnings("ignore")  # what peers warn of is theirs

SMALL = 12
TINY = Budget(rounds=1, seconds=1e-5, sizes=(12,), threads=2, large=2000, samples=50)
MACHINE = Machine("a processor", 2, "Linux", "CPython 3.14.7t", False, "gcc", "abc")


@pytest.fixture(scope="module", autouse=True)
def _fleets_go() -> Iterator[None]:
    """The suite keeps its fleets for the next measurement, out of the collector's way; other tests count what lives."""
    yield
    cost.fleets.cache_clear()
    growth.definitions.cache_clear()
    gc.unfreeze()


def row(
    side: str,
    *values: float,
    unit: str = "ns",
    operation: str = "get",
    section: str = "cost",
    **given: Any,
) -> Row:
    """A row of this test's."""
    return Row(section, operation, side, unit, list(values), given)


def result(*rows: Row, told: tuple[Goal, ...] = ()) -> Result:
    """A run of these rows."""
    return Result(
        "2026-01-01T00:00:00+00:00", "quick", MACHINE, {"cereggii": "1.0"}, list(rows), list(told)
    )


# ---- every side gives the same answers


def names_of(operations: list[Operation]) -> list[str]:
    return [operation.name for operation in operations]


@pytest.mark.parametrize("peer", installed(), ids=lambda peer: peer.name)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_peer_gives_our_answer(operation: Operation, peer: Peer) -> None:
    registry, ids = peer.filled(SMALL)
    if operation.is_had_by(registry):
        assert operation.asked(registry, ids) == operation.asked(*filled(SMALL))
    else:
        assert peer is not OURS


def test_what_each_peer_takes_part_in() -> None:
    had = {
        peer.name: [o.name for o in OPERATIONS if o.is_had_by(peer.filled(SMALL)[0])]
        for peer in installed()
    }
    assert had.pop("registry") == names_of(list(OPERATIONS))
    assert len(had.pop("dict + Lock")) > 20
    assert had.pop("LiteLLM", ["select"]) == ["select"]
    for name, operations in had.items():
        assert {
            "get_backend",
            "get_backends_for_model",
            "increment_pending",
            "acquire and release",
        } <= set(operations), name


NATIVE = [operation for operation in OPERATIONS if operation.native]


@pytest.mark.parametrize("operation", NATIVE, ids=lambda operation: operation.name)
def test_the_plan_in_rust_gives_our_answer(operation: Operation) -> None:
    if dashmap_native.missing():
        pytest.skip(dashmap_native.missing())
    assert dashmap_native.answer(operation.native, SMALL) == operation.asked(*filled(SMALL))


def test_a_wrong_answer_is_noticed() -> None:
    class Forgetful(Registry):
        def get_backends_for_model(self, model_id: str, /) -> Any:
            return super().get_backends_for_model(model_id)[1:]

    query = next(
        operation for operation in OPERATIONS if operation.name == "get_backends_for_model"
    )
    assert query.asked(*filled(SMALL, Forgetful)) != query.asked(*filled(SMALL))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_runs_in_its_loop_and_leaves_the_fleet_as_it_was(
    operation: Operation,
) -> None:
    registry, ids = filled(SMALL)
    loop(operation.statement, operation.names(registry, ids))(4)
    assert list(registry) == ids
    assert registry.model_count() == 10
    counted = sum(view.pending_requests for view in registry.get_all_backends())
    assert counted == (4 if operation.name == "increment_pending" else 0)


def test_every_method_of_a_registry_is_in_the_table() -> None:
    public = {name for name in dir(Registry) if not name.startswith("_")} - {"from_fleet"}
    assert public <= set().union(*(operation.needs for operation in OPERATIONS))


def test_every_policy_has_its_row() -> None:
    rows = {
        operation.name: operation
        for operation in OPERATIONS
        if operation.name.startswith("acquire")
    }
    expected = {f"acquire and release, {policy.name}" for policy in Policy} - {
        "acquire and release, LEAST_PENDING"
    }
    assert set(rows) == expected | {"acquire and release"}
    assert all(operation.sizes == SIZES for operation in rows.values())


def test_needs_are_the_methods_that_a_statement_calls() -> None:
    operation = Operation("x", "registry.a(id); registry.b(id)", setup="registry.c()")
    assert operation.needs == {"a", "b", "c"}
    assert Operation("x", "id in registry").needs == {"__contains__"}


@pytest.mark.parametrize(
    ("package", "module", "message"),
    [
        ("no-such-package", "locked_oracle", r"not installed \(pip install no-such-package\)"),
        ("pytest", "no_such_module", "can't be imported"),
        ("", "locked_oracle", "^$"),
    ],
)
def test_a_missing_peer_is_named(package: str, module: str, message: str) -> None:
    assert re.search(message, Peer("x", package, module).missing())


def test_an_old_ft_utils_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 has wheels, 0.2 has none: the old one is what is had without a compiler."""
    old = SimpleNamespace(AtomicInt64=object, ConcurrentDict=object)
    monkeypatch.setitem(sys.modules, "ft_utils.concurrency", old)
    monkeypatch.setitem(sys.modules, "ft_utils", SimpleNamespace(concurrency=old))
    monkeypatch.delitem(sys.modules, "benchmarks.peers.ft_utils_map", raising=False)
    assert "ft_utils>=0.2" in Peer("ft_utils", "pytest", "ft_utils_map").missing()


# ---- measuring


def test_figures_and_ratios() -> None:
    assert figure([3.0, 1.0, 2.0]) == Figure(2.0, 1.0, 3.0)
    assert ratios([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == Figure(2.0, 1.0, 3.0)
    assert str(Figure(1.2345, 1.0, 2.0)) == "1.23 (1 to 2)"
    with pytest.raises(ValueError, match="argument"):
        ratios([1.0], [])


def test_sides_are_interleaved() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    assert interleaved(2, lambda: side("a"), lambda: side("b")) == [[1.0, 3.0], [2.0, 4.0]]
    assert order == ["a", "b", "a", "b"]


class Clock:
    """What moves on only by what is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, count: int) -> None:
        """A microsecond each."""
        self.now += count * 1e-6


def test_calibration_and_nanoseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("benchmarks.measure.perf_counter", clock)
    assert calibrated(clock.work, 0.5) == pytest.approx(500_000)
    assert nanoseconds(clock.work, 1000)() == pytest.approx(1000.0)


def test_throughput_counts_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("benchmarks.measure.perf_counter", clock)
    assert work(clock.work, 7)() == 7

    def step(count: int) -> int:
        clock.now = 2.0
        return count

    assert rate([lambda: step(3)]) == pytest.approx(3 / 2, rel=1e-3)
    clock.now = 0.0
    assert rate([lambda: step(3), lambda: step(5)]) >= 8 / 2  # the second may start late


def test_thread_counts_go_by_doublings_beyond_eight() -> None:
    assert replace(TINY, threads=1).thread_counts() == [1]
    assert replace(TINY, threads=3).thread_counts() == [1, 2, 3]
    assert replace(TINY, threads=24).thread_counts() == [1, 2, 3, 4, 5, 6, 7, 8, 16, 24]


def test_the_empty_loop_is_subtracted_and_calls_are_divided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = Operation(
        "x", "registry.backend_count(); registry.backend_count()", calls=2, sizes=(12,)
    )
    monkeypatch.setattr(
        cost,
        "interleaved",
        lambda rounds, *sides: [[10.0] * rounds] + [[110.0] * rounds for _ in sides[1:]],
    )
    cost.fleets.cache_clear()
    rows = cost.measure(operation, 12, replace(TINY, rounds=2))
    assert {(one.side, tuple(one.values)) for one in rows} >= {
        ("registry", (50.0,) * 2),
        ("dict + Lock", (50.0,) * 2),
    }


def test_mixes_have_their_share_of_writes() -> None:
    registry, ids = filled(1000)
    seen: list[str] = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            seen.append(name)
            return getattr(registry, name)

    for load in throughput.LOADS:
        if not load.writes or load.operation.name != "get_backend":
            continue
        seen.clear()
        throughput.works(load, Spy(), ids, 1)[0](3)
        reads = seen.count("get_backend")
        assert reads == 3 * (100 - load.writes)
        assert len(seen) - reads == 3 * load.writes
        assert {"add_backend", "update_status", "remove_backend"} >= set(seen) - {"get_backend"}
        for extra in [one for one in registry if one not in ids]:
            registry.remove_backend(extra)


def test_changes_add_update_and_remove() -> None:
    registry, ids = filled(SMALL)
    steps = changes(registry, SMALL)
    sizes = []
    for _ in range(6):
        next(steps)
        sizes.append(len(registry))
    assert sizes == [SMALL + 1, SMALL + 1, SMALL] * 2
    assert list(registry) == ids


def test_a_busy_fleet_has_nobody_idle() -> None:
    assert [view.pending_requests for view in busy(SMALL).get_all_backends()] == [1] * SMALL


def test_quantiles_of_samples() -> None:
    told = latency.at_quantiles(list(range(10_001)))
    assert told == [pytest.approx(10_000 * quantile, abs=1) for quantile in latency.QUANTILES]
    assert told[0] == 0
    assert told[-1] == 10_000


@pytest.mark.parametrize(("patience", "batches"), [(0.0, 1), (3600.0, 3)])
def test_reads_are_timed_until_there_are_enough_or_patience_ends(
    patience: float, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "at_quantiles", lambda samples: [float(len(samples))])
    budget = replace(TINY, samples=2 * latency.BATCH + 1, patience=patience)
    assert latency.sampled("pass", {}, ({}, []), False, budget) == [batches * latency.BATCH]


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    assert 500 < memory.in_child("registry", "shared", 3000) < 100_000


# ---- the whole suite, in small


@pytest.fixture(scope="module")
def small_run() -> Result:
    """Everything that the suite does, once."""
    sizes = throughput.FLEET, latency.FLEET, bulk.FLEET
    throughput.FLEET = latency.FLEET = bulk.FLEET = 60
    try:
        return run.run("quick", [*run.SECTIONS, run.GOALS], Console(quiet=True), TINY)
    finally:
        throughput.FLEET, latency.FLEET, bulk.FLEET = sizes


def test_every_section_has_rows_of_ours_and_of_the_plain_dict(small_run: Result) -> None:
    for section in run.SECTIONS:
        assert small_run.find(section, side="registry"), section
        assert section == bulk.SECTION or small_run.find(section, side="dict + Lock"), section
    assert small_run.find(growth.SECTION, side=growth.DICT)
    assert small_run.find(latency.SECTION, side=latency.CLOCK)
    assert small_run.find(cost.SECTION, cost.REFERENCE, "builtin")
    measured = {one.operation for one in small_run.find(cost.SECTION, side="registry")}
    assert measured == set(names_of(list(OPERATIONS)))


def test_all_that_is_measured_is_a_number_above_nothing(small_run: Result) -> None:
    for one in small_run.rows:
        assert one.values, one
        assert all(isinstance(value, float) and value == value for value in one.values), one
        # The empty loop, or the pages that a process had before, may be more than what is left of so small a run.
        assert one.section in (cost.SECTION, memory.SECTION) or all(
            value > 0 for value in one.values
        ), one
    keys = [one.key for one in small_run.rows]
    assert len(keys) == len(set(keys))


def test_peers_are_told_with_their_version_or_what_is_missing(small_run: Result) -> None:
    assert set(small_run.peers) == {peer.name for peer in PEERS} | {dashmap_native.NAME}
    for peer in PEERS:
        assert small_run.peers[peer.name] == (peer.missing() or peer.release() or "in this tree")


def test_goals_are_told_as_the_contract_has_them(small_run: Result) -> None:
    told = [goal.what for goal in small_run.goals]
    threads = 0 if results.gil_is_on() else 1
    for start, count in (
        ("increment_pending(id) / hash(id)", 1),
        ("get_backend, ns", 1),
        ("get_backends_for_model, 1,000 matching, us", 1),
        ("acquire and release / hash(id), 10 candidates, ", 2),
        ("acquire and release, 1,000 candidates, ", 2),
        ("POWER_OF_TWO, 2,000 candidates / 10", 1),
        ("two threads on two backends / one thread", threads),
        ("two threads on one backend / one thread", threads),
        ("two threads on one model, ten backends, ", 2 * threads),
        ("get_backends_for_model, times faster than the plan's", 1),
        ("two threads, ", 0 if dashmap_native.missing() else 2 * threads),
        ("bytes per backend", 2),
        ("rolling restart, 100 backends with 1,000 shared models, worst write / median", 1),
        ("rolling restart, 100 backends with 1,000 shared models, median write, us", 1),
        ("update_status, 10,000 views of two registries kept / none", 1),
        ("update_status, 10,000 views of two registries kept and dropped / none", 1),
        ("refusal / acquire and release, 1,000 candidates", 1),
    ):
        assert sum(what.startswith(start) for what in told) == count, start
    for goal in small_run.goals:
        assert not isinstance(goal.measured, str) or goal.met is None, goal


def test_a_result_survives_its_file(small_run: Result, tmp_path: Path) -> None:
    results.save(small_run, tmp_path / "deep" / "a.json")
    read = results.load(tmp_path / "deep" / "a.json")
    assert [one.key for one in read.rows] == [one.key for one in small_run.rows]
    assert read.rows[0].values == pytest.approx(small_run.rows[0].values, rel=1e-4)
    assert replace(read, rows=[]) == replace(small_run, rows=[])


def test_a_file_that_is_no_result_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text('{"rows": 1}')
    assert command.main(["show", str(tmp_path / "a.json")]) == 2
    assert "a.json: not a result of this suite" in capsys.readouterr().err
    assert command.main(["show", str(tmp_path / "b.json")]) == 2


def test_pictures_and_tables_of_a_run(
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


def test_one_section_by_the_command_line(
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
def test_what_a_run_cannot_write_is_told_before_it_measures(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    module: str,
    message: str,
) -> None:
    def measure(*_given: Any) -> None:
        raise AssertionError("it measures")

    monkeypatch.setattr(command, "run", measure)
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert command.main(["run", "--output", str(tmp_path / output)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert not (tmp_path / "a.json").exists()


# ---- reports


@pytest.mark.parametrize(
    ("value", "unit", "told"),
    [
        (12.34, "ns", "12.3 ns"),
        (0.5, "ns", "0.50 ns"),
        (1234.0, "ns", "1.23 µs"),
        (2.5e6, "ns", "2.50 ms"),
        (123.4e3, "ns", "123 µs"),
        (1.5e9, "ns", "1.50 s"),
        (1200.0, "bytes", "1.20 kB"),
        (31.4e6, PER_SECOND, "31.4 M/s"),
        (-3.0, "ns", "-3.00 ns"),
    ],
)
def test_numbers_for_people(value: float, unit: str, told: str) -> None:
    assert report.human(value, unit) == told


def test_ours_is_so_many_times_as_good() -> None:
    ours, theirs = row("registry", 10, 20), row("peer", 40, 40)
    assert report.advantage(ours, theirs) == Figure(3.0, 2.0, 4.0)
    fast, slow = row("registry", 40, 40, unit=PER_SECOND), row("peer", 10, 20, unit=PER_SECOND)
    assert report.advantage(fast, slow) == Figure(3.0, 2.0, 4.0)
    assert [report.times(ratio) for ratio in (0.456, 1.26, 23.4, 4321.0)] == [
        "0.46x",
        "1.3x",
        "23x",
        "4,321x",
    ]


def test_a_table_has_a_column_for_each_side() -> None:
    rows = [
        row("peer", 40, backends=10),
        row("registry", 10, backends=10),
        row("registry", 11, backends=1000),
    ]
    table = report.beside(rows, "T", ("operation", "backends"))
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns == {
        "operation": ["get", "get"],
        "backends": ["10", "1,000"],
        "registry": ["10.0 ns", "11.0 ns"],
        "peer": ["40.0 ns  4.0x", ""],
    }


def numbers_shown(width: int) -> Counter[str]:
    """All numbers in the tables of the committed results, in a terminal of this width."""
    console = Console(file=io.StringIO(), width=width)
    report.show(results.load(readme.REFERENCE / "gil.json"), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    found = Counter(re.findall(r"(?<!\S)[\d.,]+x?(?!\S)", text))
    assert found.total() > 500
    return found


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_numbers_are_whole_at_any_width(width: int) -> None:
    assert numbers_shown(width) == numbers_shown(300)


def test_two_interpreters_side_by_side() -> None:
    one = result(
        row("registry", 10, backends=1000),
        row("registry", 5, unit=PER_SECOND, section="throughput", threads=2),
    )
    other = result(
        row("registry", 5, backends=1000),
        row("registry", 10, unit=PER_SECOND, section="throughput", threads=2),
    )
    table = report.side_by_side(one, other)
    assert list(table.columns[-1].cells) == ["2.0x", "2.0x"]


ROUNDS = (9.0, 10.0, 10.0, 11.0, 10.0)


def scaled(side: str, by: float, **given: Any) -> Row:
    return row(side, *(value * by for value in ROUNDS), **given)


@pytest.mark.parametrize(
    ("ours", "theirs", "unit", "verdict"),
    [
        (1.0, 1.0, "ns", ""),
        (1.05, 1.0, "ns", ""),
        (1.5, 1.0, "ns", "REGRESSION"),
        (0.5, 1.0, "ns", "better"),
        (1.5, 1.5, "ns", ""),  # the machine has become slower
        (1.0, 2.0, "ns", "better"),
        (1.5, 1.0, PER_SECOND, "better"),
        (0.5, 1.0, PER_SECOND, "REGRESSION"),
        (0.5, 0.5, PER_SECOND, ""),
    ],
)
def test_changes_are_told_from_noise_and_drift(
    ours: float, theirs: float, unit: str, verdict: str
) -> None:
    before = result(scaled("registry", 1, unit=unit), scaled("peer", 1, unit=unit))
    after = result(scaled("registry", ours, unit=unit), scaled("peer", theirs, unit=unit))
    assert [change.verdict for change in compare.compare(before, after)] == [verdict]


def test_a_change_within_the_spread_is_noise() -> None:
    before, after = result(row("registry", 5, 10, 20)), result(row("registry", 6, 14, 22))
    assert [change.verdict for change in compare.compare(before, after)] == [""]


@pytest.mark.parametrize(("by", "status"), [(1.0, 0), (2.0, 1), (0.4, 0)])
def test_compare_exits_with_1_on_a_regression(
    by: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.save(result(scaled("registry", 1), scaled("peer", 1)), tmp_path / "a.json")
    results.save(result(scaled("registry", by), scaled("peer", 1)), tmp_path / "b.json")
    assert command.main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == status
    assert ("REGRESSION" in capsys.readouterr().out) == (status == 1)


def test_results_with_nothing_in_common_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, operation in (("a", "get"), ("b", "put")):
        results.save(result(row("registry", 1.0, operation=operation)), tmp_path / f"{name}.json")
    assert command.main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "no row in common" in capsys.readouterr().err


def test_goals_are_met_by_the_median() -> None:
    measured = Figure(2.0, 1.0, 9.0)
    assert goals.at_most("x", 2, measured) == Goal("x", "<= 2", measured, True)
    assert goals.at_most("x", 1.9, measured).met is False
    assert goals.at_least("x", 2000, measured) == Goal("x", ">= 2,000", measured, False)
    assert goals.at_least("x", 2, measured).met is True
    assert goals.at_most_at_best("x", 1, measured) == Goal("x, best round", "<= 1", measured, True)
    assert goals.at_most_at_best("x", 0.9, measured).met is False
    table = report.goal_table(
        result(told=(goals.at_most("x", 1, measured), Goal("y", "<= 1", "not installed", None)))
    )
    assert list(table.columns[-1].cells) == ["NOT MET", ""]
    assert list(table.columns[-2].cells) == ["2 (1 to 9)", "not installed"]


def test_goals_beside_a_peer_that_is_missing_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashmap_native, "missing", lambda: "not built")
    monkeypatch.setattr(
        goals, "litellm", lambda: Peer("LiteLLM", "no-such-package", "litellm_router")
    )
    told = [*goals.against_the_plan(TINY), *goals.against_litellm(TINY)]
    assert [goal.measured for goal in told] == [
        "not built",
        *["not installed (pip install no-such-package)"] * 2,
    ]
    assert [goal.met for goal in told] == [None] * 3


# ---- the README


def test_text_between_marks() -> None:
    old = f"a\n{readme.BEGIN}\nold\n{readme.END}\nb"
    assert readme.between_marks(old, "new") == f"a\n{readme.BEGIN}\nnew\n{readme.END}\nb"
    with pytest.raises(ValueError, match="expected"):
        readme.between_marks("no marks", "new")


def test_the_readme_shows_the_committed_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert readme.update(check=True) == 0, capsys.readouterr().err


def test_a_line_of_the_readme_has_wins_and_losses() -> None:
    group = {"registry": row("registry", 10.0), "slow": row("slow", 40.0), "fast": row("fast", 5.0)}
    assert readme.cells(group, ["registry", "slow", "fast", "none"]) == [
        "10.0 ns",
        "40.0 ns (4.0x)",
        "**5.00 ns (0.50x)**",
        "",
    ]


def test_bulk_is_as_many_counts_as_it_says() -> None:
    assert BULK == 1000
    assert all(len(operation.names(*filled(SMALL))["many"]) == BULK for operation in OPERATIONS[:1])
