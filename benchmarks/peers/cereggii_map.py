"""cereggii (PyPI): a registry on its types `AtomicDict` and `AtomicInt64`."""

# The peer's own types, if it is installed, are incomplete.
# pyright: reportAssignmentType=false

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

# Only `make peers` installs it.
from cereggii import AtomicDict, AtomicInt64  # pyright: ignore[reportMissingImports]

from benchmarks import fleet
from benchmarks.peers.records import Record, RecordRegistry


class CereggiiRegistry(RecordRegistry):
    """`RecordRegistry` on cereggii's types."""

    counter = AtomicInt64

    def map(self) -> Any:
        return AtomicDict()

    def values(self, given: Any) -> Iterable[Record]:
        return (record for _, record in given.fast_iter())

    def add(self, counter: Any, amount: int) -> int:
        added: int = counter.increment_and_get() if amount == 1 else counter.decrement_and_get()
        return added


filled = partial(fleet.filled, make=CereggiiRegistry)
