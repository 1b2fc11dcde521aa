"""Random outcomes and changes: `explain` and `acquire` agree, and nothing leaks."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest
from support.fleets import make_backend, make_timed, the
from support.selection import EXACT, key_for
from support.threads import run_threads

from registry import Ejection, Lease, NoBackendAvailableError, Policy, Reason, Registry
from registry.testing import ManualClock

RULES = Ejection(
    consecutive_failures=2, base_s=2, max_s=8, slow_start_s=3, panic=0.2, trials=2, min_requests=4
)
POLICIES = list(Policy)
IDS = "abcdef"


def release(lease: Lease, draw: random.Random, longest: float) -> None:
    """Ends a request in a random way."""
    way = draw.random()
    if way < 0.5:
        lease.release()
    elif way < 0.8:
        lease.release(failed=True)
    elif way < 0.9:
        lease.release(abandoned=True)
    else:
        lease.release(retry_after=draw.uniform(0, longest))


def attempt(registry: Registry, policy: Policy) -> Lease | NoBackendAvailableError:
    """Makes a request. Returns the error if it is refused."""
    try:
        return registry.acquire("m", policy=policy, affinity=key_for(policy))
    except NoBackendAvailableError as error:
        return error


def acquire(registry: Registry, policy: Policy) -> Lease | None:
    """Makes a request, whose answer is what `explain` has said just before."""
    told = registry.explain("m", policy=policy, affinity=key_for(policy))
    answer = attempt(registry, policy)
    if isinstance(answer, NoBackendAvailableError):
        assert answer.kinds == {one.backend_id: one.kind for one in told}
        assert answer.reasons == {one.backend_id: one.reason for one in told}
        return None
    able = [one.backend_id for one in told if one.kind is None]
    assert answer.backend.id in able
    assert policy not in EXACT or answer.backend.id == able[0]
    return answer


def change(registry: Registry, clock: ManualClock, draw: random.Random) -> None:
    """Changes something that is no request."""
    backend_id = draw.choice(IDS)
    what = draw.randrange(8)
    if what < 4:
        clock.advance(draw.uniform(0, 2))
    elif what == 4:
        registry.update_status(backend_id, draw.choice(["healthy", "healthy", "unhealthy"]))
    elif what == 5:
        registry.restore(backend_id)
    elif what == 6:
        registry.cool_down(backend_id, draw.random())
    else:
        view = the(registry, backend_id)
        registry.update_backend(
            make_backend(backend_id, "m", max_pending=4, weight=view.weight % 3 + 1)
        )


@pytest.mark.parametrize("policy", Policy)
def test_explain_and_acquire_agree_at_each_step(policy: Policy) -> None:
    draw = random.Random(5)
    registry, clock = make_timed(*IDS, cap=4, ejection=RULES)
    held: list[Lease] = []
    chosen = 0
    for _ in range(2000):
        if draw.random() < 0.2:
            change(registry, clock, draw)
        elif held and draw.random() < 0.5:
            release(held.pop(draw.randrange(len(held))), draw, 3)
        elif (lease := acquire(registry, policy)) is not None:
            held.append(lease)
            chosen += 1
        for one in registry.explain("m", policy=policy, affinity=key_for(policy)):
            if one.kind in (Reason.COOLING_DOWN, Reason.EJECTED, Reason.ON_TRIAL):
                assert the(registry, one.backend_id).unavailable is one.kind
    for lease in held:
        lease.release()
    views = registry.get_all_backends()
    assert sum(view.total_requests for view in views) == chosen
    assert sum(view.pending_requests for view in views) == 0


def test_threads_with_random_outcomes_leave_nothing_in_flight() -> None:
    registry, clock = make_timed("a", "b", "c", "d", cap=5, ejection=RULES)
    chosen: Counter[int] = Counter()

    def client(number: int) -> None:
        draw = random.Random(number)
        for _ in range(1000):
            clock.advance(draw.uniform(0, 0.1))
            answer = attempt(registry, draw.choice(POLICIES))
            if isinstance(answer, NoBackendAvailableError):
                assert set(answer.kinds) == set("abcd")
                continue
            chosen[number] += 1
            if draw.random() < 0.01:
                registry.restore(answer.backend.id)
            release(answer, draw, 0.5)

    run_threads([partial(client, number) for number in range(8)], limit=120)
    views = registry.get_all_backends()
    assert sum(view.total_requests for view in views) == chosen.total()
    assert sum(view.pending_requests for view in views) == 0
    clock.advance(8)
    for view in views:  # and no trial is left out
        assert the(registry, view.id).unavailable is None


@pytest.mark.parametrize("policy", Policy)
def test_a_storm_of_retries_tries_each_backend_once(policy: Policy) -> None:
    """All backends fail, so each request excludes one after the other, until nobody is left."""
    registry, clock = make_timed("a", "b", "c", ejection=Ejection(base_s=0.01, max_s=0.02))

    def client() -> None:
        for _ in range(15):
            tried: list[str] = []
            for _ in range(3):  # where ejections leave nobody, there is a panic
                lease = registry.acquire(
                    "m", policy=policy, affinity=key_for(policy), exclude=tried
                )
                tried.append(lease.backend.id)
                lease.release(failed=True)
            assert sorted(tried) == ["a", "b", "c"]
            with pytest.raises(NoBackendAvailableError) as caught:
                registry.acquire("m", policy=policy, affinity=key_for(policy), exclude=tried)
            assert caught.value.kinds == dict.fromkeys("abc", Reason.EXCLUDED)
            assert caught.value.retry_after is None
            clock.advance(0.001)

    run_threads([client] * 20, limit=120)
    for view in registry.get_all_backends():
        assert (view.failed_requests, view.pending_requests) == (300, 0)
