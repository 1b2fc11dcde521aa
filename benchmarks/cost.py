"""The cost of each operation in one thread, for several sizes of fleet.

The unit is nanoseconds for each operation; the time of a bulk call is divided by the number of its
ids. The cost of the empty loop is subtracted.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

from benchmarks.budget import Budget, Step
from benchmarks.measure import Timed, calibrated, interleaved, nanoseconds
from benchmarks.operations import OPERATIONS, Operation, loop
from benchmarks.peers import Peer, dashmap_native, installed
from benchmarks.results import Row

SECTION = "cost"
REFERENCE = "hash(id)"  # the builtin that goals compare with


def steps(budget: Budget) -> Iterator[Step]:
    """Steps in order of size, because `fleets` keeps only the fleets of one size."""
    for size in budget.sizes:
        for operation in OPERATIONS:
            if size in operation.sizes or size not in (10, 1000, 100_000):
                yield Step(
                    f"{operation.name}, {size:,} backends",
                    partial(measure, operation, size, budget),
                )


@lru_cache(maxsize=1)
def fleets(size: int) -> dict[Peer, tuple[Any, list[str]]]:
    """A fleet of this size for every side that supports it."""
    made = {peer: peer.filled(size) for peer in installed() if size <= peer.largest}
    gc.collect()
    gc.freeze()  # otherwise each collection would visit all of them
    return made


def measure(operation: Operation, size: int, budget: Budget) -> list[Row]:
    """Measures every side that has the operation, interleaved with the empty loop."""
    sides: dict[str, Timed] = {}
    for peer, (registry, ids) in fleets(size).items():
        if operation.is_supported_by(registry):
            run = loop(operation.statement, operation.names(registry, ids))
            sides[peer.name] = nanoseconds(run, calibrated(run, budget.seconds))
    if operation.native and not dashmap_native.missing():
        cost = partial(dashmap_native.cost, operation.native, size)
        sides[dashmap_native.NAME] = partial(cost, enough(cost, budget.seconds))
    empty = nanoseconds(loop("pass", {}), round(budget.seconds * 1e8))
    nothing, *measured = interleaved(budget.rounds, empty, *sides.values())
    rows = []
    for side, values in zip(sides, measured, strict=True):
        loops = [0.0] * budget.rounds if side == dashmap_native.NAME else nothing
        net = [
            (value - overhead) / operation.calls
            for value, overhead in zip(values, loops, strict=True)
        ]
        rows.append(Row(SECTION, operation.name, side, "ns", net, {"backends": size}))
    return rows


def enough(cost: Callable[[int], float], seconds: float) -> int:
    """How many calls the native program makes in this time."""
    return max(1, round(seconds * 1e9 / cost(10)))
