"""The cost of removing a backend and adding it again, as the fleet grows.

Each round takes a new random selection of backends, so caches miss. A plain dict's `pop` and
assignment are measured for comparison.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from functools import lru_cache, partial
from time import perf_counter
from typing import Any

from benchmarks.budget import Budget, Step
from benchmarks.fleet import backend
from benchmarks.measure import Timed, interleaved
from benchmarks.peers import OURS, Peer, dashmap_native, installed
from benchmarks.results import Row
from registry import Backend, BackendStatus

SECTION = "growth"
OPERATION = "remove_backend and add_backend"
DICT = "dict alone"
CHANGES = 1000


def steps(budget: Budget) -> Iterator[Step]:
    """One step for each size."""
    for size in budget.sizes:
        yield Step(f"remove and add among {size:,}", partial(measure, size, budget))


def measure(size: int, budget: Budget) -> list[Row]:
    """Measures all sides, interleaved."""
    sides = {DICT: dict_side(size)}
    for peer in installed():
        if size <= peer.largest and hasattr(peer.filled(1)[0], "remove_backend"):
            sides[peer.name] = registry_side(size, peer)
    if not dashmap_native.missing():
        sides[dashmap_native.NAME] = partial(dashmap_native.churn, size, min(size, CHANGES))
    gc.collect()
    gc.freeze()
    measured = interleaved(budget.rounds, *sides.values())
    return [
        Row(SECTION, OPERATION, side, "ns", values, {"backends": size})
        for side, values in zip(sides, measured, strict=True)
    ]


def registry_side(size: int, peer: Peer = OURS) -> Timed:
    """Measures nanoseconds per backend in a fleet of this size."""
    return partial(change_registry, peer.filled(size)[0], definitions(size), random.Random(size))


def dict_side(size: int) -> Timed:
    """Measures nanoseconds per key in a dict of this size."""
    return partial(
        change_dict,
        {one.id: one for one in definitions(size)},
        definitions(size),
        random.Random(size),
    )


@lru_cache(maxsize=2)
def definitions(size: int) -> list[Backend]:
    """The backends that are removed and added again."""
    return [backend(number) for number in range(size)]


def change_registry(registry: Any, given: list[Backend], rng: random.Random) -> float:
    """Removes and adds random backends; returns nanoseconds per backend."""
    chosen = rng.sample(given, min(len(given), CHANGES))
    started = perf_counter()
    for one in chosen:
        registry.remove_backend(one.id)
        registry.add_backend(one)
    taken = perf_counter() - started
    for one in chosen:
        registry.update_status(one.id, BackendStatus.HEALTHY)
    return taken / len(chosen) * 1e9


def change_dict(table: dict[str, Backend], given: list[Backend], rng: random.Random) -> float:
    """Pops and assigns random keys; returns nanoseconds per key."""
    chosen = rng.sample(given, min(len(given), CHANGES))
    started = perf_counter()
    for one in chosen:
        table[one.id] = table.pop(one.id)
    return (perf_counter() - started) / len(chosen) * 1e9
