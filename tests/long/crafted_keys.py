"""Ids that were crafted to collide in a hash table cost about as much as others."""

from __future__ import annotations

import gc
import itertools
import statistics
from collections.abc import Callable, Iterator
from functools import cache
from time import perf_counter_ns

from registry import Backend, Registry

UNIT = "ids"
GOAL = 10**5

COUNT = 100_000
LIMIT = 3.0
LEAST_ROUNDS = 3
BITS = 8
# The usual factor of multiplicative hashing. The core's tables use random factors instead.
GOLDEN = 0x9E3779B97F4A7C15

Craft = Callable[[str], bool]


def agrees_in_low_bits(text: str) -> bool:
    """Whether the id collides in a table whose slots are the low bits of the hash."""
    return hash(text) & (1 << BITS) - 1 == 0


def agrees_in_golden_place(text: str) -> bool:
    """Whether the id collides in a table whose slots are the upper bits of the product."""
    return hash(text) * GOLDEN % 2**64 >> 64 - BITS == 0


CRAFTS: tuple[Craft, ...] = (agrees_in_low_bits, agrees_in_golden_place)


@cache
def crafted(craft: Craft, count: int) -> list[str]:
    """Ids that meet the condition `craft`, found by trial: about 2**BITS trials for each."""
    return list(itertools.islice(filter(craft, map("id-%012d".__mod__, itertools.count())), count))


def usual(count: int) -> list[str]:
    """Ids of the same form that are not crafted."""
    return [f"id-{(number << BITS) + number % 251:012}" for number in range(count)]


def run(
    until: Callable[[], bool], *, make: type[Registry] = Registry, count: int = COUNT
) -> Iterator[int]:
    """100,000 crafted ids cost at most 3 times as much as others, in the median of all rounds.

    The rounds of crafted and other ids alternate.
    """
    fleets = [
        [Backend(backend_id, "n", "http://h") for backend_id in ids]
        for ids in (usual(count), *(crafted(craft, count) for craft in CRAFTS))
    ]
    ratios: dict[str, list[float]] = {craft.__name__: [] for craft in CRAFTS}
    rounds = 0
    while rounds < LEAST_ROUNDS or not until():
        rounds += 1
        plain, *others = (cost(make(), fleet) for fleet in fleets)
        for name, other in zip(ratios, others, strict=True):
            ratios[name].append(other / plain)
            median = statistics.median(ratios[name])
            assert rounds < LEAST_ROUNDS or median <= LIMIT, (
                f"{name}: {median:.2f} times the cost of other ids, over {rounds} rounds"
            )
        yield count * len(fleets)


def cost(registry: Registry, fleet: list[Backend]) -> int:
    """The nanoseconds to add all, find each twice and remove all. Also checks the results."""
    ids = [backend.id for backend in fleet]
    gc.collect()
    gc.disable()
    began = perf_counter_ns()
    try:
        for backend in fleet:
            registry.add_backend(backend)
        counts = registry.increment_pending_many(ids)
        found = sum(backend_id in registry for backend_id in ids)
        for backend_id in ids:
            registry.remove_backend(backend_id)
        spent = perf_counter_ns() - began
    finally:
        gc.enable()
    assert (counts, found, len(registry)) == ([1] * len(ids), len(ids), 0)
    return spent
