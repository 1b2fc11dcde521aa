"""Counters: eight threads take and release leases, and no count is lost or doubled."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from functools import partial

from support.selection import key_for
from support.threads import run_threads

from registry import Backend, Model, Policy, Registry

UNIT = "leases"
GOAL = 8 * 10**6

THREADS = 8
PER_THREAD = 20_000
IDS = [f"b{number}" for number in range(4)]


def run(
    until: Callable[[], bool],
    *,
    make: Callable[[], Registry] = Registry,
    per_thread: int = PER_THREAD,
) -> Iterator[int]:
    """After each round, nothing is in flight and the totals are exact.

    Counts without a lease are mixed in.
    """
    registry = make()
    for backend_id in IDS:
        registry.add_backend(Backend(backend_id, backend_id, "http://h", models=[Model("m")]))
        registry.update_status(backend_id, "healthy")
    logging.getLogger("registry").setLevel(logging.CRITICAL)
    total = 0
    while True:
        works = [partial(work, registry, number, per_thread) for number in range(THREADS)]
        totals = run_threads(works, 600)
        total += sum(totals)
        views = registry.get_all_backends()
        in_flight = [view.pending_requests for view in views]
        assert in_flight == [0] * len(IDS), f"in flight: {in_flight}"
        counted = sum(view.total_requests for view in views)
        assert counted == total, f"{counted} counted of {total}"
        yield THREADS * per_thread
        if until():
            return


def work(registry: Registry, seed: int, count: int) -> int:
    """Takes and releases `count` leases by every policy; returns what that adds to the totals."""
    rng = random.Random(seed)
    for number in range(count):
        policy = Policy.LEAST_PENDING if number % 2 else rng.choice(list(Policy))
        lease = registry.acquire("m", policy=policy, affinity=key_for(policy))
        if number % 8 == 0:
            registry.increment_total_requests(IDS[number % len(IDS)])
            registry.increment_pending_many(IDS)
            registry.decrement_pending_many(IDS)
        assert lease.release(1)
    return count + -(-count // 8)
