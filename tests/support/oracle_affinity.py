"""The executable contract of AFFINITY: the ranking of a key, and the bound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import log, log1p
from typing import Any, Protocol

from registry import Backend
from support.xxh64 import LIMIT, xxh64


class Loaded(Protocol):
    """A backend and its load."""

    backend: Backend
    pending: int


def mix(z: int) -> int:
    """The finalizer of SplitMix64."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % LIMIT
    z = (z ^ z >> 27) * 0x94D049BB133111EB % LIMIT
    return z ^ z >> 31


def bits_of(key: str | bytes | int) -> int:
    """The 64 bits of a key."""
    if isinstance(key, int):
        return key % LIMIT
    return xxh64(key.encode() if isinstance(key, str) else key)


def draw(key: str | bytes | int, backend_id: str) -> int:
    """The random bits of a backend for a key."""
    return mix(xxh64(backend_id.encode()) ^ mix((bits_of(key) + 0x9E3779B97F4A7C15) % LIMIT))


def distance(bits: int) -> float:
    """-ln(u), which is distributed exponentially; u is between 0 and 1, of 54 bits."""
    odd, one = bits >> 10 | 1, 2**54
    return -log1p((odd - one) / one) if odd > one // 2 else -log(odd / one)


def ranking(key: str | bytes | int, weights: dict[str, int]) -> list[str]:
    """The ids in the order of the key."""
    return sorted(weights, key=lambda one: distance(draw(key, one)) / weights[one])


class Affinity:
    """The order of a key among candidates, each with its weight in the ranking."""

    def __init__(
        self,
        key: str | bytes | int,
        candidates: Sequence[tuple[Loaded, int]],
        load: float | None,
        floor: float,
    ) -> None:
        weights = {entry.backend.id: weight for entry, weight in candidates}
        self.places = {one: place for place, one in enumerate(ranking(key, weights))}
        mean = Fraction(
            sum(entry.pending for entry, _ in candidates) + 1,
            sum(entry.backend.weight for entry, _ in candidates) or 1,
        )
        self.bound = None if load is None else max(Fraction(load) * mean, Fraction(floor))

    def cost(self, entry: Loaded) -> Any:
        """What the choice minimises."""
        measure = Fraction(entry.pending + 1, entry.backend.weight)
        is_over = self.bound is not None and measure > self.bound
        return is_over, measure if is_over else 0, self.places.get(entry.backend.id)
