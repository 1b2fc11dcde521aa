"""Trials: one request at a time decides whether an ejected backend comes back."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from support.fleets import eject, finish, kind_of, make_backend, make_timed, refusal, the
from support.selection import key_for, picks

from registry import Ejection, Lease, Policy, Reason, Registry
from registry.testing import ManualClock

# More than a backend whose weight is a tenth seems to have in flight, with a few requests.
BUSY = 100


def due(*ids: str, **rules: Any) -> tuple[Registry, ManualClock]:
    """A registry whose backend a was ejected, and the time of that is over.

    The others are busy, so the next request goes to a.
    """
    registry, clock = make_timed(*(ids or ("a", "b")), ejection=Ejection(**rules))
    eject(registry)
    registry.increment_pending_many(BUSY * [one for one in registry if one != "a"])
    clock.advance(30)
    return registry, clock


def take(registry: Registry) -> Lease:
    """A lease of a, as a trial if it is time for one."""
    lease = registry.acquire("m")
    assert lease.backend.id == "a"
    return lease


def leak(registry: Registry) -> None:
    """Takes a lease of a, which is never released, and lets the collector find it."""
    take(registry)
    gc.collect()


@pytest.mark.parametrize("policy", Policy)
def test_one_request_at_a_time_goes_there(policy: Policy) -> None:
    registry, clock = make_timed("a", "b")
    eject(registry)
    clock.advance(30)
    assert kind_of(registry, policy=policy, affinity=key_for(policy)) is None
    leases = [registry.acquire("m", policy=policy, affinity=key_for(policy)) for _ in range(60)]
    assert sum(lease.backend.id == "a" for lease in leases) == 1
    assert kind_of(registry, policy=policy, affinity=key_for(policy)) is Reason.ON_TRIAL
    view = the(registry, "a")
    assert (view.unavailable, view.unavailable_until) == (Reason.ON_TRIAL, None)
    for lease in leases:
        lease.release()
    assert kind_of(registry, policy=policy, affinity=key_for(policy)) is None


def test_a_trial_is_chosen_like_any_other() -> None:
    """It gets no extra request while b has fewer in flight."""
    registry, _ = due()
    registry.increment_pending_many(["a"] * (BUSY + 1))
    assert picks(registry, 20) == ["b"] * 20
    registry.decrement_pending_many(["a"] * 2)
    assert picks(registry, 20) == ["a"] * 20


def test_select_starts_no_trial() -> None:
    registry, _ = due()
    picks(registry, 20)
    view = the(registry, "a")
    assert (view.unavailable, view.unavailable_until) == (None, None)


def test_a_success_restores() -> None:
    registry, _ = due()
    take(registry).release()
    assert (the(registry, "a").unavailable, kind_of(registry)) == (None, None)
    both = [take(registry) for _ in range(2)]
    assert the(registry, "a").unavailable is None
    for lease in both:
        lease.release()


def test_a_failure_ejects_again_for_longer() -> None:
    registry, clock = due()
    for seconds in (60, 120, 240, 300, 300):
        take(registry).release(failed=True)
        assert the(registry, "a").unavailable is Reason.EJECTED
        clock.advance(seconds - 0.5)
        assert kind_of(registry) is Reason.EJECTED
        clock.advance(0.5)
        assert kind_of(registry) is None


def test_so_many_successes_in_a_row_restore() -> None:
    registry, _ = due(trials=3)
    for _ in range(3):
        lease = take(registry)
        assert the(registry, "a").unavailable is Reason.ON_TRIAL
        lease.release()
    lease = take(registry)
    assert the(registry, "a").unavailable is None
    lease.release()


def test_a_failure_ends_the_row_of_trials() -> None:
    registry, clock = due(trials=2)
    take(registry).release()
    take(registry).release(failed=True)
    clock.advance(60)
    take(registry).release()
    lease = take(registry)
    assert the(registry, "a").unavailable is Reason.ON_TRIAL
    lease.release()
    lease = take(registry)
    assert the(registry, "a").unavailable is None
    lease.release()


@pytest.mark.parametrize("outcome", [{"abandoned": True}, {"retry_after": 0}])
def test_an_abandoned_trial_or_a_retry_decides_nothing_and_frees_the_place(
    outcome: dict[str, Any],
) -> None:
    registry, _ = due(trials=2)
    take(registry).release()
    for _ in range(5):
        lease = take(registry)
        assert the(registry, "a").unavailable is Reason.ON_TRIAL
        lease.release(**outcome)
        assert the(registry, "a").unavailable is None
    take(registry).release()
    lease = take(registry)
    assert the(registry, "a").unavailable is None  # Two successes, whatever came between them.
    lease.release()


def test_a_trial_that_cools_down_stays_a_trial() -> None:
    registry, clock = due()
    take(registry).release(retry_after=10)
    assert kind_of(registry) is Reason.COOLING_DOWN
    clock.advance(10)
    assert kind_of(registry) is None
    lease = take(registry)
    assert the(registry, "a").unavailable is Reason.ON_TRIAL
    lease.release()


def test_a_trial_that_leaks_is_freed_by_the_collector() -> None:
    registry, _ = due()
    take(registry).release(abandoned=True)
    with pytest.warns(ResourceWarning):
        leak(registry)
    assert kind_of(registry) is None
    assert the(registry, "a").failed_requests == 5
    lease = take(registry)
    assert the(registry, "a").unavailable is Reason.ON_TRIAL
    lease.release()
    assert the(registry, "a").unavailable is None


def test_a_trial_stays_out_however_long_it_takes() -> None:
    registry, clock = due()
    lease = take(registry)
    clock.advance(86_400)
    assert kind_of(registry) is Reason.ON_TRIAL
    assert "a" not in picks(registry, 20)
    lease.release()
    assert kind_of(registry) is None


def test_restoring_while_a_trial_is_out_makes_it_an_ordinary_request() -> None:
    registry, _ = due()
    lease = take(registry)
    registry.restore("a")
    assert (the(registry, "a").unavailable, kind_of(registry)) == (None, None)
    others = [take(registry) for _ in range(3)]
    lease.release(failed=True)
    assert the(registry, "a").unavailable is None
    for other in others:
        other.release()
    assert the(registry, "a").pending_requests == 0


def test_an_old_trial_does_not_free_the_place_of_a_newer_one() -> None:
    registry, clock = due()
    old = take(registry)
    registry.restore("a")
    eject(registry)
    clock.advance(60)
    newer = take(registry)
    old.release(failed=True)
    assert the(registry, "a").unavailable is Reason.ON_TRIAL
    assert kind_of(registry) is Reason.ON_TRIAL
    newer.release()
    assert the(registry, "a").unavailable is None


def test_a_trial_of_a_full_backend_waits() -> None:
    registry, clock = make_timed("a", "b", cap=1)
    eject(registry)
    clock.advance(30)
    registry.increment_pending("a")
    assert kind_of(registry) is Reason.FULL
    registry.decrement_pending("a")
    both = [registry.acquire("m") for _ in range(2)]
    assert kind_of(registry) is Reason.ON_TRIAL  # It is full as well; that comes later.
    for lease in both:
        lease.release()


def test_a_success_on_an_ejected_backend_counts_as_a_trials() -> None:
    """It was chosen in a panic, before the time was over."""
    registry, _ = make_timed("a", ejection=Ejection(trials=2))
    eject(registry)
    finish(registry, "a")
    assert the(registry, "a").unavailable is Reason.EJECTED
    finish(registry, "a")
    assert the(registry, "a").unavailable is None


def test_others_see_the_reason_on_trial() -> None:
    registry, _ = due("a", "b")
    lease = take(registry)
    registry.cool_down("b", 1)
    registry.drain("b")
    registry.resume("b")
    # Nobody else is left, so a panic ignores the trial; with a cool-down of a, nothing is ignored.
    registry.acquire("m").release()
    registry.cool_down("a", 5)
    assert refusal(registry).kinds == {"a": Reason.COOLING_DOWN, "b": Reason.COOLING_DOWN}
    lease.release()


def test_a_bad_argument_of_release_frees_the_place() -> None:
    registry, _ = due()
    with pytest.raises(ValueError, match="retry_after"):
        take(registry).release(retry_after=-1)
    assert kind_of(registry) is None
    assert the(registry, "a").failed_requests == 5


def test_requests_from_before_decide_no_trial_that_is_out() -> None:
    registry, clock = make_timed("a", "b")
    early = [registry.acquire("m", exclude=["b"]) for _ in range(3)]
    eject(registry)
    registry.increment_pending_many(["b"] * BUSY)
    clock.advance(30)
    trial = take(registry)
    for lease, outcome in zip(early, ({}, {"failed": True}, {"abandoned": True}), strict=True):
        lease.release(**outcome)
        assert kind_of(registry) is Reason.ON_TRIAL
    trial.release()
    assert the(registry, "a").unavailable is None


def test_a_cool_down_while_a_trial_is_out_leaves_it_to_decide() -> None:
    registry, clock = due()
    lease = take(registry)
    registry.cool_down("a", 10)
    assert kind_of(registry) is Reason.COOLING_DOWN
    lease.release()
    assert kind_of(registry) is Reason.COOLING_DOWN
    clock.advance(10)
    both = [take(registry) for _ in range(2)]
    assert the(registry, "a").unavailable is None
    for one in both:
        one.release()


def test_a_trial_that_became_an_ordinary_request_counts_in_a_row() -> None:
    registry, _ = due(consecutive_failures=2)
    lease = take(registry)
    registry.restore("a")
    lease.release(failed=True)
    assert the(registry, "a").unavailable is None
    take(registry).release(failed=True)
    assert the(registry, "a").unavailable is Reason.EJECTED


def test_an_equal_url_keeps_a_trial_and_its_place() -> None:
    registry, _ = due()
    lease = take(registry)
    for weight in (2, 3):
        registry.update_backend(make_backend("a", "m", "n", weight=weight))
        assert kind_of(registry) is Reason.ON_TRIAL
    lease.release(failed=True)
    view = the(registry, "a")
    assert (view.unavailable, view.failed_requests) == (Reason.EJECTED, 6)


@pytest.mark.parametrize("outcome", [{}, {"failed": True}, {"abandoned": True}, {"retry_after": 9}])
@pytest.mark.parametrize("change", ["removed", "added again", "another url"])
def test_a_trial_of_a_registration_that_is_gone_touches_nothing(
    change: str, outcome: dict[str, Any]
) -> None:
    registry, _ = due()
    lease = take(registry)
    if change == "another url":
        registry.update_backend(make_backend("a", "m", url="http://another"))
    else:
        registry.remove_backend("a")
        if change == "added again":
            registry.add_backend(make_backend("a", "m"))
    before = registry.get_all_backends()
    with registry.watch() as watch:
        assert lease.release(**outcome)
        assert watch.get(timeout=0) is None
    assert registry.get_all_backends() == before


@pytest.mark.parametrize("policy", Policy)
def test_a_request_of_a_panic_takes_the_place_if_it_is_free(policy: Policy) -> None:
    registry, clock = make_timed("a")
    eject(registry)
    early = registry.acquire(
        "m", policy=policy, affinity=key_for(policy)
    )  # its time runs: no trial
    assert the(registry, "a").unavailable is Reason.EJECTED
    clock.advance(30)
    for _ in range(3):
        trial = registry.acquire("m", policy=policy, affinity=key_for(policy))
        other = registry.acquire(
            "m", policy=policy, affinity=key_for(policy)
        )  # another panic, beside the trial
        assert the(registry, "a").unavailable is Reason.ON_TRIAL
        other.release(abandoned=True)
        assert the(registry, "a").unavailable is Reason.ON_TRIAL
        trial.release(abandoned=True)
        assert the(registry, "a").unavailable is None
    early.release()
    assert the(registry, "a").unavailable is None


@pytest.mark.parametrize("policy", Policy)
def test_a_retry_that_leaves_nobody_else_excludes_trials(policy: Policy) -> None:
    registry, clock = make_timed("a", "b")
    eject(registry)
    clock.advance(30)
    retry = registry.acquire("m", policy=policy, affinity=key_for(policy), exclude=["b"])
    assert kind_of(registry, policy=policy, affinity=key_for(policy)) is Reason.ON_TRIAL
    leases = [registry.acquire("m", policy=policy, affinity=key_for(policy)) for _ in range(20)]
    assert {lease.backend.id for lease in leases} == {"b"}
    for lease in (retry, *leases):
        lease.release()
    assert the(registry, "a").unavailable is None
