"""Operations a second of all threads together.

All threads use the same backend, or each thread uses its own. In some loads, a percentage of the
operations are writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.budget import Budget, Step
from benchmarks.fleet import MODELS, changes
from benchmarks.measure import Timed, calibrated, interleaved, throughput, work
from benchmarks.operations import OPERATIONS, Operation, loop
from benchmarks.peers import Peer, dashmap_native, installed
from benchmarks.results import PER_SECOND, Row

SECTION = "throughput"
FLEET = 1000
STEP = 7  # from one thread's backend to the next thread's
BY_NAME = {operation.name: operation for operation in OPERATIONS}


@dataclass(frozen=True)
class Load:
    """What each thread does."""

    operation: Operation
    place: str  # "same": one backend and model for all threads; "distinct": one for each
    writes: int = 0  # percentage of operations that add, update or remove a backend

    def statement(self) -> str:
        """A hundred operations if some are writes, otherwise one."""
        if not self.writes:
            return self.operation.statement
        reads = f"for _ in _repeat(None, {100 - self.writes}):\n    {self.operation.statement}"
        return f"{reads}\nfor _ in _repeat(None, {self.writes}):\n    next(changing)"

    @property
    def calls(self) -> int:
        """The number of registry operations in one statement."""
        return 100 if self.writes else self.operation.calls


LOADS = (
    *(
        Load(BY_NAME[name], place)
        for name in ("increment_pending", "get_backend", "acquire and release")
        for place in ("same", "distinct")
    ),
    Load(BY_NAME["get_backends_for_model"], "same"),
    *(
        Load(BY_NAME[name], "same", writes)
        for name in ("get_backend", "get_backends_for_model", "increment_pending")
        for writes in (1, 10)
    ),
)


def steps(budget: Budget) -> Iterator[Step]:
    """One step for each load."""
    for load in LOADS:
        mix = f", {load.writes} % writes" if load.writes else ""
        yield Step(
            f"{load.operation.name} by threads, {load.place}{mix}", partial(measure, load, budget)
        )


def works(load: Load, registry: Any, ids: list[str], threads: int) -> list[Any]:
    """A loop for each thread."""
    made = []
    for index in range(threads):
        other = STEP * index if load.place == "distinct" else 0
        names = load.operation.names(registry, ids)
        names |= {"id": ids[len(ids) // 2 + other], "model": MODELS[(3 + other) % len(MODELS)].id}
        if load.writes:
            names["changing"] = changes(registry, len(ids) + 16 * index)
        made.append(loop(load.statement(), names))
    return made


def measure(load: Load, budget: Budget) -> list[Row]:
    """Measures all sides with all numbers of threads, interleaved."""
    sides: dict[tuple[str, int], Timed] = {}
    for peer in installed():
        if peer.largest >= FLEET:
            sides |= in_python(load, peer, budget)
    if load.operation.native and not dashmap_native.missing():
        sides |= native(load, budget)
    measured = interleaved(budget.rounds, *sides.values())
    rows = []
    for (side, threads), values in zip(sides, measured, strict=True):
        parameters: dict[str, int | float | str] = {
            "threads": threads,
            "where": load.place,
            "writes": load.writes,
        }
        rows.append(Row(SECTION, load.operation.name, side, PER_SECOND, values, parameters))
    return rows


def in_python(load: Load, peer: Peer, budget: Budget) -> dict[tuple[str, int], Timed]:
    """A side for each number of threads, or none if the peer lacks the operation."""
    registry, ids = peer.filled(FLEET)
    if not load.operation.is_supported_by(registry):
        return {}
    made = works(load, registry, ids, max(budget.thread_counts()))
    count = calibrated(made[0], 5 * budget.seconds)

    def side(threads: int) -> float:
        return load.calls * throughput([work(run, count) for run in made[:threads]])

    return {(peer.name, threads): partial(side, threads) for threads in budget.thread_counts()}


def native(load: Load, budget: Budget) -> dict[tuple[str, int], Timed]:
    """A side of the Rust program for each number of threads."""
    run = partial(dashmap_native.throughput, load.operation.native, load.place)
    count = max(100, round(5 * budget.seconds * run(1, load.writes, 100)))
    return {
        (dashmap_native.NAME, threads): partial(run, threads, load.writes, count)
        for threads in budget.thread_counts()
    }
