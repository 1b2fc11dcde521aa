"""Linearizability: small concurrent histories, each of which one order of its operations must explain."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator

from support.linearizability import explains, history, told

from registry import Registry

UNIT = "histories"
GOAL = 10_000

ROUND = 300


def run(
    until: Callable[[], bool],
    *,
    make: Callable[[], Registry] = Registry,
    histories: int = ROUND,
    first: int = 0,
) -> Iterator[int]:
    """Histories of four threads; the first one without an explanation is raised, told for people."""
    logging.getLogger("registry").setLevel(
        logging.ERROR
    )  # a stray decrement is a part of these histories
    try:
        for seed in itertools.count(first, histories):
            for number in range(seed, seed + histories):
                steps, start = history(make(), number)
                assert explains(steps, start), f"history {number}:\n{told(steps)}"
            yield histories
            if until():
                return
    finally:
        logging.getLogger("registry").setLevel(logging.NOTSET)
