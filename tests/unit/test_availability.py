"""Panic, slow start, cooling down, old averages, and what callers are told of them."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from support.fleets import eject, finish, kind_of, make_backend, make_timed, only, refusal, the
from support.threads import run_threads

from registry import ChangeKind, Ejection, Lease, NoBackendAvailableError, Policy, Reason, Registry
from registry._core.binding import seed_random

WEIGHTED = [policy for policy in Policy if policy is not Policy.SMART]


def chosen(registry: Registry, policy: Policy) -> str:
    """The backend of a request that says nothing."""
    lease = registry.acquire("m", policy=policy)
    lease.release(abandoned=True)
    return lease.backend.id


# ---- Panic.


@pytest.mark.parametrize("policy", Policy)
def test_where_nobody_would_be_left_ejections_are_ignored(policy: Policy) -> None:
    registry, _ = make_timed("a", "b")
    eject(registry, "a")
    assert chosen(registry, policy) == "b"
    assert kind_of(registry, "a", policy=policy) is Reason.EJECTED
    eject(registry, "b")
    assert kind_of(registry, "a", policy=policy) is None
    leases = [registry.acquire("m", policy=policy) for _ in range(40)]
    assert {lease.backend.id for lease in leases} == {"a", "b"}
    for lease in leases:
        lease.release(abandoned=True)


def test_a_full_backend_counts_as_left() -> None:
    registry, _ = make_timed("a", "b", cap=1)
    eject(registry, "a")
    lease = registry.acquire("m")
    assert refusal(registry).kinds == {"a": Reason.EJECTED, "b": Reason.FULL}
    lease.release()


def test_a_panic_at_a_share() -> None:
    registry, _ = make_timed(*"abcd", ejection=Ejection(panic=0.5))
    eject(registry, "a")
    assert kind_of(registry, "a") is Reason.EJECTED  # three of four are left
    registry.drain("d")
    assert kind_of(registry, "a") is Reason.EJECTED  # two of three
    registry.cool_down("c", 5)
    assert kind_of(registry, "a") is None  # one of two
    assert {chosen(registry, policy) for policy in Policy} <= {"a", "b"}


def test_without_panic_nobody_is_chosen() -> None:
    registry, clock = make_timed("a", ejection=Ejection(panic=None))
    eject(registry)
    error = refusal(registry)
    assert (error.kinds, error.retry_after) == ({"a": Reason.EJECTED}, 30.0)
    clock.advance(30)
    trial = registry.acquire("m")
    error = refusal(registry)
    assert (error.kinds, error.retry_after) == ({"a": Reason.ON_TRIAL}, None)
    trial.release()
    registry.acquire("m").release()


# ---- Slow start.


@pytest.mark.parametrize("policy", WEIGHTED)
def test_the_weight_grows_from_a_tenth_to_the_whole(policy: Policy) -> None:
    seed_random(1)
    registry, clock = make_timed("a", "b", latency_ttl_s=None)
    for backend_id in "ab":
        registry.update_latency(backend_id, 100)
    registry.update_status("a", "unhealthy")
    registry.update_status("a", "healthy")
    for share in (0.1, 0.55, 1.0):
        got = Counter(share_of(registry, policy))
        if policy is Policy.POWER_OF_TWO:  # it always draws both, and ties are random
            assert got["a"] <= 110 * share / (1 + share) + 25
        else:
            assert abs(got["a"] - 110 * share / (1 + share)) <= (
                25 if policy is Policy.RANDOM else 2
            )
        clock.advance(15)


def share_of(registry: Registry, policy: Policy, model_id: str = "m") -> list[str]:
    """The backends of 110 requests that are in flight at the same time."""
    leases = [registry.acquire(model_id, policy=policy) for _ in range(110)]
    ids = [lease.backend.id for lease in leases]
    for lease in leases:
        lease.release(abandoned=True)
    return ids


def test_smart_does_not_compare_weights() -> None:
    registry, _ = make_timed("a", "b")
    registry.update_status("a", "unhealthy")
    registry.update_status("a", "healthy")
    assert abs(Counter(share_of(registry, Policy.SMART))["a"] - 55) <= 1


def test_a_slow_start_follows_a_backend_to_another_model() -> None:
    registry, _ = make_timed("a", "b")
    registry.update_status("a", "unhealthy")
    registry.update_status("a", "healthy")
    for backend_id in "ab":
        registry.update_backend(make_backend(backend_id, "m", "other"))
    assert abs(Counter(share_of(registry, Policy.LEAST_PENDING, "other"))["a"] - 10) <= 1


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
