"""The original plan's design in Rust (DashMap), run native: the hardest comparison there is, for nothing of it is Python.

`benchmarks/peers/dashmap/build` makes the program; src/main.rs tells its commands.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

NAME = "Rust, DashMap"
PROGRAM = Path(__file__).parent / "dashmap" / "target" / "release" / "dashmap-peer"


def missing() -> str:
    """Why it can't be measured; empty: it can."""
    return "" if PROGRAM.exists() else "not built (benchmarks/peers/dashmap/build, wants cargo)"


def said(*arguments: object) -> str:
    """What the program prints."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def answer(name: str, size: int) -> object:
    """As `Operation.asked`."""
    return json.loads(said("answer", name, size))


def cost(name: str, size: int, count: int) -> float:
    """Nanoseconds a call."""
    return float(said("cost", name, size, count))


def throughput(name: str, place: str, threads: int, writes: int, count: int) -> float:
    """Operations a second of all threads; each does `count`, `writes` percent of them changes."""
    return float(said("throughput", name, place, threads, writes, count))


def latency(name: str, count: int, quantiles: Sequence[float]) -> list[float]:
    """Nanoseconds of a call at these quantiles while another thread writes."""
    return [float(value) for value in json.loads(said("latency", name, count, *quantiles))]


def churn(size: int, count: int) -> float:
    """Nanoseconds of a removal and an addition."""
    return float(said("churn", size, count))


def memory(size: int) -> float:
    """Bytes a backend."""
    return float(said("memory", size))
