"""A registry of two DashMaps in Rust, run as a native program.

No Python is involved, which makes it the hardest comparison.
`benchmarks/peers/dashmap/build` builds the program; src/main.rs describes its commands.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

NAME = "Rust, DashMap"
PROGRAM = Path(__file__).parent / "dashmap" / "target" / "release" / "dashmap-peer"


def missing() -> str:
    """Why it cannot be measured, or "" if it can."""
    return "" if PROGRAM.exists() else "not built (benchmarks/peers/dashmap/build, needs cargo)"


def run(*arguments: object) -> str:
    """Runs the program and returns its output."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def answer(name: str, size: int) -> object:
    """The answer of an operation, as `Operation.ask` returns it."""
    return json.loads(run("answer", name, size))


def cost(name: str, size: int, count: int) -> float:
    """Nanoseconds per call."""
    return float(run("cost", name, size, count))


def throughput(name: str, place: str, threads: int, writes: int, count: int) -> float:
    """Operations a second of all threads. Each does `count` of them.

    `writes` is the percentage of writes.
    """
    return float(run("throughput", name, place, threads, writes, count))


def latency(name: str, count: int, quantiles: Sequence[float]) -> list[float]:
    """Quantiles of the nanoseconds of a call while another thread writes."""
    return [float(value) for value in json.loads(run("latency", name, count, *quantiles))]


def churn(size: int, count: int) -> float:
    """Nanoseconds per removal and addition of a backend."""
    return float(run("churn", size, count))


def memory(size: int) -> float:
    """Bytes per backend."""
    return float(run("memory", size))
