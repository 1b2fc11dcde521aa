"""Writes that must take about as long as others of their kind, whatever was there before them.

* `rolling_restart`: every backend is removed and added again, and each write is timed by itself.
* `in_child`: status updates while many views of two registries are kept, and after they are gone.
  Each round has a process of its own, so that what views leave behind can't slow other rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from time import perf_counter

from benchmarks.fleet import backend, filled
from benchmarks.measure import nanoseconds
from benchmarks.operations import loop
from benchmarks.results import ROOT
from registry import BackendView, Model, Registry

FLEET = 100
MODELS = 1000
VIEWS = 10_000
WRITES = 2000
TRIES = 5


@dataclass(frozen=True)
class Restart:
    """Nanoseconds of the writes of one rolling restart."""

    median: float
    worst: float


def rolling_restart() -> Restart:
    """Backends that share their models go and come back, one after the other."""
    shared = tuple(Model(f"model-{number}") for number in range(MODELS))
    fleet = [backend(number, shared) for number in range(FLEET)]
    registry = Registry()
    for one in fleet:
        registry.add_backend(one)
    taken = []
    for one in fleet:
        started = perf_counter()
        registry.remove_backend(one.id)
        removed = perf_counter()
        registry.add_backend(one)
        taken += [removed - started, perf_counter() - removed]
    return Restart(median(taken) * 1e9, max(taken) * 1e9)


@dataclass(frozen=True)
class Updates:
    """Nanoseconds of an `update_status`: no views yet, views kept, and all of them gone again."""

    before: float
    kept: float
    gone: float


def updates(views: int) -> Updates:
    """Views of two registries in turn, all made by one thread."""
    registry, ids = filled(FLEET)
    other, _ = filled(FLEET)
    before = update(registry, ids)
    kept = list(islice(read(registry, other, ids), views))
    during = update(registry, ids)
    kept.clear()
    return Updates(before, during, update(registry, ids))


def read(registry: Registry, other: Registry, ids: list[str]) -> Iterator[BackendView | None]:
    """A view of the one, then one of the other, without end."""
    for backend_id in cycle(ids):
        yield registry.get_backend(backend_id)
        yield other.get_backend(backend_id)


def update(registry: Registry, ids: list[str]) -> float:
    """Nanoseconds a write, the median of some tries; each write has a text of its own."""
    texts = iter([f"no answer after {number} ms" for number in range(TRIES * WRITES)])
    names = {"registry": registry, "ids": cycle(ids), "texts": texts}
    run = loop("registry.update_status(next(ids), 'unhealthy', next(texts))", names)
    one_try = nanoseconds(run, WRITES)
    return median(one_try() for _ in range(TRIES))


def in_child() -> Updates:
    """What a fresh process measures."""
    command = [sys.executable, "-m", "benchmarks.cliffs", str(VIEWS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Updates(*json.loads(done.stdout))


if __name__ == "__main__":
    measured = updates(int(sys.argv[1]))
    print(json.dumps([measured.before, measured.kept, measured.gone]))
