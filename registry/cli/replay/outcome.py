"""The result of a replay, and the figures that compare policies."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from dataclasses import dataclass, field
from math import ceil

from registry import BackendView, Policy


@dataclass(slots=True)
class Record:
    """What one worker saw, or all of them. Starts are in simulated seconds, latencies and
    `busy_ms` in simulated milliseconds."""

    done: int = 0
    rejected: int = 0
    most_in_flight: Counter[str] = field(default_factory=Counter)
    busy_ms: Counter[str] = field(default_factory=Counter)
    starts: array[float] = field(default_factory=lambda: array("d"))
    latencies: array[int] = field(default_factory=lambda: array("I"))

    def add(self, backend_id: str, in_flight: int, start: float, latency_ms: int) -> None:
        """Records a request that starts on a backend, whose count is then `in_flight`."""
        if in_flight > self.most_in_flight[backend_id]:
            self.most_in_flight[backend_id] = in_flight
        self.busy_ms[backend_id] += latency_ms
        self.starts.append(start)
        self.latencies.append(latency_ms)

    def merge(self, other: Record) -> None:
        """Adds another worker's record to this one."""
        self.done += other.done
        self.rejected += other.rejected
        self.most_in_flight |= other.most_in_flight
        self.busy_ms += other.busy_ms
        self.starts += other.starts
        self.latencies += other.latencies


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a replay.

    `views` are the backends at the end of the replay; `serving` are the ids of the backends that
    serve a requested model.
    """

    policy: Policy
    views: list[BackendView]
    serving: frozenset[str]
    record: Record
    requests: int
    threads: int
    seconds: float

    @property
    def left_in_flight(self) -> int:
        """Requests that the registry still counts as in flight; 0 if its counts are right."""
        return sum(view.pending_requests for view in self.views)

    @property
    def total(self) -> int:
        """Requests that the registry counted as finished."""
        return sum(view.total_requests for view in self.views)

    @property
    def adds_up(self) -> bool:
        """Whether the registry counted every request exactly once, and none is left in flight."""
        record = self.record
        return (
            self.left_in_flight == 0
            and self.total == record.done
            and record.done + record.rejected == self.requests
        )

    @property
    def gil(self) -> bool:
        """Whether the GIL was enabled."""
        return bool(getattr(sys, "_is_gil_enabled", lambda: True)())

    @property
    def requests_per_second(self) -> float:
        """Finished requests per second of real time."""
        return self.record.done / self.seconds

    @property
    def most_in_flight(self) -> int:
        """The most requests in flight on any one backend."""
        return max(self.record.most_in_flight.values(), default=0)

    @property
    def evenness(self) -> float | None:
        """How evenly the load was spread: 1 is perfectly even. None if nothing was served.

        A backend's load is its time average of in flight / weight. Evenness is the greatest load
        divided by the mean load, over the backends that serve a requested model. Averages say more
        than peaks, which depend on a single moment.
        """
        # Every average is over the same span of time, so the span cancels out.
        loads = [
            self.record.busy_ms[view.id] / view.weight
            for view in self.views
            if view.id in self.serving
        ]
        total = sum(loads)
        return max(loads) * len(loads) / total if total else None

    def percentiles(self, *percents: int) -> list[int | None]:
        """Percentiles of the latency in simulated milliseconds, by the nearest-rank method."""
        latencies = sorted(self.record.latencies)
        return [
            latencies[ceil(len(latencies) * p / 100) - 1] if latencies else None for p in percents
        ]
