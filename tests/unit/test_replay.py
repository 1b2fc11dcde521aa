"""The replay itself: its load on simulated clocks, its threads, and the figures of its result."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from registry import Backend, Model, NoBackendAvailableError, Policy, Registry
from registry.cli.main import main
from registry.cli.replay import engine, inputs, plot
from registry.cli.replay.clock import SimulatedClock
from registry.cli.replay.inputs import Request
from registry.cli.replay.outcome import Outcome, Record
from registry.cli.replay.worker import Worker
from registry.testing import ManualClock


def fleet_of(*ids: str) -> list[Backend]:
    """Backends that serve the model `m`."""
    return [
        Backend(name, name, f"http://host-{n}", models=[Model("m")]) for n, name in enumerate(ids)
    ]


def worker_on(registry: Registry, requests: list[Request], speed: float = 10.0) -> Worker:
    """A worker whose backends generate `speed` tokens a second."""
    speeds, models = dict.fromkeys(registry, speed), ["m"] * len(requests)
    pace, time = threading.Barrier(1), SimulatedClock(registry, ManualClock())
    return Worker(registry, Policy.LEAST_PENDING, speeds, requests, models, pace, time)


def registry_of(*backends: Backend) -> Registry:
    """A registry with these backends, all healthy."""
    registry = Registry()
    for backend in backends:
        registry.add_backend(backend)
        registry.update_status(backend.id, "healthy")
    return registry


def outcome_of(
    registry: Registry, record: Record, requests: int = 0, serving: frozenset[str] = frozenset()
) -> Outcome:
    """The outcome of one thread that ran for one second."""
    return Outcome(
        Policy.LEAST_PENDING, registry.get_all_backends(), serving, record, requests, 1, 1.0
    )


def test_overlapping_requests_are_in_flight_together() -> None:
    registry = registry_of(*fleet_of("a"))
    # At 10 tokens a second, each request takes 10 seconds.
    requests = [Request(arrival, 0, 100) for arrival in (0.0, 5.0, 12.0)]
    worker = worker_on(registry, requests)
    worker.run()
    view = registry.get_backend("a")
    assert view is not None
    assert (
        worker.record.most_in_flight["a"],
        worker.record.done,
        view.pending_requests,
        view.total_requests,
    ) == (
        2,
        3,
        0,
        3,
    )
    assert (view.avg_latency_ms, worker.clock) == (10_000, 22.0)


def test_a_prompt_token_costs_a_tenth_of_a_generated_one() -> None:
    registry = registry_of(*fleet_of("a"))
    worker_on(registry, [Request(0.0, 100, 20)]).run()
    view = registry.get_backend("a")
    assert view is not None
    assert view.avg_latency_ms == (100 / 10 + 20) / 10.0 * 1000


def test_a_full_window_waits_for_the_earliest_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.cli.replay.worker.WINDOW", 2)
    registry = registry_of(*fleet_of("a"))
    worker = worker_on(registry, [Request(0.0, 0, 10)] * 5)
    worker.run()
    assert (worker.record.most_in_flight["a"], worker.record.done, worker.clock) == (2, 5, 3.0)


@pytest.mark.parametrize(("weight", "tenth"), [(1, 1250), (2, 1000)])
def test_more_than_eight_requests_per_weight_share_the_speed(weight: int, tenth: int) -> None:
    worker = worker_on(
        registry_of(Backend("a", "a", "http://a", models=[Model("m")], weight=weight)), []
    )
    for number in range(10):
        worker.start(number, Request(0.0, 0, 10), "m")
    assert list(worker.record.times[:8]) == [1000] * 8
    assert worker.record.times[9] == tenth
    worker.run()
    assert worker.clock == tenth / 1000


def test_requests_without_a_healthy_backend_are_refused() -> None:
    registry = Registry()
    registry.add_backend(fleet_of("never checked")[0])
    worker = worker_on(registry, inputs.synthetic_trace(3))
    worker.run()
    assert (worker.record.rejected, worker.record.done) == (3, 0)
    assert outcome_of(registry, worker.record, 3).adds_up


@pytest.mark.parametrize("policy", Policy)
def test_each_policy_uses_all_backends(policy: Policy) -> None:
    outcome = engine.replay(fleet_of("a", "b"), inputs.synthetic_trace(200), ["m"] * 200, 2, policy)
    assert (outcome.policy, outcome.adds_up, outcome.total) == (policy, True, 200)
    assert all(view.total_requests for view in outcome.views)


def test_the_policy_is_passed_to_acquire(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Refusing(Registry):
        def acquire(self, model_id: str, /, **options: Any) -> Any:
            calls.append((model_id, options))
            raise NoBackendAvailableError(model_id)

    monkeypatch.setattr(engine, "Registry", Refusing)
    assert (
        engine.replay(fleet_of("a"), [Request(0.0, 1, 1)], ["m"], 1, Policy.SMART).record.rejected
        == 1
    )
    assert calls == [("m", {"policy": Policy.SMART, "exclude": (), "affinity": None, "tokens": 1})]


def test_eight_threads_lose_no_count() -> None:
    fleet = inputs.synthetic_fleet()
    requests = inputs.synthetic_trace(4000)
    models = inputs.draw_models(fleet, 4000)
    outcome = engine.replay(fleet, requests, models, threads=8)
    assert outcome.adds_up
    assert (
        outcome.total,
        outcome.record.done,
        outcome.record.rejected,
        outcome.left_in_flight,
    ) == (4000, 4000, 0, 0)
    assert set(outcome.record.most_in_flight) == {
        view.id for view in outcome.views if view.total_requests
    }


def test_there_may_be_more_threads_than_requests() -> None:
    outcome = engine.replay(fleet_of("a"), inputs.synthetic_trace(3), ["m"] * 3, threads=8)
    assert (outcome.adds_up, outcome.total) == (True, 3)


class Long:
    """A long sequence that counts how often a slice of it is exhausted."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.exhausted = 0

    def __getitem__(self, _part: slice) -> Iterator[Any]:
        for _ in range(2_000_000):
            yield self.value
        self.exhausted += 1


def test_an_interrupt_stops_the_threads() -> None:
    requests: Any = Long(Request(0.0, 1, 1))
    models: Any = Long("m")

    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        engine.replay(fleet_of("a"), requests, models, 2, progress=interrupt)
    assert requests.exhausted == models.exhausted == 0
    assert threading.active_count() == before


def test_a_thread_that_fails_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: Any = Long(Request(0.0, 1, 1))
    models: Any = Long("m")
    failing = threading.Semaphore(1)
    finish_one = Worker.finish_one

    def fail_once(self: Worker) -> None:
        if failing.acquire(blocking=False):
            raise ZeroDivisionError
        finish_one(self)

    monkeypatch.setattr(Worker, "finish_one", fail_once)
    registry = Registry()
    monkeypatch.setattr(engine, "Registry", lambda **_settings: registry)
    with pytest.raises(ZeroDivisionError):
        engine.replay(fleet_of("a"), requests, models, 3)
    assert requests.exhausted == models.exhausted == 0
    # The workers released every lease: collecting an open one warns, which would fail the test.
    assert registry.get_all_backends()[0].pending_requests == 0


def test_threads_that_cannot_be_started_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def refuse_the_third(self: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_third)
    assert main(["replay", "--threads", "5", "--json"]) == 2
    assert (
        capsys.readouterr().err
        == "registry: --threads 5: only 2 could be started: can't start new thread\n"
    )
    assert not any(thread.is_alive() for thread in started)


def test_a_lost_count_is_found() -> None:
    registry = registry_of(*fleet_of("a"))
    worker = worker_on(registry, inputs.synthetic_trace(3))
    worker.run()
    assert outcome_of(registry, worker.record, 3).adds_up
    assert not outcome_of(registry, worker.record, 4).adds_up
    registry.increment_pending("a")
    assert not outcome_of(registry, worker.record, 3).adds_up


@pytest.mark.parametrize(
    ("count", "expected"), [(20, [10, 19, 20]), (3, [2, 3, 3]), (1, [1, 1, 1]), (0, [None] * 3)]
)
def test_percentiles_of_the_latency(count: int, expected: list[int | None]) -> None:
    registry = registry_of(*fleet_of("a"))
    worker = worker_on(
        registry, [Request(1000.0 * (count - n), 0, 10 * n) for n in range(count, 0, -1)]
    )
    worker.run()
    latencies = outcome_of(registry, worker.record).percentiles(50, 95, 99)
    assert latencies == [None if seconds is None else seconds * 1000 for seconds in expected]


def test_evenness_is_the_greatest_average_load_over_the_mean() -> None:
    light, heavy = (
        Backend(f"w{n}", "x", "http://x", models=[Model("m")], weight=n) for n in (1, 3)
    )
    registry = registry_of(light, heavy, *fleet_of("idle"))
    record, serving = Record(), frozenset(["w1", "w3"])
    assert outcome_of(registry, record, serving=serving).evenness is None
    record.add("w1", 1, 0.0, 2000)
    assert outcome_of(registry, record, serving=serving).evenness == 2.0
    for _ in range(3):
        record.add("w3", 7, 1.0, 1000)
    # w1 was busy for 2 s with weight 1, w3 for 3 s with weight 3: loads of 2 and 1, mean 1.5.
    assert outcome_of(registry, record, serving=serving).evenness == pytest.approx(2 / 1.5)
    assert outcome_of(registry, record, serving=serving).most_in_flight == 7


def test_evenness_ignores_backends_without_a_requested_model() -> None:
    idle = Backend("idle", "idle", "http://idle", models=[Model("other")])
    outcome = engine.replay(
        [*fleet_of("a"), idle], inputs.synthetic_trace(20), ["m"] * 20, threads=1
    )
    assert (outcome.serving, outcome.evenness) == (frozenset({"a"}), 1.0)


def test_the_records_of_workers_are_merged() -> None:
    one, other = Record(done=1), Record(done=2, rejected=1)
    one.add("a", 3, 0.0, 10)
    other.add("a", 2, 1.0, 20)
    other.add("b", 5, 2.0, 30)
    one.merge(other)
    assert (one.done, one.rejected, one.most_in_flight, one.busy_ms) == (
        3,
        1,
        {"a": 3, "b": 5},
        {"a": 30, "b": 30},
    )
    assert (list(one.starts), list(one.times)) == ([0.0, 1.0, 2.0], [10, 20, 30])


def test_the_plot_shows_the_average_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "POINTS", 4)
    record = Record()
    assert plot.averages(outcome_of(Registry(), record)) == ([], [])
    record.add("b", 1, 11.5, 2500)
    record.add("a", 1, 10.0, 2000)
    assert plot.averages(outcome_of(Registry(), record)) == (
        [10.5, 11.5, 12.5, 13.5],
        [1.0, 1.5, 1.0, 1.0],
    )
