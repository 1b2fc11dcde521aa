"""How much a run measures, and the steps that it consists of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.operations import SIZES
from benchmarks.results import Row


@dataclass(frozen=True)
class Budget:
    """The sizes and times of a suite. A side is a design that is measured."""

    rounds: int
    seconds: float  # for each side in one round
    sizes: tuple[int, ...] = SIZES
    threads: int = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    large: int = 100_000  # backends of the largest fleet in the goals and the memory section
    samples: int = 100_000  # most latencies of each side in one round
    patience: float = 2.0  # seconds after which a round takes no more latencies

    def thread_counts(self) -> list[int]:
        """1 to 8, the powers of two above 8, and `threads` itself."""
        counts = {
            count for count in range(1, self.threads + 1) if count <= 8 or count & (count - 1) == 0
        }
        return sorted(counts | {self.threads})


@dataclass(frozen=True)
class Step:
    """A part of a run. The progress bar counts steps."""

    name: str
    run: Callable[[], list[Row]]


BUDGETS = {
    "quick": Budget(rounds=3, seconds=0.01, large=20_000, samples=20_000, patience=0.4),
    "full": Budget(rounds=9, seconds=0.05),
}
