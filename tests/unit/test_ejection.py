"""When failures eject a backend, for how long, and what follows it."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from support.fleets import eject, finish, kind_of, make_timed, refusal, the
from support.selection import key_for, picks

from registry import BackendStatus, ChangeKind, Ejection, Policy, Reason, Registry

RATES = Ejection(consecutive_failures=None, min_requests=10, window_s=10)
ROWS = Ejection(failure_rate=None)


def is_ejected(registry: Registry, backend_id: str = "a") -> bool:
    """Whether the time of an ejection runs."""
    return the(registry, backend_id).unavailable is Reason.EJECTED


# ---- rows


@pytest.mark.parametrize("row", [1, 2, 5, 40])
def test_so_many_failures_in_a_row_eject(row: int) -> None:
    registry, _ = make_timed(ejection=Ejection(consecutive_failures=row, failure_rate=None))
    finish(registry, "a", row - 1, failed=True)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_the_default_is_five() -> None:
    registry, _ = make_timed()
    finish(registry, "a", 4, failed=True)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_a_success_ends_a_row() -> None:
    registry, _ = make_timed(ejection=ROWS)
    for _ in range(20):
        finish(registry, "a", 4, failed=True)
        finish(registry, "a")
    assert not is_ejected(registry)


def test_a_row_has_no_time() -> None:
    registry, clock = make_timed(ejection=ROWS)
    for _ in range(5):
        assert not is_ejected(registry)
        clock.advance(86_400)
        finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_without_rules_nothing_ejects() -> None:
    for ejection in (None, Ejection(consecutive_failures=None, failure_rate=None)):
        registry, _ = make_timed(ejection=ejection)
        finish(registry, "a", 200, failed=True)
        assert not is_ejected(registry)
        assert the(registry, "a").failed_requests == 200


# ---- rates


def test_a_window_needs_enough_outcomes() -> None:
    registry, _ = make_timed(ejection=RATES)
    finish(registry, "a", 9, failed=True)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


@pytest.mark.parametrize(
    ("rate", "failures", "of"), [(0.5, 5, 10), (0.07, 7, 100), (1.0, 10, 10), (0.3, 3, 10)]
)
def test_the_share_is_exact(rate: float, failures: int, of: int) -> None:
    rules = Ejection(consecutive_failures=None, failure_rate=rate, min_requests=of)
    registry, _ = make_timed(ejection=rules)
    finish(registry, "a", of - failures + 1)
    finish(registry, "a", failures - 1, failed=True)
    assert not is_ejected(registry)
    registry, _ = make_timed(ejection=rules)
    finish(registry, "a", of - failures)
    finish(registry, "a", failures, failed=True)
    assert is_ejected(registry)


def test_a_window_is_judged_when_a_failure_arrives() -> None:
    registry, _ = make_timed(ejection=RATES)
    finish(registry, "a", 9, failed=True)
    finish(registry, "a", 5)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_abandoned_requests_and_retries_are_no_outcomes_of_a_window() -> None:
    registry, _ = make_timed(ejection=RATES)
    finish(registry, "a", 9, failed=True)
    finish(registry, "a", 30, abandoned=True)
    finish(registry, "a", 30, retry_after=0)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_old_outcomes_are_outside_the_window() -> None:
    registry, clock = make_timed(ejection=RATES)
    finish(registry, "a", 9, failed=True)
    clock.advance(20)  # A window may be up to twice its length.
    finish(registry, "a", 9, failed=True)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


@pytest.mark.parametrize("offset", [0.0, 0.5, 3.0, 9.75])
@pytest.mark.parametrize("span", [0.0, 1.0, 5.0, 9.75])
def test_the_last_window_counts_whole(offset: float, span: float) -> None:
    """Wherever a bucket of the window begins or ends."""
    registry, clock = make_timed(ejection=RATES)
    finish(registry, "a")
    clock.advance(100 + offset)
    for _ in range(9):
        finish(registry, "a", failed=True)
        clock.advance(span / 9)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_old_successes_do_not_hide_failures_for_ever() -> None:
    registry, clock = make_timed(ejection=RATES)
    finish(registry, "a", 1000)
    clock.advance(20)
    finish(registry, "a", 10, failed=True)
    assert is_ejected(registry)


def test_successes_of_the_window_count() -> None:
    registry, clock = make_timed(ejection=RATES)
    finish(registry, "a", 30)
    clock.advance(5)
    finish(registry, "a", 29, failed=True)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def verdicts(outcomes: list[tuple[float, bool]], now: float, rules: Ejection) -> set[bool]:
    """What windows from once to twice the length say, of all (time, whether it failed)."""
    ages = [now - when for when, _ in outcomes]
    lengths = [age for age in ages if rules.window_s <= age <= 2 * rules.window_s]
    found = set()
    for length in (rules.window_s, 2 * rules.window_s, *lengths):
        failed = [one for age, (_, one) in zip(ages, outcomes, strict=True) if age <= length]
        is_enough = len(failed) >= rules.min_requests
        found.add(is_enough and sum(failed) >= (rules.failure_rate or 0) * len(failed))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_some_window_of_once_to_twice_the_length_is_judged(seed: int) -> None:
    draw = random.Random(seed)
    rules = Ejection(
        consecutive_failures=None,
        failure_rate=draw.choice([0.25, 0.5, 0.75, 1]),
        min_requests=draw.randint(1, 12),
    )
    registry, clock = make_timed(ejection=rules)
    clock.advance(draw.randrange(100))
    outcomes: list[tuple[float, bool]] = []
    while len(outcomes) < 60 and not is_ejected(registry):
        clock.advance(draw.choice([0, 0, 0.25, 1, 5, 10, 15]))
        has_failed = draw.random() < 0.5
        finish(registry, "a", failed=has_failed)
        outcomes.append((clock.now, has_failed))
        told = verdicts(outcomes, clock.now, rules) if has_failed else {False}
        assert is_ejected(registry) in told


# ---- what an ejection is


@pytest.mark.parametrize("policy", Policy)
def test_no_policy_chooses_an_ejected_backend(policy: Policy) -> None:
    registry, clock = make_timed("a", "b", "c")
    eject(registry)
    assert "a" not in picks(registry, 60, policy=policy, affinity=key_for(policy))
    clock.advance(29.999)
    assert "a" not in picks(registry, 60, policy=policy, affinity=key_for(policy))
    assert kind_of(registry, policy=policy, affinity=key_for(policy)) is Reason.EJECTED


@pytest.mark.parametrize("status", BackendStatus)
def test_health_checks_neither_eject_nor_restore(status: BackendStatus) -> None:
    registry, _ = make_timed("a", "b")
    eject(registry)
    until = the(registry, "a").unavailable_until
    for _ in range(3):
        registry.update_status("a", status)
        registry.update_status("a", "healthy")
    view = the(registry, "a")
    assert (view.status, view.unavailable) == (BackendStatus.HEALTHY, Reason.EJECTED)
    assert view.unavailable_until == until
    registry.update_status("b", "unhealthy")
    assert the(registry, "b").unavailable is None


# ---- how long


def test_each_ejection_in_a_row_is_twice_as_long_up_to_the_most() -> None:
    registry, clock = make_timed()
    eject(registry)
    for seconds in (30, 60, 120, 240, 300, 300, 300):
        assert is_ejected(registry)
        clock.advance(seconds - 0.001)
        assert is_ejected(registry)
        clock.advance(0.001)
        assert not is_ejected(registry)
        finish(registry, "a", failed=True)


def test_the_view_tells_the_time() -> None:
    registry, clock = make_timed(ejection=Ejection(base_s=10, max_s=35))
    eject(registry)
    first = the(registry, "a").unavailable_until
    assert first is not None
    clock.advance(10)
    finish(registry, "a", failed=True)
    second = the(registry, "a").unavailable_until
    assert second is not None
    assert second - first == timedelta(seconds=20)
    clock.advance(20)
    finish(registry, "a", failed=True)
    third = the(registry, "a").unavailable_until
    assert third is not None
    assert third - second == timedelta(seconds=35)


def test_the_largest_n_has_the_longest_time() -> None:
    registry, clock = make_timed(ejection=Ejection(base_s=1, max_s=2))
    eject(registry)
    for _ in range(100):
        clock.advance(2)
        finish(registry, "a", failed=True)
    clock.advance(1.999)
    assert is_ejected(registry)
    clock.advance(0.001)
    assert not is_ejected(registry)


def seconds_of_next(registry: Registry) -> float:
    """Ejects the backend, and returns for how long."""
    eject(registry)
    seconds = refusal_after_others(registry)
    assert seconds is not None
    return seconds


def refusal_after_others(registry: Registry) -> float | None:
    """The time until the backend may be chosen, of a registry whose only other one is drained."""
    registry.cool_down("a", 0.001)  # It is never ignored: a lone backend would be in panic.
    return refusal(registry).retry_after


def restored(registry: Registry) -> None:
    finish(registry, "a")
    assert the(registry, "a").unavailable is None


def test_n_stays_until_it_has_been_restored_for_the_longest_time() -> None:
    registry, clock = make_timed()
    assert seconds_of_next(registry) == 30
    clock.advance(30)
    restored(registry)
    clock.advance(299.999)
    assert seconds_of_next(registry) == 60
    clock.advance(60)
    restored(registry)
    clock.advance(300)
    assert seconds_of_next(registry) == 30


def test_n_does_not_return_to_0_while_nobody_tries_the_backend() -> None:
    registry, clock = make_timed()
    eject(registry)
    clock.advance(86_400)
    assert seconds_of_next(registry) == 60


def test_restoring_by_hand_keeps_n() -> None:
    registry, clock = make_timed()
    assert seconds_of_next(registry) == 30
    registry.restore("a")
    assert seconds_of_next(registry) == 60
    registry.restore("a")
    clock.advance(300)
    assert seconds_of_next(registry) == 30


# ---- what counts after it


@pytest.mark.parametrize("late", [{"failed": True}, {}, {"abandoned": True}])
def test_requests_that_started_before_count_for_nothing_that_follows(late: dict[str, bool]) -> None:
    """Neither while the time runs nor after it, and not in the row of a restored backend."""
    registry, clock = make_timed("a", "b")
    early = [registry.acquire("m", exclude=["b"]) for _ in range(30)]
    eject(registry)
    until = the(registry, "a").unavailable_until
    for lease in early[:10]:
        lease.release(**late)
    assert the(registry, "a").unavailable_until == until
    clock.advance(30)
    for lease in early[10:20]:
        lease.release(**late)
    assert not is_ejected(registry)
    assert kind_of(registry) is None  # Its time is over: a trial may go there.
    registry.increment_pending_many(["b"] * 100)
    trial = registry.acquire("m")
    assert the(registry, "a").unavailable is Reason.ON_TRIAL  # Nothing has restored it.
    trial.release()
    finish(registry, "a", 4, failed=True)
    for lease in early[20:]:
        lease.release(**late)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_a_failure_while_the_time_runs_changes_nothing() -> None:
    """Such a request was chosen in a panic."""
    registry, clock = make_timed()
    eject(registry)
    until = the(registry, "a").unavailable_until
    clock.advance(10)
    finish(registry, "a", 10, failed=True)
    assert the(registry, "a").unavailable_until == until


def test_the_row_begins_anew_after_an_ejection() -> None:
    registry, _ = make_timed("a", "b")
    finish(registry, "a", 5, failed=True)
    registry.restore("a")
    finish(registry, "a", 4, failed=True)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_the_window_begins_anew_after_an_ejection() -> None:
    registry, _ = make_timed("a", "b", ejection=RATES)
    finish(registry, "a", 10, failed=True)
    registry.restore("a")
    finish(registry, "a", 9, failed=True)
    assert not is_ejected(registry)
    finish(registry, "a", failed=True)
    assert is_ejected(registry)


def test_ejecting_and_restoring_are_one_change_each() -> None:
    registry, clock = make_timed("a", "b")
    with registry.watch() as watch:
        finish(registry, "a", 4, failed=True)
        assert watch.get(timeout=0) is None
        finish(registry, "a", failed=True)
        change = watch.get(timeout=0)
        assert change is not None
        assert (change.kind, change.backend_id) == (ChangeKind.AVAILABILITY, "a")
        assert watch.get(timeout=0) is None
        clock.advance(30)
        assert watch.get(timeout=0) is None
        finish(registry, "a")
        change = watch.get(timeout=0)
        assert change is not None
        assert (change.kind, change.backend_id) == (ChangeKind.AVAILABILITY, "a")
        assert watch.get(timeout=0) is None
