"""The benchmark suite, for its tests: a small budget, and cleaning up."""

from __future__ import annotations

import gc

from benchmarks import cost, growth
from benchmarks.budget import Budget

TINY = Budget(rounds=1, seconds=1e-5, sizes=(12,), threads=2, large=2000, samples=50)


def drop_fleets() -> None:
    """Frees the fleets that the suite keeps, and unfreezes the collector.

    Other tests count objects, so no fleet may be left.
    """
    cost.fleets.cache_clear()
    growth.definitions.cache_clear()
    gc.unfreeze()
