"""The latency of single calls, with and without a thread that writes all the time.

The writer adds, updates and removes backends. Each call is timed by itself, so its time includes
the cost of reading the clock; the side "clock" measures that cost alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from time import perf_counter, perf_counter_ns, sleep
from typing import Any

from benchmarks.budget import Budget, Step
from benchmarks.fleet import changes
from benchmarks.measure import interleaved
from benchmarks.operations import OPERATIONS, loop
from benchmarks.peers import dashmap_native, installed
from benchmarks.results import Row

SECTION = "latency"
FLEET = 1000
BATCH = 100  # calls between two checks of the time limit
QUANTILES = (
    0.0,
    0.01,
    0.05,
    0.1,
    0.25,
    0.5,
    0.75,
    0.9,
    0.95,
    0.98,
    0.99,
    0.995,
    0.998,
    0.999,
    0.9995,
    0.9999,
    1.0,
)
READS = ("get_backend", "acquire and release")
BY_NAME = {operation.name: operation for operation in OPERATIONS}
CLOCK = "clock"


def steps(budget: Budget) -> Iterator[Step]:
    """Two steps for each operation: with a busy writer and with none."""
    for name in READS:
        for writer in ("busy", "none"):
            yield Step(
                f"latency of {name}, writer {writer}",
                partial(measure, name, writer == "busy", budget),
            )


@contextmanager
def writing(registry: Any, number: int) -> Iterator[None]:
    """Changes the fleet in another thread until the block ends."""
    stop = threading.Event()
    changing = changes(registry, number)

    def change() -> None:
        while not stop.is_set():
            for _ in range(60):
                next(changing)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        sleep(0.01)
        yield
    finally:
        stop.set()
        thread.join()


def sampler(statement: str, names: dict[str, Any]) -> Any:
    """A list, and a loop that appends the nanoseconds of each call to it."""
    timed = f"_started = _clock(); {statement}; _keep(_clock() - _started)"
    samples: list[int] = []
    return samples, loop(timed, names | {"_clock": perf_counter_ns, "_keep": samples.append})


def at_quantiles(samples: list[int]) -> list[float]:
    """The samples at `QUANTILES`."""
    ordered = sorted(samples)
    return [float(ordered[round((len(ordered) - 1) * quantile)]) for quantile in QUANTILES]


def measure(name: str, is_busy: bool, budget: Budget) -> list[Row]:
    """Measures all sides, interleaved."""
    operation = BY_NAME[name]
    sides: dict[str, Any] = {}
    for peer in installed():
        if peer.largest >= FLEET and operation.is_supported_by((fleet := peer.filled(FLEET))[0]):
            sides[peer.name] = partial(
                sampled, operation.statement, operation.names(*fleet), fleet, is_busy, budget
            )
    if operation.native and is_busy and not dashmap_native.missing():
        sides[dashmap_native.NAME] = partial(
            dashmap_native.latency, operation.native, budget.samples, QUANTILES
        )
    sides[CLOCK] = partial(sampled, "pass", {}, ({}, []), False, budget)
    measured = interleaved(budget.rounds, *sides.values())
    writer = "busy" if is_busy else "none"
    return [
        Row(SECTION, name, side, "ns", list(values), {"quantile": quantile, "writer": writer})
        for side, rounds in zip(sides, measured, strict=True)
        for quantile, values in zip(QUANTILES, zip(*rounds, strict=True), strict=True)
    ]


def sampled(
    statement: str,
    names: dict[str, Any],
    fleet: tuple[Any, list[str]],
    is_busy: bool,
    budget: Budget,
) -> list[float]:
    """One round of a side: its latencies in nanoseconds, at `QUANTILES`."""
    samples, run = sampler(statement, names)
    with writing(fleet[0], len(fleet[1])) if is_busy else nullcontext():
        until = perf_counter() + budget.patience
        run(BATCH)
        while len(samples) < budget.samples and perf_counter() < until:
            run(BATCH)
    return at_quantiles(samples)
