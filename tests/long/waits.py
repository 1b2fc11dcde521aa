"""Waits: each wait for an idle backend ends with the last release, in threads and in tasks.

Each waiter has a backend of its own, and in each round its number in flight reaches 0 only once. So
a wake-up that is lost is not repaired by a later one. Other waits end early at the same time, by
their timeouts or because their tasks are cancelled.
"""

from __future__ import annotations

import asyncio
import queue
import random
from collections.abc import Callable, Iterator
from functools import partial

from support.threads import run_threads

from registry import Backend, Lease, Model, Registry

UNIT = "rounds"
GOAL = 10**5

THREADS = 3
TASKS = 3
ROUNDS = 5000
HANG = 30.0  # Seconds after which a wake-up counts as lost.

Leases = queue.SimpleQueue[Lease | None]


def run(
    until: Callable[[], bool],
    *,
    make: Callable[[], Registry] = Registry,
    rounds: int = ROUNDS,
    hang: float = HANG,
) -> Iterator[int]:
    """No wake-up is lost, and no waiter is left."""
    registry = make()
    names = [f"b{number}" for number in range(THREADS + TASKS)]
    for name in names:
        registry.add_backend(Backend(name, name, "http://h", models=[Model(name)]))
        registry.update_status(name, "healthy")
    while True:
        leases: Leases = queue.SimpleQueue()
        threads = [
            partial(in_thread, registry, name, rounds, hang, leases) for name in names[:THREADS]
        ]
        tasks = partial(in_tasks, registry, names[THREADS:], rounds, hang, leases)
        run_threads([*threads, tasks, partial(release_all, leases, THREADS + TASKS)], 3600)
        in_flight = [view.pending_requests for view in registry.get_all_backends()]
        assert in_flight == [0] * len(names), f"in flight: {in_flight}"
        yield rounds * len(names)
        if until():
            return


def release_all(leases: Leases, users: int) -> None:
    """Releases the leases of the waiters, until each of them has put None."""
    rng = random.Random(users)
    while users != 0:
        lease = leases.get()
        if lease is None:
            users -= 1
            continue
        for _ in range(rng.randrange(30)):
            pass
        lease.release(1)


def in_thread(registry: Registry, name: str, rounds: int, hang: float, leases: Leases) -> None:
    """Waits for the release of one lease in each round."""
    rng = random.Random(name)
    try:
        for _ in range(rounds):
            leases.put(registry.acquire(name))
            if rng.random() < 0.2:
                registry.wait_idle(name, rng.random() * 1e-4)
            assert registry.wait_idle(name, hang), "a wake-up was lost"
    finally:
        leases.put(None)


def in_tasks(
    registry: Registry, names: list[str], rounds: int, hang: float, leases: Leases
) -> None:
    """One event loop with a task for each name."""

    async def all_of() -> None:
        await asyncio.gather(
            *(in_task(registry, name, rounds, hang, leases) for name in names),
            return_exceptions=False,
        )

    asyncio.run(all_of())


async def in_task(registry: Registry, name: str, rounds: int, hang: float, leases: Leases) -> None:
    """Like `in_thread`. Some waits are cancelled."""
    rng = random.Random(name)
    try:
        for _ in range(rounds):
            leases.put(registry.acquire(name))
            if rng.random() < 0.2:
                await registry.idle(name, rng.random() * 1e-4)
            if rng.random() < 0.2:
                other = asyncio.create_task(registry.idle(name))
                await asyncio.sleep(0)
                other.cancel()
            assert await registry.idle(name, hang), "a wake-up was lost"
    finally:
        leases.put(None)
