"""ft_utils (PyPI): a registry on its types `ConcurrentDict` and `AtomicInt64`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

# Only `make peers` installs it.
from ft_utils.concurrency import (  # pyright: ignore[reportMissingImports]
    AtomicInt64,
    ConcurrentDict,
)

from benchmarks import fleet
from benchmarks.peers.records import Record, RecordRegistry

if not hasattr(ConcurrentDict, "get"):
    raise ImportError("its ConcurrentDict has no methods (pip install 'ft_utils>=0.2')")


class FtUtilsRegistry(RecordRegistry):
    """`RecordRegistry` on the types of ft_utils."""

    counter = AtomicInt64

    def map(self) -> Any:
        return ConcurrentDict()

    def values(self, given: Any) -> Iterable[Record]:
        records: Iterable[Record] = given.values()
        return records

    def add(self, counter: Any, amount: int) -> int:
        added: int = counter.incr() if amount == 1 else counter.decr()
        return added


filled = partial(fleet.filled, make=FtUtilsRegistry)
