"""Linearizability: one order of operations must explain each small concurrent history."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator

from support.linearizability import describe, explains, history
from support.oracle import OracleRegistry

from registry import Registry

UNIT = "histories"
GOAL = 10_000

ROUND = 300


def run(
    until: Callable[[], bool],
    *,
    make: Callable[..., Registry] = Registry,
    contract: Callable[..., OracleRegistry] = OracleRegistry,
    histories: int = ROUND,
    first: int = 0,
) -> Iterator[int]:
    """Records histories of four threads, and raises the first one that no order explains."""
    # Decrements at 0 are part of these histories, so their warnings are silenced.
    logging.getLogger("registry").setLevel(logging.ERROR)
    try:
        for seed in itertools.count(first, histories):
            for number in range(seed, seed + histories):
                steps, start = history(make, number, contract)
                assert explains(steps, start), f"history {number}:\n{describe(steps)}"
            yield histories
            if until():
                return
    finally:
        logging.getLogger("registry").setLevel(logging.NOTSET)
