"""Places: nobody waits beside a free one, and none is lost, in threads and in several loops.

Threads, and tasks of several event loops, wait for the few places of backends that two models
share. Some wait with time-outs, some are cancelled, and plain requests come in between. A call that
waits for longer than HANG has lost its wake-up. At the end nothing is in flight, nobody waits, and
only the requests that were used count.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from functools import partial

from support.threads import run_threads

from registry import Backend, Model, NoBackendAvailableError, Registry

UNIT = "rounds"
GOAL = 10**5

THREADS = 3
LOOPS = 2
TASKS = 4  # of each loop
ROUNDS = 2000
HANG = 60.0  # Seconds after which a wake-up counts as lost.

BACKENDS = {"a": ("m",), "b": ("m", "n"), "c": ("n",)}


def run(
    until: Callable[[], bool],
    *,
    make: Callable[[], Registry] = Registry,
    rounds: int = ROUNDS,
    hang: float = HANG,
) -> Iterator[int]:
    """Every call ends, and no place is lost."""
    while True:
        registry = make()
        for name, models in BACKENDS.items():
            listed = [Model(model) for model in models]
            registry.add_backend(Backend(name, name, "http://h", models=listed, max_pending=1))
            registry.update_status(name, "healthy")
        used: list[int] = []
        users = [partial(in_thread, registry, seed, rounds, hang, used) for seed in range(THREADS)]
        loops = [partial(in_loop, registry, seed, rounds, hang, used) for seed in range(LOOPS)]
        run_threads([*users, *loops], 3600)
        views = registry.get_all_backends()
        assert [view.pending_requests for view in views] == [0] * len(views), "a place was lost"
        assert [registry.waiting(model) for model in ("m", "n")] == [0, 0]
        total = sum(view.total_requests for view in views)
        assert total == sum(used), f"{total} requests count, but {sum(used)} were made"
        yield rounds * (THREADS + LOOPS * TASKS)
        if until():
            return


def in_thread(registry: Registry, seed: int, rounds: int, hang: float, used: list[int]) -> None:
    """Waits for places, with and without time-outs; also makes requests that do not wait."""
    rng = random.Random(seed)
    count = 0
    for _ in range(rounds):
        model = rng.choice("mn")
        kind = rng.random()
        try:
            if kind < 0.2:
                lease = registry.acquire(model)
            elif kind < 0.4:
                lease = registry.acquire_wait(model, timeout=rng.random() * 1e-4)
            else:
                lease = registry.acquire_wait(model, timeout=hang, priority=rng.randrange(2))
        except NoBackendAvailableError as error:
            if kind >= 0.4:
                raise AssertionError("a wake-up was lost") from error
            continue
        if rng.random() < 0.5:
            time.sleep(0)  # Others run while it has the place.
        lease.release(1)
        count += 1
    used.append(count)


def in_loop(registry: Registry, seed: int, rounds: int, hang: float, used: list[int]) -> None:
    """One event loop with several tasks."""

    async def all_of() -> list[int]:
        return await asyncio.gather(
            *(in_task(registry, seed * TASKS + task, rounds, hang) for task in range(TASKS))
        )

    used.extend(asyncio.run(all_of()))


async def in_task(registry: Registry, seed: int, rounds: int, hang: float) -> int:
    """Like `in_thread`. Some calls are cancelled, at once or when they may have been served."""
    rng = random.Random(1000 + seed)
    count = 0
    for _ in range(rounds):
        model = rng.choice("mn")
        if rng.random() < 0.3:
            other = asyncio.create_task(registry.acquire_async(model, timeout=hang))
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            other.cancel()
            try:
                (await other).release(1)
                count += 1
            except asyncio.CancelledError:
                pass
        lease = await registry.acquire_async(model, timeout=hang, priority=rng.randrange(2))
        if rng.random() < 0.5:
            await asyncio.sleep(0)
        lease.release(1)
        count += 1
    return count
