"""Throughput over 1..N threads, on the same and on distinct backends: `python benchmarks/threads.py [--json]`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import repeat

from measure import figure, interleaved, machine, ratios, throughput
from operations import filled

from registry import Registry

Loop = Callable[[Registry, str, int], int]


def increment(registry: Registry, backend_id: str, count: int) -> int:
    """Plain calls, as users write them."""
    for _ in repeat(None, count):
        registry.increment_pending(backend_id)
    return count


def get(registry: Registry, backend_id: str, count: int) -> int:
    """Plain calls, as users write them."""
    for _ in repeat(None, count):
        registry.get_backend(backend_id)
    return count


def query(registry: Registry, _backend_id: str, count: int) -> int:
    """A query with 1,000 matching backends."""
    for _ in repeat(None, count):
        registry.get_backends_for_model("model-3")
    return count


# What is called, and how often a thread calls it in one round.
LOOPS: tuple[tuple[str, Loop, int], ...] = (
    ("increment_pending", increment, 1_000_000),
    ("get_backend", get, 300_000),
    ("get_backends_for_model (1,000)", query, 300),
)


def measure(threads: int, rounds: int, scale: float) -> list[dict[str, object]]:
    """Each loop on the same and on distinct backends, with every number of threads against one."""
    registry, ids = filled(1000)
    rows: list[dict[str, object]] = []
    for name, loop, count in LOOPS:
        calls = max(1, int(count * scale))
        for where, step in (("same", 0), ("distinct", 7)):
            for number in range(2, threads + 1):
                works = [partial(loop, registry, ids[500 + step * index], calls) for index in range(number)]
                one, many = interleaved(rounds, partial(throughput, works[:1]), partial(throughput, works))
                rows.append(
                    {
                        "operation": name,
                        "backends": where,
                        "threads": number,
                        "one_thread_per_second": figure(one).median,
                        "per_second": figure(many).median,
                        "ratio": asdict(ratios(many, one)),
                    }
                )
    return rows


def main() -> None:
    """Prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--threads", type=int, default=max(2, os.cpu_count() or 2), help="the most threads (default: cores)"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = measure(arguments.threads, arguments.rounds, 0.1 if arguments.quick else 1.0)
    if arguments.json:
        print(json.dumps({"machine": machine(), "rows": rows}, indent=2))
        return
    print(machine())
    print(f"{'operation':32} {'backends':9} {'threads':>7} {'M/s':>8}  times one thread")
    for row in rows:
        ratio = row["ratio"]
        assert isinstance(ratio, dict)
        rate = float(str(row["per_second"])) / 1e6
        spread = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        print(f"{row['operation']:32} {row['backends']:9} {row['threads']:>7} {rate:8.3f}  {spread}")


if __name__ == "__main__":
    main()
