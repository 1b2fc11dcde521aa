"""A storm of cancellations: whatever ends a task, in whatever await, its lease is given back."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterator

from registry import Backend, Model, Registry

UNIT = "tasks"
GOAL = 10**5

ROUND = 5000


class Interrupted(BaseException):
    """What a body may raise that `except Exception` misses."""


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, tasks: int = ROUND
) -> Iterator[int]:
    """Nothing is in flight once the tasks are gone; most of them are cancelled, some raise, some leave generators behind."""
    registry = make()
    registry.add_backend(Backend("b", "b", "http://b", models=[Model("m")]))
    registry.update_status("b", "healthy")
    for seed in itertools.count():
        asyncio.run(storm(registry, tasks, seed))
        gc.collect()
        view = registry.get_backend("b")
        assert view is not None
        assert view.pending_requests == 0, f"{view.pending_requests} still in flight"
        yield tasks
        if until():
            return


async def storm(registry: Registry, tasks: int, seed: int) -> None:
    """Runs so many tasks, and cancels random ones until all are done."""
    rng = random.Random(seed)
    running = [
        asyncio.create_task(consume(registry, random.Random(rng.random()))) for _ in range(tasks)
    ]
    while any(not task.done() for task in running):
        for task in rng.sample(running, tasks // 20):
            task.cancel()
        await asyncio.sleep(0)
    ends = [task.cancelled() or type(task.exception()) for task in running]
    for end in (True, ZeroDivisionError, type(None)):
        assert end in ends, f"no task ended with {end}"


async def consume(registry: Registry, rng: random.Random) -> None:
    """One request: streamed to its end, abandoned, failing, or with an exception that asyncio itself doesn't know."""
    kind = rng.randrange(4)
    try:
        async for _ in stream(registry, rng):
            if kind == 0 and rng.random() < 0.3:
                return  # the generator is left to the collector
            if kind == 1 and rng.random() < 0.1:
                raise ZeroDivisionError
        if kind == 2:
            with registry.acquire("m"):
                raise Interrupted
    except Interrupted:
        await asyncio.sleep(0)


async def stream(registry: Registry, rng: random.Random) -> AsyncIterator[int]:
    """Leases one after the other, each held over awaits."""
    for _ in range(rng.randrange(1, 4)):
        async with registry.acquire("m") as lease:
            assert lease.active
            for number in range(rng.randrange(8)):
                yield number
                await asyncio.sleep(0)
