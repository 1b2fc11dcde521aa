"""Cooling down, old averages, and what callers are told of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from support.fleets import eject, finish, make_backend, make_timed, only, refusal, the
from support.threads import run_threads

from registry import (
    ChangeKind,
    Ejection,
    Lease,
    NoBackendAvailableError,
    Policy,
    Reason,
    Registry,
    Watch,
)

# ---- Cooling down.


def test_a_cool_down_only_moves_later_and_is_never_ignored() -> None:
    registry, clock = make_timed("a")
    view = the(registry, "a")
    registry.cool_down("a", 20, serial=view.serial)
    registry.cool_down("a", 10.5)
    error = refusal(registry)
    assert (error.kinds, error.retry_after) == ({"a": Reason.COOLING_DOWN}, 20.0)
    assert "cooling down" in str(error)
    until = the(registry, "a").unavailable_until
    assert until is not None
    assert until.utcoffset() == timedelta(0)
    clock.advance(20)
    view = the(registry, "a")
    assert (view.unavailable, view.unavailable_until) == (None, None)
    registry.acquire("m").release()


def test_the_later_deadline_counts() -> None:
    registry, _ = make_timed("a", "b", "c", ejection=Ejection(panic=None))
    eject(registry, "a")
    registry.cool_down("a", 5)
    registry.cool_down("b", 60)
    registry.drain("c")
    error = refusal(registry)
    assert error.kinds == {
        "a": Reason.COOLING_DOWN,
        "b": Reason.COOLING_DOWN,
        "c": Reason.DRAINING,
    }
    assert error.retry_after == 30.0


@pytest.mark.parametrize(("seconds", "later"), [(10, 30.0), (50, 50.0)])
def test_of_one_that_is_both_the_later_deadline_counts(seconds: int, later: float) -> None:
    registry, _ = make_timed()
    eject(registry)
    registry.cool_down("a", seconds)
    error = refusal(registry)
    assert (error.kinds, error.retry_after) == ({"a": Reason.COOLING_DOWN}, later)


@pytest.mark.parametrize("change", ["drained", "excluded", "full"])
def test_time_brings_nobody_back_who_has_another_reason(change: str) -> None:
    registry, _ = make_timed(cap=1, ejection=Ejection(panic=None))
    if change == "full":
        registry.increment_pending("a")
    else:
        registry.cool_down("a", 10)
    if change == "drained":
        registry.drain("a")
    error = refusal(registry, exclude=["a"] if change == "excluded" else [])
    assert error.retry_after is None


def test_a_release_moves_a_deadline_only_later() -> None:
    registry, clock = make_timed()
    leases = [registry.acquire("m") for _ in range(3)]
    for lease, seconds, left in zip(leases, (60, 5, 70), (60, 60, 70), strict=True):
        lease.release(retry_after=seconds)
        assert refusal(registry).retry_after == left
    clock.advance(70)
    registry.acquire("m").release()


def test_a_deadline_is_one_instant_whenever_it_was_set_or_read() -> None:
    before = datetime.now(UTC)
    registry, clock = make_timed("a", "b", "c")
    after = datetime.now(UTC)
    clock.advance(100)
    eject(registry, "a")
    until = the(registry, "a").unavailable_until
    assert until is not None
    rounding = timedelta(microseconds=1)
    assert before - rounding <= until - timedelta(seconds=130) <= after + rounding
    clock.advance(10)
    registry.cool_down("b", 20)
    registry.acquire("m", **only(registry, "c")).release(retry_after=20)
    assert {the(registry, one).unavailable_until for one in "abc"} == {until}
    clock.advance(20 - 1e-9)
    assert {the(registry, one).unavailable_until for one in "abc"} == {until}
    clock.advance(1e-9)
    for one in "abc":
        view = the(registry, one)
        assert (view.unavailable, view.unavailable_until) == (None, None)


def test_what_a_watch_is_told() -> None:
    registry, clock = make_timed("a", "b")
    with registry.watch() as watch:
        registry.cool_down("a", 1)
        clock.advance(1)
        eject(registry, "a")
        registry.restore("a")
        registry.restore("a")
        changes = []
        while (change := watch.get(0)) is not None:
            assert change.before is not None
            assert change.after is not None
            changes.append((change.kind, change.before.unavailable, change.after.unavailable))
    assert changes == [
        (ChangeKind.AVAILABILITY, None, Reason.EJECTED),
        (ChangeKind.AVAILABILITY, Reason.EJECTED, None),
    ]


def test_a_watch_is_told_of_the_end_of_a_trial_and_not_of_its_start() -> None:
    registry, clock = make_timed("a", "b")
    eject(registry, "a")
    registry.increment_pending_many(["b"] * 100)
    clock.advance(30)
    with registry.watch() as watch:
        trial = registry.acquire("m")
        assert the(registry, "a").unavailable is Reason.ON_TRIAL
        registry.acquire("m").release(retry_after=1)  # b cools down
        assert watch.get(0) is None
        trial.release(failed=True)
        again = watch.get(0)
        clock.advance(60)
        registry.acquire("m").release()
        back = watch.get(0)
        assert watch.get(0) is None
    for change, after in ((again, Reason.EJECTED), (back, None)):
        assert change is not None
        assert change.after is not None
        assert (change.kind, change.backend_id) == (ChangeKind.AVAILABILITY, "a")
        assert change.after.unavailable is after
        assert (change.after.unavailable_until is None) == (after is None)


def unavailable(watch: Watch) -> list[tuple[Reason | None, Reason | None]]:
    """Takes the changes of a watch: what their views show before and after."""
    found = []
    while (change := watch.get(0)) is not None:
        assert change.kind is ChangeKind.AVAILABILITY
        assert change.before is not None
        assert change.after is not None
        found.append((change.before.unavailable, change.after.unavailable))
    return found


def test_a_watch_is_told_of_a_trial() -> None:
    """The view before the change shows what a view showed just before the change."""
    registry, clock = make_timed("a", "b", ejection=Ejection(trials=2))
    eject(registry, "a")
    registry.increment_pending_many(["b"] * 100)  # so the next requests go to a
    with registry.watch() as watch:
        clock.advance(30)
        first = registry.acquire("m")
        assert the(registry, "a").unavailable is Reason.ON_TRIAL
        first.release(failed=True)
        assert unavailable(watch) == [(Reason.ON_TRIAL, Reason.EJECTED)]
        clock.advance(60)
        for _ in range(2):
            lease = registry.acquire("m")
            assert lease.backend.id == "a"
            lease.release()
        assert unavailable(watch) == [(Reason.ON_TRIAL, None)]
        for is_cooling in (False, True):
            eject(registry, "a")
            clock.advance(300)
            registry.increment_pending_many(["b"] * 100)
            trial = registry.acquire("m")
            assert trial.backend.id == "a"
            if is_cooling:
                registry.cool_down("a", 5)
            registry.restore("a")
            trial.release(abandoned=True)
            before = Reason.COOLING_DOWN if is_cooling else Reason.ON_TRIAL
            assert unavailable(watch) == [(None, Reason.EJECTED), (before, None)]
        eject(registry, "a")
        clock.advance(300)
        registry.restore("a")  # no trial is out
        assert unavailable(watch) == [(None, Reason.EJECTED), (None, None)]


def test_an_equal_url_keeps_what_another_one_ends() -> None:
    registry, _ = make_timed("a", "b")
    eject(registry, "a")
    registry.update_backend(make_backend("a", "m", "n", weight=5))
    assert the(registry, "a").unavailable is Reason.EJECTED
    registry.update_status("a", "healthy")
    assert the(registry, "a").unavailable is Reason.EJECTED
    registry.update_backend(make_backend("a", "m", url="http://another"))
    view = the(registry, "a")
    assert (view.unavailable, view.failed_requests) == (None, 0)


def test_an_equal_url_keeps_a_cool_down() -> None:
    registry, _ = make_timed("a", "b")
    registry.cool_down("a", 60)
    registry.update_models("a", make_backend("a", "m", "n").models)
    registry.reconcile([make_backend("a", "m", priority=1), make_backend("b", "m")])
    assert the(registry, "a").unavailable is Reason.COOLING_DOWN


# ---- Old averages.


def test_an_old_average_counts_like_none() -> None:
    registry, clock = make_timed("a", "b")
    registry.update_latency("a", 60_000)
    registry.update_latency("b", 100)
    assert registry.select("m", policy="lowest_latency").id == "b"
    clock.advance(60)
    assert registry.select("m", policy="lowest_latency").id == "b"  # not older than that
    registry.update_latency("b", 100)
    clock.advance(0.001)
    assert registry.select("m", policy="lowest_latency").id == "a"
    assert the(registry, "a").avg_latency_ms == 60_000


def test_smart_counts_the_best_average_for_one_without() -> None:
    registry, _ = make_timed("a", "b", "c")
    registry.update_latency("a", 500)
    registry.update_latency("b", 700)
    ranks = {c.backend_id: c.rank for c in registry.explain("m", policy="smart")}
    assert ranks["b"] == 3
    assert registry.select("m", policy="smart").id != "b"


@pytest.mark.parametrize("policy", [Policy.LOWEST_LATENCY, Policy.SMART])
def test_each_sample_keeps_an_average_young(policy: Policy) -> None:
    registry, clock = make_timed("a", "b", latency_ttl_s=5)
    for _ in range(4):
        clock.advance(4)
        for backend_id, latency_ms in (("a", 60_000), ("b", 100)):
            registry.acquire("m", **only(registry, backend_id)).release(latency_ms)
    clock.advance(4)
    assert registry.select("m", policy=policy).id == "b"
    finish(registry, "a", failed=True)  # no sample
    finish(registry, "b", failed=True)  # a tie of SMART goes to the one that was chosen before
    registry.update_latency("b", 100)
    clock.advance(2)
    ranked = registry.explain("m", policy=policy)
    assert [(c.backend_id, c.avg_latency_ms) for c in ranked] == [("a", 60_000), ("b", 100)]


def test_without_a_time_to_live_no_average_is_old() -> None:
    registry, clock = make_timed("a", "b", latency_ttl_s=None)
    registry.update_latency("a", 60_000)
    clock.advance(86_400 * 365)
    registry.update_latency("b", 100)
    assert registry.select("m", policy="lowest_latency").id == "b"


# ---- Threads.


def test_trials_exclude_each_other_among_threads() -> None:
    registry, clock = make_timed("a", "b", ejection=Ejection(panic=None))
    eject(registry, "a")
    clock.advance(30)
    out: list[Lease] = []
    most: list[int] = []

    def try_it() -> None:
        for _ in range(300):
            try:
                lease = registry.acquire("m", **only(registry, "a"))
            except NoBackendAvailableError:
                continue
            out.append(lease)
            most.append(len(out))
            out.remove(lease)
            lease.release(abandoned=True)

    run_threads([try_it] * 8, limit=60)
    assert set(most) == {1}
    assert the(registry, "a").pending_requests == 0
    finish(registry, "a")
    assert the(registry, "a").unavailable is None


def test_failures_of_many_threads_are_all_counted() -> None:
    registry, _ = make_timed("a", ejection=Ejection(consecutive_failures=None, failure_rate=None))

    def fail() -> None:
        for _ in range(500):
            registry.acquire("m").release(failed=True)

    run_threads([fail] * 8, limit=60)
    view = the(registry, "a")
    assert (view.failed_requests, view.total_requests, view.pending_requests) == (4000, 4000, 0)
    assert view.unavailable is None


def test_failures_of_many_threads_eject_once() -> None:
    registry, _ = make_timed("a", "b")
    leases = [registry.acquire("m", **only(registry, "a")) for _ in range(80)]

    def fail(number: int) -> None:
        for lease in leases[number::8]:
            lease.release(failed=True)

    with registry.watch() as watch:
        run_threads([partial(fail, number) for number in range(8)], limit=60)
        change = watch.get(0)
        assert change is not None
        assert change.kind is ChangeKind.AVAILABILITY
        assert watch.get(0) is None
    view = the(registry, "a")
    assert (view.failed_requests, view.pending_requests) == (80, 0)
    assert refusal_of_a(registry) == 30.0  # n is 1


def refusal_of_a(registry: Registry) -> float | None:
    """For how long a is ejected, in a registry whose other backend is b."""
    registry.cool_down("a", 0.001)  # It is never ignored: without b, there would be a panic.
    registry.drain("b")
    return refusal(registry).retry_after
