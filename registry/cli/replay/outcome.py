"""What a replay did, and the figures that policies are compared by."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from math import ceil

from registry.backend import BackendView
from registry.selection import Policy


@dataclass(slots=True)
class Record:
    """What happened, of one worker or of all. Starts are in simulated seconds, latencies in simulated ms."""

    done: int = 0
    rejected: int = 0
    most_in_flight: Counter[str] = field(default_factory=Counter)
    busy_ms: Counter[str] = field(default_factory=Counter)
    starts: array[float] = field(default_factory=lambda: array("d"))
    latencies: array[int] = field(default_factory=lambda: array("I"))

    def add(self, backend_id: str, in_flight: int, start: float, latency_ms: int) -> None:
        """Notes a request that starts on a backend, with as many in flight there as it then sees."""
        if in_flight > self.most_in_flight[backend_id]:
            self.most_in_flight[backend_id] = in_flight
        self.busy_ms[backend_id] += latency_ms
        self.starts.append(start)
        self.latencies.append(latency_ms)

    def merge(self, other: Record) -> None:
        """Takes in what another worker saw."""
        self.done += other.done
        self.rejected += other.rejected
        self.most_in_flight |= other.most_in_flight
        self.busy_ms += other.busy_ms
        self.starts += other.starts
        self.latencies += other.latencies


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay did, and what the registry knows at its end. `asked` are the ids that list a requested model."""

    policy: Policy
    views: list[BackendView]
    asked: frozenset[str]
    record: Record
    requests: int
    threads: int
    seconds: float

    @property
    def left_in_flight(self) -> int:
        """Requests that the registry still counts: 0 if no count was lost."""
        return sum(view.pending_requests for view in self.views)

    @property
    def total(self) -> int:
        """Requests that the registry counted as finished."""
        return sum(view.total_requests for view in self.views)

    @property
    def adds_up(self) -> bool:
        """Whether every request was counted exactly once, and nothing is left in flight."""
        record = self.record
        return (
            self.left_in_flight == 0
            and self.total == record.done
            and record.done + record.rejected == self.requests
        )

    @property
    def gil(self) -> bool:
        """Whether this interpreter ran with the GIL."""
        return bool(getattr(sys, "_is_gil_enabled", lambda: True)())

    @property
    def requests_per_second(self) -> float:
        """Requests finished per second of real time."""
        return self.record.done / self.seconds

    @property
    def most_in_flight(self) -> int:
        """The most in flight on any backend."""
        return max(self.record.most_in_flight.values(), default=0)

    @property
    def evenness(self) -> float | None:
        """The greatest of the backends' time averages of in flight / weight, divided by their mean: 1 is even.

        The average and not the peak, which one unlucky instant decides. Backends that list no requested model stay out
        of it. None where nothing was served.
        """
        # The time that the averages are taken over is the same for all, and cancels out.
        loads = [
            self.record.busy_ms[view.id] / view.weight
            for view in self.views
            if view.id in self.asked
        ]
        total = sum(loads)
        return max(loads) * len(loads) / total if total else None

    def percentiles(self, *percents: int) -> list[int | None]:
        """For each: the least latency in simulated ms that so many percent of all do not exceed (nearest rank)."""
        latencies = sorted(self.record.latencies)
        return [
            latencies[ceil(len(latencies) * p / 100) - 1] if latencies else None for p in percents
        ]
