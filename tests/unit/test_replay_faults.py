"""Faults in a replay: how requests end, their retries, the clock, and the figures."""

from __future__ import annotations

import threading
from functools import partial
from math import inf
from typing import Any

import pytest
from support.threads import run_threads

from registry import Backend, BackendStatus, Ejection, Model, Policy, Reason, Registry
from registry.cli.replay import engine, fault_files, inputs, report
from registry.cli.replay._faults import (
    Down,
    Effect,
    ErrorRate,
    FastFailure,
    Fault,
    Faults,
    Moment,
    SlowStart,
    TimeOut,
    TooMany,
)
from registry.cli.replay.clock import SimulatedClock
from registry.cli.replay.inputs import Request
from registry.cli.replay.outcome import Outcome
from registry.testing import ManualClock


def span(backend: str, start: float = 0.0, end: float = inf) -> dict[str, Any]:
    """The fields that all faults have."""
    return {"backend": backend, "start": Moment(start), "end": Moment(end)}


def replayed(
    ids: str, arrivals: list[float], *faults: Fault, ejection: Ejection | None = None
) -> Outcome:
    """The outcome of requests from one thread, whose arrivals are far apart."""
    fleet = [Backend(name, name, f"http://{name}", models=[Model("m")]) for name in ids]
    requests = [Request(arrival, 0, 10) for arrival in arrivals]
    options: dict[str, Any] = {"faults": faults, "ejection": ejection}
    return engine.replay(fleet, requests, ["m"] * len(requests), 1, Policy.ROUND_ROBIN, **options)


@pytest.mark.parametrize(
    ("fault", "chance", "effect"),
    [
        (FastFailure(**span("a")), 0.0, Effect(0.001, failed=True)),
        (Down(**span("a")), 0.0, Effect(0.001, failed=True)),
        (TimeOut(**span("a"), seconds=30.0), 0.0, Effect(30.0, failed=True)),
        (ErrorRate(**span("a"), rate=0.25), 0.2, Effect(2.0, failed=True)),
        (ErrorRate(**span("a"), rate=0.25), 0.25, Effect(2.0)),
        (TooMany(**span("a"), retry_after=9.0), 0.0, Effect(0.001, True, 9.0)),
        (SlowStart(**span("a"), requests=1, times=10.0), 0.0, Effect(20.0)),
    ],
)
def test_each_fault_has_its_effect(fault: Fault, chance: float, effect: Effect) -> None:
    assert fault.hit(2.0, chance) == effect


def test_the_first_fault_that_holds_is_met() -> None:
    faults = Faults(
        [
            SlowStart(**span("a", 10.0, 20.0), requests=2, times=5.0),
            FastFailure(**span("a", 15.0, 30.0)),
        ]
    )
    assert [faults.meet("a", now) for now in (9.9, 10.0, 15.0, 15.0, 30.0)] == [
        None,
        0,
        0,
        1,
        None,
    ]
    assert faults.meet("b", 16.0) is None
    assert [faults.any_at(now) for now in (9.9, 10.0, 29.9, 30.0)] == [False, True, True, False]
    assert (faults.ended("a", 19.9), faults.ended("a", 20.0), faults.ended("a", 30.0)) == (
        [],
        [0],
        [0, 1],
    )


def test_a_slow_start_hits_no_request_too_many() -> None:
    faults = Faults([SlowStart(**span("a"), requests=1000, times=5.0)])
    met = [0] * 8

    def meet(index: int) -> None:
        for _ in range(500):
            met[index] += faults.meet("a", 1.0) is not None

    run_threads([partial(meet, index) for index in range(8)])
    assert sum(met) == 1000


def test_a_failed_request_is_retried_once_on_another_backend() -> None:
    outcome = replayed("ab", [0.0, 100.0, 200.0], FastFailure(**span("a")))
    failed = {view.id: (view.failed_requests, view.total_requests) for view in outcome.views}
    tries = outcome.record.retries
    assert tries > 0
    assert failed == {"a": (tries, tries), "b": (0, 3)}
    assert (outcome.record.done, outcome.record.failed, outcome.adds_up) == (3, 0, True)
    # The client waits for both attempts.
    alone = replayed("b", [0.0]).record.latencies[0]
    assert outcome.faulty_share == tries / (3 + tries)
    assert alone > 0


def test_a_request_fails_if_the_retry_fails_or_finds_nobody() -> None:
    alone = replayed("a", [0.0, 100.0], FastFailure(**span("a")))
    assert (alone.record.failed, alone.record.retries, alone.adds_up) == (2, 0, True)
    both = replayed("ab", [0.0], FastFailure(**span("a")), FastFailure(**span("b")))
    assert (both.record.failed, both.record.retries, both.adds_up) == (1, 1, True)
    assert (list(both.record.latencies), both.percentiles(50)) == ([], [None])


def test_a_retry_starts_when_the_first_attempt_has_failed() -> None:
    outcome = replayed("ab", [0.0, 100.0], TimeOut(**span("a"), seconds=30.0))
    (start,) = (start for start in outcome.record.starts if start not in (0.0, 100.0))
    assert start in (30.0, 130.0)
    assert max(outcome.record.latencies) == 30_000 + min(outcome.record.latencies)


def test_failures_eject_in_simulated_time() -> None:
    arrivals = [10.0 * number for number in range(20)]
    once = Ejection(consecutive_failures=1, base_s=45.0, slow_start_s=0)
    fault = FastFailure(**span("a", 0.0, 50.0))
    outcome = replayed("ab", arrivals, fault, ejection=once)
    failures = outcome.record.failures[0]
    assert 1 <= failures <= 2
    assert replayed("ab", arrivals, fault).record.failures[0] > failures
    assert outcome.adds_up
    recovery = outcome.recovery(0)
    assert recovery is not None
    assert recovery <= 90.0 + 10.0


@pytest.mark.parametrize("length", [20.0, 168.0, 700.0])
def test_a_backend_stays_out_at_most_as_long_as_it_has_failed(length: float) -> None:
    arrivals = [float(number) for number in range(round(2.5 * length) + 100)]
    fault = FastFailure(**span("a", 0.0, length))
    outcome = replayed("ab", arrivals, fault, ejection=Ejection())
    (recovery,) = outcome.recoveries
    assert recovery is not None
    waiting = 2.0  # for the request that becomes the trial: every second one, by turns
    assert 0.0 < recovery <= min(length + Ejection().base_s, Ejection().max_s) + waiting


def test_retry_after_cools_down_in_simulated_time() -> None:
    arrivals = [10.0 * number for number in range(20)]
    fault = TooMany(**span("a", 0.0, 15.0), retry_after=100.0)
    outcome = replayed("ab", arrivals, fault)
    (recovery,) = outcome.recoveries
    assert recovery is not None
    assert 85.0 <= recovery <= 120.0
    assert outcome.record.failures == {0: 1}


def test_nobody_left_is_a_refusal() -> None:
    fault = TooMany(**span("a"), retry_after=50.0)
    outcome = replayed("a", [0.0, 10.0, 20.0, 60.0], fault)
    assert (outcome.record.failed, outcome.record.rejected, outcome.adds_up) == (2, 2, True)
    assert outcome.recoveries == []


def test_health_checks_see_that_a_backend_is_down() -> None:
    faults = Faults([Down(**span("a", 20.0, 60.0)), FastFailure(**span("a")), Down(**span("b"))])
    assert faults.health_checks() == [
        (10.0, "b", BackendStatus.UNHEALTHY),
        (30.0, "a", BackendStatus.UNHEALTHY),
        (70.0, "a", BackendStatus.HEALTHY),
    ]


def test_a_replay_with_one_thread_is_reproducible() -> None:
    fleet, requests = inputs.synthetic_fleet(), inputs.synthetic_trace(2000)
    models = inputs.draw_models(fleet, 2000)
    faults = fault_files.demo(fleet, requests)
    records = [engine.replay(fleet, requests, models, 1, faults=faults).record for _ in range(2)]
    assert records[0] == records[1]
    assert sorted(records[0].to_faulty) == [0, 1, 2, 3, 4, 5]


def test_eight_threads_with_faults_lose_no_count() -> None:
    fleet, requests = inputs.synthetic_fleet(), inputs.synthetic_trace(4000)
    models = inputs.draw_models(fleet, 4000)
    faults = fault_files.demo(fleet, requests)
    for ejection in (Ejection(), None):
        outcome = engine.replay(fleet, requests, models, 8, faults=faults, ejection=ejection)
        assert outcome.adds_up
        assert outcome.record.failures.total() > 0


def test_a_lost_failure_is_found() -> None:
    outcome = replayed("ab", [0.0, 100.0], FastFailure(**span("a")))
    assert outcome.adds_up
    outcome.record.failures[0] += 1
    assert not outcome.adds_up
    assert report.verdict(outcome).startswith("FAILED")


def test_the_clock_moves_forward_to_the_furthest_worker() -> None:
    manual = ManualClock()
    clock = SimulatedClock(Registry(clock=manual), manual)
    for now, shown in ((5.0, 5.0), (3.0, 5.0), (5.0, 5.0), (7.5, 7.5)):
        clock.reach(now)
        assert (clock.now, manual.now) == (shown, shown)


def test_workers_do_not_add_up_their_moves() -> None:
    manual = ManualClock()
    clock = SimulatedClock(Registry(clock=manual), manual)
    together = threading.Barrier(8)

    def move() -> None:
        together.wait()
        for step in range(2000):
            clock.reach(step / 10)

    run_threads([move] * 8)
    assert manual.now == pytest.approx(199.9, abs=1e-6)


def test_a_health_check_is_made_at_its_time() -> None:
    manual = ManualClock()
    registry = Registry(clock=manual)
    registry.add_backend(Backend("a", "a", "http://a", models=[Model("m")]))
    registry.update_status("a", "healthy")
    down, up = (10.0, "a", BackendStatus.UNHEALTHY), (40.0, "a", BackendStatus.HEALTHY)
    clock = SimulatedClock(registry, manual, [down, up])
    states = []
    for now in (9.9, 10.0, 39.9, 50.0):
        clock.reach(now)
        (candidate,) = registry.explain("m")
        states.append(candidate.kind)
    assert states == [None, Reason.UNHEALTHY, Reason.UNHEALTHY, None]


def test_an_open_end_has_no_recovery() -> None:
    outcome = replayed("ab", [0.0, 100.0], FastFailure(**span("a")))
    assert outcome.recoveries == []
    late = replayed("ab", [0.0, 1.0], FastFailure(**span("a", 0.0, 50.0)))
    assert late.recoveries == [None]
