"""How things are measured here: interleaved rounds, medians with their range, ratios pair by pair."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

Timed = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """A median with its range."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def figure(values: Sequence[float]) -> Figure:
    """The median of several measurements, with the least and the greatest."""
    return Figure(median(values), min(values), max(values))


def quotients(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, pair by pair."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Ours over theirs, pair by pair: a machine that drifts hits both sides of a pair."""
    return figure(quotients(ours, theirs))


def interleaved(rounds: int, *sides: Timed) -> list[list[float]]:
    """Each side's results of `rounds` rounds, measured A B A B ..."""
    results: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, result in zip(sides, results, strict=True):
            result.append(side())
    return results


def throughput(works: Sequence[Callable[[], int]]) -> float:
    """Operations a second of all works at once, each in its own thread; a work returns how many it did.

    From the first thread's start to the last one's end, on the threads' own clocks: with every core at work, a thread that only
    waits can be late by more than a round takes.
    """
    barrier = threading.Barrier(len(works))
    done: list[tuple[int, float, float]] = [(0, 0.0, 0.0)] * len(works)

    def run(index: int, work: Callable[[], int]) -> None:
        barrier.wait()
        started = perf_counter()
        count = work()
        done[index] = count, started, perf_counter()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = max(ended for _, _, ended in done) - min(started for _, started, _ in done)
    return sum(count for count, _, _ in done) / taken


def calibrated(run: Callable[[int], object], seconds: float) -> int:
    """How often it can be done in so many seconds, once at least, by the quicker of two tries: pauses are the machine's."""
    count = 1
    while True:
        taken = min(taken_by(run, count), taken_by(run, count))
        if taken >= seconds / 4:
            return max(1, round(count * seconds / taken))
        count = round(count * min(10, max(2, seconds / 2 / max(taken, 1e-9))))


def taken_by(run: Callable[[int], object], count: int) -> float:
    """Seconds."""
    started = perf_counter()
    run(count)
    return perf_counter() - started


def nanoseconds(run: Callable[[int], object], count: int) -> Timed:
    """Of one call, the loop included."""

    def measured() -> float:
        return taken_by(run, count) / count * 1e9

    return measured


def work(run: Callable[[int], object], count: int) -> Callable[[], int]:
    """What `throughput` takes."""

    def done() -> int:
        run(count)
        return count

    return done
