"""A storm of cancellations: however a task ends, its lease is released."""

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
    """Raised in a `with` block; `except Exception` does not catch it."""


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, tasks: int = ROUND
) -> Iterator[int]:
    """No request is in flight once the tasks have ended.

    Most tasks are cancelled, some raise, and some leave generators behind.
    """
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
    """Runs the tasks, and cancels random ones until all are done."""
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
    """One request that ends normally, is abandoned, fails, or raises an unusual exception."""
    kind = rng.randrange(4)
    try:
        async for _ in stream(registry, rng):
            if kind == 0 and rng.random() < 0.3:
                return  # The garbage collector closes the generator.
            if kind == 1 and rng.random() < 0.1:
                raise ZeroDivisionError
        if kind == 2:
            with registry.acquire("m"):
                raise Interrupted
    except Interrupted:
        await asyncio.sleep(0)


async def stream(registry: Registry, rng: random.Random) -> AsyncIterator[int]:
    """Takes leases, one at a time, and holds each across awaits."""
    for _ in range(rng.randrange(1, 4)):
        async with registry.acquire("m") as lease:
            assert lease.active
            for number in range(rng.randrange(8)):
                yield number
                await asyncio.sleep(0)
