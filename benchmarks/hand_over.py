"""From the release of a place to the return of the call that waited for it.

    python -m benchmarks.hand_over [ROUNDS]

Prints the median in microseconds, beside a hand-over by `threading.Condition` and
`asyncio.Condition` that is measured in the same way, and the ratio. Each round begins when the
waiter sleeps, so nothing is contended. The goal is a ratio of at most 3 between threads. A release
may come from any thread and from a signal's handler, so it wakes a task with
`call_soon_threadsafe`, which writes to a pipe; `asyncio.Condition` does not.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Callable

from registry import Backend, Model, Registry

PAUSE = 1e-4  # Seconds in which a waiter falls asleep.


def full() -> Registry:
    """A registry with one backend, which has room for one request."""
    registry = Registry()
    registry.add_backend(Backend("b", "b", "http://b", models=[Model("m")], max_pending=1))
    registry.update_status("b", "healthy")
    return registry


def between_threads(rounds: int) -> list[float]:
    """Seconds from `release` to the return of `acquire_wait`."""
    registry, times, began = full(), list[float](), [0.0]

    def wait() -> None:
        with registry.acquire_wait("m"):
            times.append(time.perf_counter() - began[0])

    for _ in range(rounds):
        lease = registry.acquire("m")
        thread = threading.Thread(target=wait)
        thread.start()
        while registry.waiting("m") == 0:
            time.sleep(PAUSE)
        time.sleep(PAUSE)
        began[0] = time.perf_counter()
        lease.release()
        thread.join()
    return times


def by_threading_condition(rounds: int) -> list[float]:
    """Seconds from before `notify` to the return of `wait`."""
    condition, times, began = threading.Condition(), list[float](), [0.0]
    state = ["before"]

    def wait() -> None:
        with condition:
            state[0] = "waits"
            while state[0] != "free":
                condition.wait()
            times.append(time.perf_counter() - began[0])

    for _ in range(rounds):
        state[0] = "before"
        thread = threading.Thread(target=wait)
        thread.start()
        while state[0] != "waits":
            time.sleep(PAUSE)
        time.sleep(PAUSE)
        began[0] = time.perf_counter()
        with condition:
            state[0] = "free"
            condition.notify()
        thread.join()
    return times


async def between_tasks(rounds: int) -> list[float]:
    """Seconds from `release` to the return of `acquire_async`."""
    registry, times, began = full(), list[float](), 0.0

    async def wait() -> None:
        async with await registry.acquire_async("m"):
            times.append(time.perf_counter() - began)

    for _ in range(rounds):
        lease = registry.acquire("m")
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        began = time.perf_counter()
        lease.release()
        await task
    return times


async def by_asyncio_condition(rounds: int) -> list[float]:
    """Seconds from before `notify` to the return of `wait`."""
    condition, times, began = asyncio.Condition(), list[float](), 0.0

    async def wait() -> None:
        async with condition:
            await condition.wait()
            times.append(time.perf_counter() - began)

    for _ in range(rounds):
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        began = time.perf_counter()
        async with condition:
            condition.notify()
        await task
    return times


def main(rounds: int) -> None:
    """Measures both pairs."""
    pairs: list[tuple[str, Callable[[], list[float]], Callable[[], list[float]]]] = [
        ("threads", lambda: between_threads(rounds), lambda: by_threading_condition(rounds)),
        (
            "tasks",
            lambda: asyncio.run(between_tasks(rounds)),
            lambda: asyncio.run(by_asyncio_condition(rounds)),
        ),
    ]
    for name, ours, theirs in pairs:
        place, condition = (statistics.median(measure()) * 1e6 for measure in (ours, theirs))
        print(
            f"{name:8} a place {place:6.1f} us, Condition {condition:6.1f} us, "
            f"ratio {place / condition:.2f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
