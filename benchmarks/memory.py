"""The resident memory of a backend with ten models.

Each side runs in a new process. The process keeps no references to the definitions that it adds.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.budget import Budget, Step
from benchmarks.fleet import MODELS, backend
from benchmarks.measure import interleaved
from benchmarks.peers import OURS, PEERS, dashmap_native, installed
from benchmarks.results import ROOT, Row
from registry import Model

SECTION = "memory"
OPERATION = "bytes per backend"
RUNS = 3
KINDS = {"shared": "Model objects shared", "own": "equal Models of its own"}


def steps(budget: Budget) -> Iterator[Step]:
    """A step with shared models, and one in which each backend has its own models."""
    for kind, what in KINDS.items():
        yield Step(f"{OPERATION}, {what}", partial(measure, kind, budget.large))


def measure(kind: str, size: int) -> list[Row]:
    """Measures all sides, interleaved."""
    sides: dict[str, Callable[[], float]] = {
        peer.name: partial(in_child, peer.name, kind, size)
        for peer in installed()
        if hasattr(peer.filled(1)[0], "add_backend")
    }
    if kind == "own" and not dashmap_native.missing():
        sides[dashmap_native.NAME] = partial(dashmap_native.memory, size)  # it copies all strings
    measured = interleaved(RUNS, *sides.values())
    parameters: dict[str, int | float | str] = {"backends": size, "models": KINDS[kind]}
    return [
        Row(SECTION, OPERATION, side, "bytes", values, parameters)
        for side, values in zip(sides, measured, strict=True)
    ]


def in_child(side: str, kind: str, size: int) -> float:
    """Bytes per backend, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.memory", side, kind, str(size)]
    return float(
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )


def resident() -> int:
    """Bytes of resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def return_free_memory() -> None:
    """Returns what the imports have freed to the system; it would hide what the backends take."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def main(side: str, kind: str, size: str) -> None:
    """Prints bytes per backend."""
    peer = next(peer for peer in (OURS, *PEERS) if peer.name == side)
    registry, _ = peer.filled(0)
    return_free_memory()
    before = resident()
    for number in range(int(size)):
        models = (
            MODELS if kind == "shared" else tuple(Model(f"model-{index}") for index in range(10))
        )
        registry.add_backend(backend(number, models))
    print((resident() - before) / int(size))


if __name__ == "__main__":
    main(*sys.argv[1:])
