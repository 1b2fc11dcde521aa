"""Single counts against batches.

A single count keeps the GIL. A batch releases it once, which costs time and lets other threads
run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.budget import Budget, Step
from benchmarks.fleet import filled
from benchmarks.measure import calibrated, interleaved, throughput, work
from benchmarks.operations import loop
from benchmarks.peers import OURS
from benchmarks.results import PER_SECOND, Row

SECTION = "bulk"
FLEET = 1000
BATCHES = (1, 10, 100, 1000)
SINGLE = "increment_pending"
MANY = "increment_pending_many"


def steps(budget: Budget) -> Iterator[Step]:
    """One step for each number of threads."""
    for threads in budget.thread_counts():
        yield Step(f"single and bulk, {threads} threads", partial(measure, threads, budget))


def measure(threads: int, budget: Budget) -> list[Row]:
    """Operations a second of all threads together, for the single call and each length of batch.

    No two threads count on the same backend.
    """
    registry, ids = filled(FLEET)
    parts = [ids[index::threads] for index in range(threads)]
    kinds = {0: "for id in batch:\n    registry.increment_pending(id)"}
    kinds |= dict.fromkeys(BATCHES, "registry.increment_pending_many(batch)")
    sides = []
    for batch, statement in kinds.items():
        length = batch or max(BATCHES)
        loops = [
            loop(statement, {"registry": registry, "batch": (part * length)[:length]})
            for part in parts
        ]
        count = calibrated(loops[0], 5 * budget.seconds)
        sides.append(partial(rate, length, [work(run, count) for run in loops]))
    measured = interleaved(budget.rounds, *sides)
    return [
        Row(
            SECTION,
            MANY if batch else SINGLE,
            OURS.name,
            PER_SECOND,
            values,
            {"batch": batch or 1, "threads": threads},
        )
        for batch, values in zip(kinds, measured, strict=True)
    ]


def rate(length: int, works: list[object]) -> float:
    """Registry operations a second, with `length` of them in each batch."""
    return length * throughput(works)  # type: ignore[arg-type]
