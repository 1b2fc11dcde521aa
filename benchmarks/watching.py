"""What watches cost a writer, and how many changes a second reach a reader.

The peer with plain dicts puts a pair of views into a queue for each watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.budget import Budget, Step
from benchmarks.measure import Timed, calibrated, interleaved, taken_by, throughput
from benchmarks.operations import loop
from benchmarks.peers import OURS, Peer, installed
from benchmarks.results import PER_SECOND, Row

SECTION = "watches"
FLEET = 1000
WATCHES = (0, 1, 8)
# Writes between two times of reading: fewer than a watch keeps unread.
BATCH = 500
MOST_UNREAD = 50_000  # a change keeps two views alive
PATIENCE = 10  # seconds that a reader waits for one change
WRITE = "registry.update_status(id, HEALTHY)"
WRITER = "update_status"
THREAD = "update_status, read by a thread"
TASK = "update_status, read by a task"


def steps(budget: Budget) -> Iterator[Step]:
    """The writer's cost, then the readers' throughput."""
    yield Step("update_status with watches", partial(measure_writer, budget))
    yield Step("changes from a writer to a reader", partial(measure_reader, budget))


def peers() -> Iterator[Peer]:
    """The sides that have watches."""
    for peer in installed():
        if peer.largest >= FLEET and hasattr(peer.filled(1)[0], "watch"):
            yield peer


def writer(registry: Any, ids: list[str]) -> Callable[[int], None]:
    """Updates the status of one backend in a loop."""
    return loop(WRITE, {"registry": registry, "id": ids[len(ids) // 2]})


def measure_writer(budget: Budget) -> list[Row]:
    """Nanoseconds per write with several numbers of watches, which are read between the writes."""
    sides: dict[tuple[str, int], Timed] = {}
    opened: list[Any] = []
    for peer in peers():
        for count in WATCHES:
            registry, ids = peer.filled(FLEET)
            run = writer(registry, ids)
            batches = max(1, calibrated(run, budget.seconds) // BATCH)
            watches = [registry.watch() for _ in range(count)]  # after the writes that calibrate
            opened += watches
            sides[peer.name, count] = watched_writes(run, watches, batches)
    measured = interleaved(budget.rounds, *sides.values())
    for watch in opened:
        watch.close()
    return [
        Row(SECTION, WRITER, side, "ns", values, {"watches": count})
        for (side, count), values in zip(sides, measured, strict=True)
    ]


def watched_writes(run: Callable[[int], None], watches: list[Any], batches: int) -> Timed:
    """Measures nanoseconds per write. Reading is not in the time, but it is done, for a watch that
    nobody reads overflows and costs the writer less."""

    def measured() -> float:
        taken = 0.0
        for _ in range(batches):
            taken += taken_by(run, BATCH)
            for watch in watches:
                read_waiting(watch, BATCH)
        return taken / (batches * BATCH) * 1e9

    return measured


def read_waiting(watch: Any, count: int) -> None:
    """Reads changes that are there already."""
    for _ in range(count):
        if watch.get(0) is None:
            raise RuntimeError("a change is missing")


def measure_reader(budget: Budget) -> list[Row]:
    """Changes a second from a writer in one thread to a reader in another one."""
    sides: dict[tuple[str, str], Timed] = {}
    for peer in peers():
        for operation, read in ((THREAD, read_by_thread), (TASK, read_by_task)):
            if operation == THREAD or peer is OURS:  # a queue of threads has no async iterator
                sides[peer.name, operation] = partial(delivered, peer, read, budget)
    measured = interleaved(budget.rounds, *sides.values())
    return [
        Row(SECTION, operation, side, PER_SECOND, values, {"watches": 1})
        for (side, operation), values in zip(sides, measured, strict=True)
    ]


def delivered(peer: Peer, read: Callable[[Any, int], None], budget: Budget) -> float:
    """Changes a second from the first write until the last change has been read.

    The watch keeps all of them, so none is lost if the writer is faster.
    """
    registry, ids = peer.filled(FLEET)
    write = writer(registry, ids)
    count = min(MOST_UNREAD, calibrated(write, 5 * budget.seconds))
    watch = registry.watch(limit=count)

    def written() -> int:
        write(count)
        return 0

    def received() -> int:
        read(watch, count)
        return count

    try:
        return throughput([written, received])
    finally:
        watch.close()


def read_by_thread(watch: Any, count: int) -> None:
    """Reads so many changes, and waits for each."""
    for _ in range(count):
        if watch.get(PATIENCE) is None:
            raise RuntimeError("a change is missing")


def read_by_task(watch: Any, count: int) -> None:
    """Reads so many changes in an event loop of its own."""

    async def read() -> None:
        left = count
        async with asyncio.timeout(PATIENCE * 10):
            async for _ in watch:
                left -= 1
                if left == 0:
                    return

    asyncio.run(read())
