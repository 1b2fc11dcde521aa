"""The three measured cases of issue 16, under every policy, with simulated clients and times."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush

import pytest
from support.fleets import make_timed
from support.threads import run_threads

from registry import Lease, Policy, Registry
from registry._core.binding import seed_random
from registry.testing import ManualClock

CLIENTS = 20
REQUESTS = 600

# What a request to the backend takes, in seconds, and whether it fails.
Behaviour = dict[str, tuple[float, bool]]


def serve(
    registry: Registry, clock: ManualClock, policy: Policy, behaviour: Behaviour, requests: int
) -> Counter[str]:
    """Lets clients send requests, each the next one when its last one ends.

    Returns how many requests each backend got.
    """
    open_requests: list[tuple[float, int, Lease]] = []
    got: Counter[str] = Counter()
    for number in range(requests):
        if len(open_requests) == CLIENTS:
            finish_first(open_requests, clock, behaviour)
        key = str(number) if policy is Policy.AFFINITY else None
        lease = registry.acquire("m", policy=policy, affinity=key)
        got[lease.backend.id] += 1
        end = clock.now + behaviour[lease.backend.id][0]
        heappush(open_requests, (end, number, lease))
    while open_requests:
        finish_first(open_requests, clock, behaviour)
    return got


def finish_first(
    open_requests: list[tuple[float, int, Lease]], clock: ManualClock, behaviour: Behaviour
) -> None:
    end, _, lease = heappop(open_requests)
    clock.advance(max(0.0, end - clock.now))
    lease.release(failed=behaviour[lease.backend.id][1])


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("seconds", [0.001, 5.0], ids=["black hole", "hanging"])
def test_a_backend_that_always_fails_gets_few_requests(policy: Policy, seconds: float) -> None:
    seed_random(1)
    registry, clock = make_timed("a", "b", "c")
    got = serve(
        registry, clock, policy, {"a": (seconds, True), "b": (0.1, False), "c": (0.1, False)}, 600
    )
    assert got["a"] <= REQUESTS * 0.05
    assert sum(view.pending_requests for view in registry.get_all_backends()) == 0


@pytest.mark.parametrize("policy", [Policy.LEAST_PENDING, Policy.LOWEST_LATENCY, Policy.SMART])
def test_without_ejection_a_black_hole_takes_nearly_all(policy: Policy) -> None:
    """The test above can fail: it is the ejection that keeps the requests away."""
    registry, clock = make_timed("a", "b", "c", ejection=None)
    behaviour = {"a": (0.001, True), "b": (0.1, False), "c": (0.1, False)}
    assert serve(registry, clock, policy, behaviour, REQUESTS)["a"] > REQUESTS * 0.8


@pytest.mark.parametrize("policy", Policy)
def test_a_slow_starter_is_back_after_the_time_to_live(policy: Policy) -> None:
    seed_random(1)
    registry, clock = make_timed("a", "b", "c")
    for backend_id, latency_ms in (("a", 60_000), ("b", 100), ("c", 100)):
        registry.update_latency(backend_id, latency_ms)
    quick: Behaviour = dict.fromkeys("abc", (0.1, False))
    if policy is Policy.LOWEST_LATENCY:
        assert serve(registry, clock, policy, quick, 200)["a"] == 0
    clock.advance(60.1)
    serve(registry, clock, policy, quick, 300)  # its average comes down with each sample
    got = serve(registry, clock, policy, quick, 300)
    assert got["a"] >= 300 / 3 * 0.8


def test_threads_that_fail_at_once_eject_the_black_hole() -> None:
    registry, _ = make_timed("a", "b")
    got: list[str] = []

    def client() -> None:
        for _ in range(REQUESTS // CLIENTS):
            lease = registry.acquire("m")
            got.append(lease.backend.id)
            lease.release(failed=lease.backend.id == "a")

    run_threads([client] * CLIENTS, limit=60)
    counted = Counter(got)
    assert counted.total() == REQUESTS
    # Five failures eject it. Each other client may have had one request on it at that moment.
    assert counted["a"] <= 5 + CLIENTS - 1
    assert sum(view.pending_requests for view in registry.get_all_backends()) == 0
