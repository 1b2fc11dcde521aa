"""Measuring: interleaved rounds, medians with their range, and ratios round by round."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

Timed = Callable[[], float]


@dataclass(frozen=True)
class Figure:
    """A median with the range of its values."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def figure(values: Sequence[float]) -> Figure:
    """The median and the range of several measurements."""
    return Figure(median(values), min(values), max(values))


def quotients(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours divided by theirs, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """The figure of `quotients`. A drift of the machine changes both sides of a round alike."""
    return figure(quotients(ours, theirs))


def interleaved(rounds: int, *sides: Timed) -> list[list[float]]:
    """The results of each side, measured in the order A B A B ..."""
    results: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, result in zip(sides, results, strict=True):
            result.append(side())
    return results


def throughput(works: Sequence[Callable[[], int]]) -> float:
    """Operations a second of all functions together, each in its own thread.

    A function returns the number of its operations. The time is from the first start to the last
    end, as these threads read the clock. The calling thread cannot measure it: with all cores busy,
    it may wake up later than a round takes.
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
    """How many calls fit into this time, at least 1.

    Counts the faster of two tries, because the other one may have been interrupted.
    """
    count = 1
    while True:
        taken = min(taken_by(run, count), taken_by(run, count))
        if taken >= seconds / 4:
            return max(1, round(count * seconds / taken))
        count = round(count * min(10, max(2, seconds / 2 / max(taken, 1e-9))))


def taken_by(run: Callable[[int], object], count: int) -> float:
    """The seconds that `run(count)` takes."""
    started = perf_counter()
    run(count)
    return perf_counter() - started


def nanoseconds(run: Callable[[int], object], count: int) -> Timed:
    """Measures nanoseconds per call, including the loop."""

    def measured() -> float:
        return taken_by(run, count) / count * 1e9

    return measured


def work(run: Callable[[int], object], count: int) -> Callable[[], int]:
    """A function for `throughput`, which makes `count` calls."""

    def done() -> int:
        run(count)
        return count

    return done
