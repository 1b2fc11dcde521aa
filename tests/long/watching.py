"""A watch is the registry: its snapshot plus its changes, under eight writers."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial

from support.mirror import Mirror, write_randomly
from support.threads import run_threads

from registry import Backend, Change, Registry

UNIT = "changes"
GOAL = 10**6

WRITERS = 8
WRITES = 2500  # of each writer in a round
LAST = "the last one"
LATE = "a change after the last one"
# The first limit is never reached. The others overflow, the smallest nearly always.
LIMITS = (2**31 - 1, 1, 50)


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, writes: int = WRITES
) -> Iterator[int]:
    """Threads and event loops follow the registry while others write; their copies are equal."""
    for number in itertools.count():
        yield follow_writers(make(), WRITERS * number, writes)
        if until():
            return


def follow_writers(registry: Registry, seed: int, writes: int) -> int:
    """One round. Returns the number of changes that the followers took."""
    left = WRITERS
    lock = threading.Lock()

    def write(number: int) -> None:
        nonlocal left
        try:
            write_randomly(registry, seed + number, writes)
        finally:
            with lock:
                left -= 1
                if left == 0:
                    registry.add_backend(Backend(LAST, LAST, "http://last"))

    followers = [partial(follow, registry, limit) for limit in LIMITS]
    tasks = [partial(follow_in_a_loop, registry, limit) for limit in LIMITS]
    writers = [partial(write, number) for number in range(WRITERS)]
    mirrors = run_threads([*followers, *tasks, *writers], limit=600)[: 2 * len(LIMITS)]
    for mirror in mirrors:
        mirror.check(registry)
    for mirror in mirrors[:: len(LIMITS)]:
        assert mirror.overflows == 0, "a watch without a limit has overflowed"
    return sum(mirror.changes for mirror in mirrors)


def is_over(mirror: Mirror) -> bool:
    """Whether the writers are done and the mirror knows all that they did."""
    return LAST in mirror.fleet


def applied(mirror: Mirror, change: Change | None) -> bool:
    """Applies the change. Whether it was the last one."""
    assert change is not None, "the watch has ended"
    mirror.apply(change)
    return is_over(mirror)


def follow(registry: Registry, limit: int) -> Mirror:
    """Follows the registry in this thread until the writers are done."""
    with registry.watch(limit=limit) as watch:
        mirror = Mirror(watch)
        while not is_over(mirror) and not applied(mirror, watch.get()):
            pass
        assert watch.get(0) is None, LATE
        return mirror


def follow_in_a_loop(registry: Registry, limit: int) -> Mirror:
    """Follows the registry in a task until the writers are done."""

    async def main() -> Mirror:
        async with registry.watch(limit=limit) as watch:
            mirror = Mirror(watch)
            while not is_over(mirror) and not applied(mirror, await anext(watch)):
                pass
            assert watch.get(0) is None, LATE
            return mirror

    return asyncio.run(main())
