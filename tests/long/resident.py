"""Resident memory, and its slope: what repeated work leaves behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
WARM_UP = 3


def resident() -> int:
    """Bytes of this process that are in memory."""
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
    """Repeats `work`, which returns how much it did; raises when over at least `least` of it, after a warm-up, memory has grown by
    `limit` bytes for each or more, but for `slack` bytes once. The slope is that of the lower envelope: from the least of the first
    half to the least of the second."""
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
        assert slope < limit, f"{slope:.2f} bytes stay for each of {done[-1]} {unit}"
        if until():
            return
