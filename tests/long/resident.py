"""Resident memory: how much of it repeated work leaves behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
WARM_UP = 3


def resident() -> int:
    """The bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def steady(
    work: Callable[[], int],
    until: Callable[[], bool],
    *,
    limit: float,
    slack: int,
    least: int,
    unit: str,
) -> Iterator[int]:
    """Repeats `work`, and raises if resident memory grows by `limit` bytes or more for each unit.

    `work` returns how many units it did. After a warm-up and at least `least` units, the growth is
    measured from the lowest size in the first half to the lowest in the second half, less `slack`
    bytes.
    """
    for _ in range(WARM_UP):
        yield work()
    done, sizes = [0], [resident()]
    while True:
        amount = work()
        done.append(done[-1] + amount)
        sizes.append(resident())
        yield amount
        if done[-1] < least or len(sizes) < 6:
            continue
        half = len(sizes) // 2
        grown = min(sizes[half:]) - min(sizes[:half]) - slack
        slope = grown / (done[-1] / 2)
        assert slope < limit, f"{slope:.2f} bytes leaked for each of {done[-1]} {unit}"
        if until():
            return
