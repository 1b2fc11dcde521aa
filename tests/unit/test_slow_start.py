"""Slow start: the weight of a backend that has come back grows from a tenth to the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from support.fleets import eject, finish, make_backend, make_timed, the

from registry import Ejection, Policy, Reason, Registry
from registry._core.binding import seed_random

# Those that spread one kind of requests by weight.
WEIGHTED = [policy for policy in Policy if policy not in (Policy.SMART, Policy.AFFINITY)]


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


def share_of(
    registry: Registry, policy: Policy, model_id: str = "m", count: int = 110
) -> list[str]:
    """The backends of requests that are in flight at the same time."""
    leases = [registry.acquire(model_id, policy=policy) for _ in range(count)]
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


def share(registry: Registry) -> int:
    """How many of 116 requests a gets beside b: 58, or 10 with a tenth of the weight."""
    return Counter(share_of(registry, Policy.LEAST_PENDING, count=116))["a"]


def at_a_tenth(**rules: float) -> Registry:
    """A registry whose backend a has just begun a slow start, beside b."""
    registry, _ = make_timed("a", "b", ejection=Ejection(**rules))  # type: ignore[arg-type]
    registry.update_status("a", "unhealthy")
    registry.update_status("a", "healthy")
    return registry


def restore_by_trial(registry: Registry) -> None:
    """Lets a trial of a succeed, while b is busy."""
    registry.increment_pending_many(["b"] * 100)
    lease = registry.acquire("m")
    assert the(registry, "a").unavailable is Reason.ON_TRIAL
    lease.release(100)
    registry.decrement_pending_many(["b"] * 100)


@pytest.mark.parametrize("policy", WEIGHTED)
def test_a_trial_begins_one(policy: Policy) -> None:
    seed_random(1)
    registry, clock = make_timed("a", "b", latency_ttl_s=None)
    eject(registry)
    clock.advance(30)
    restore_by_trial(registry)
    registry.update_latency("b", 100)
    assert Counter(share_of(registry, policy))["a"] <= 25
    clock.advance(30)
    assert Counter(share_of(registry, policy))["a"] >= 30
    assert share(registry) == 58


@pytest.mark.parametrize("before", ["unknown", "draining", "healthy"])
def test_only_unhealthy_to_healthy_begins_one(before: str) -> None:
    registry, _ = make_timed("a", "b")
    registry.update_status("a", before)  # type: ignore[arg-type]
    registry.update_status("a", "healthy")
    assert share(registry) == 58


def test_a_detour_begins_none() -> None:
    registry, _ = make_timed("a", "b")
    for status in ("unhealthy", "unknown", "healthy"):
        registry.update_status("a", status)
    assert share(registry) == 58


def test_another_check_does_not_begin_it_anew() -> None:
    registry, clock = make_timed("a", "b")
    registry.update_status("a", "unhealthy")
    registry.update_status("a", "healthy")
    clock.advance(30)
    registry.update_status("a", "healthy")
    assert share(registry) == 58


def test_0_is_the_whole_weight_at_once() -> None:
    assert share(at_a_tenth()) == 10
    assert share(at_a_tenth(slow_start_s=0)) == 58


def test_without_ejection_there_is_none() -> None:
    registry, _ = make_timed("a", "b", ejection=None)
    registry.update_status("a", "unhealthy")
    registry.update_status("a", "healthy")
    assert share(registry) == 58


@pytest.mark.parametrize(
    "change",
    [
        lambda registry: registry.update_backend(make_backend("a", "m", "n", name="other")),
        lambda registry: registry.update_models("a", make_backend("a", "n", "m").models),
        lambda registry: registry.reconcile([make_backend(one, "m", "n") for one in "ab"]),
    ],
)
def test_an_equal_url_keeps_it(change: Callable[[Registry], object]) -> None:
    registry = at_a_tenth()
    change(registry)
    assert share(registry) == 10


def test_restore_ends_it() -> None:
    registry = at_a_tenth()
    registry.restore("a")
    assert share(registry) == 58


def test_restoring_an_ejected_backend_by_hand_begins_none() -> None:
    registry, _ = make_timed("a", "b")
    eject(registry)
    registry.restore("a")
    assert share(registry) == 58


def test_what_is_shown_is_the_weight_of_the_definition() -> None:
    registry = at_a_tenth()
    registry.update_backend(make_backend("a", "m", weight=7))
    assert the(registry, "a").weight == 7
    assert {c.backend_id: c.weight for c in registry.explain("m")} == {"a": 7, "b": 1}


def test_a_panic_begins_one_as_well() -> None:
    """A success on an ejected backend counts as a trial's, whatever it was chosen for."""
    registry, _ = make_timed("a", "b")
    eject(registry)
    finish(registry, "a")
    assert the(registry, "a").unavailable is None
    assert share(registry) == 10
