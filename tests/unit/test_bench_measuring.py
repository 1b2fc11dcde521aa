"""How the benchmark suite measures: rounds, calibration, threads, and the work of each section."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.suite import TINY, drop_fleets

from benchmarks import cost, latency, memory, throughput
from benchmarks.fleet import filled
from benchmarks.measure import Figure, calibrated, figure, interleaved, nanoseconds, ratios, work
from benchmarks.measure import throughput as rate
from benchmarks.operations import Operation

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers' packages


@pytest.fixture(scope="module", autouse=True)
def _clean_up() -> Iterator[None]:
    yield
    drop_fleets()


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
    """A clock that only `work` advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, count: int) -> None:
        """Takes a microsecond for each call."""
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
    # The second thread may start after the first has moved the clock.
    assert rate([lambda: step(3), lambda: step(5)]) >= 8 / 2


def test_thread_counts_above_eight_are_powers_of_two() -> None:
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


def test_a_load_has_its_percentage_of_writes() -> None:
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


def test_quantiles_of_samples() -> None:
    values = latency.at_quantiles(list(range(10_001)))
    assert values == [pytest.approx(10_000 * quantile, abs=1) for quantile in latency.QUANTILES]
    assert values[0] == 0
    assert values[-1] == 10_000


@pytest.mark.parametrize(("patience", "batches"), [(0.0, 1), (3600.0, 3)])
def test_sampling_ends_with_enough_samples_or_after_a_time(
    patience: float, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "at_quantiles", lambda samples: [float(len(samples))])
    budget = replace(TINY, samples=2 * latency.BATCH + 1, patience=patience)
    assert latency.sampled("pass", {}, ({}, []), False, budget) == [batches * latency.BATCH]


def test_memory_is_measured_in_a_new_process() -> None:
    assert 500 < memory.in_child("registry", "shared", 3000) < 100_000
