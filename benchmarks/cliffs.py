"""Cliffs: writes that could suddenly take much longer than usual.

* `rolling_restart`: removes every backend and adds it again, and times each write by itself.
* `in_child`: updates the status while many views of two registries are alive, and after they
  are gone. Each round runs in a new process, so leftovers of the views cannot slow down other
  measurements.
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
    """The median and the slowest write of a rolling restart, in nanoseconds."""

    median: float
    worst: float


def rolling_restart() -> Restart:
    """Removes and adds again one backend after the other. All of them serve the same models."""
    shared = tuple(Model(f"model-{number}") for number in range(MODELS))
    fleet = [backend(number, shared) for number in range(FLEET)]
    registry = Registry()
    for one in fleet:
        registry.add_backend(one)
    times = []
    for one in fleet:
        started = perf_counter()
        registry.remove_backend(one.id)
        removed = perf_counter()
        registry.add_backend(one)
        times += [removed - started, perf_counter() - removed]
    return Restart(median(times) * 1e9, max(times) * 1e9)


@dataclass(frozen=True)
class Updates:
    """Nanoseconds of an `update_status`: before there are views, while the views are alive, and
    after all of them are gone."""

    before: float
    kept: float
    gone: float


def updates(views: int) -> Updates:
    """Measures with views that one thread makes, alternating between two registries."""
    registry, ids = filled(FLEET)
    other, _ = filled(FLEET)
    before = update(registry, ids)
    kept = list(islice(read(registry, other, ids), views))
    during = update(registry, ids)
    kept.clear()
    return Updates(before, during, update(registry, ids))


def read(registry: Registry, other: Registry, ids: list[str]) -> Iterator[BackendView | None]:
    """Endless views, alternating between the two registries."""
    for backend_id in cycle(ids):
        yield registry.get_backend(backend_id)
        yield other.get_backend(backend_id)


def update(registry: Registry, ids: list[str]) -> float:
    """Nanoseconds of a write, as the median of several tries. Each write has a different text."""
    texts = iter([f"no answer after {number} ms" for number in range(TRIES * WRITES)])
    names = {"registry": registry, "ids": cycle(ids), "texts": texts}
    run = loop("registry.update_status(next(ids), 'unhealthy', next(texts))", names)
    measure = nanoseconds(run, WRITES)
    return median(measure() for _ in range(TRIES))


def in_child() -> Updates:
    """Measures in a new process."""
    command = [sys.executable, "-m", "benchmarks.cliffs", str(VIEWS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Updates(*json.loads(done.stdout))


if __name__ == "__main__":
    measured = updates(int(sys.argv[1]))
    print(json.dumps([measured.before, measured.kept, measured.gone]))
