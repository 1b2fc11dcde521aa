"""How much is measured, and the steps that a run consists of."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.operations import SIZES
from benchmarks.results import Row


@dataclass(frozen=True)
class Budget:
    """What a suite may spend."""

    rounds: int
    seconds: float  # a side's in one round
    sizes: tuple[int, ...] = SIZES
    threads: int = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    large: int = 100_000  # the fleet whose memory is measured
    samples: int = 100_000  # of latency, a side's in one round, or fewer:
    patience: float = 2.0  # seconds for them

    def thread_counts(self) -> list[int]:
        """1, 2, ... and in doublings above 8."""
        counts = {
            count for count in range(1, self.threads + 1) if count <= 8 or count & (count - 1) == 0
        }
        return sorted(counts | {self.threads})


@dataclass(frozen=True)
class Step:
    """A part that a progress bar counts."""

    name: str
    run: Callable[[], list[Row]]


BUDGETS = {
    "quick": Budget(rounds=3, seconds=0.01, large=20_000, samples=20_000, patience=0.4),
    "full": Budget(rounds=9, seconds=0.05),
}
