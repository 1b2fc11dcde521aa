"""The result of a replay, and the figures that compare policies."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, fsum, inf
from typing import TypeVar

from registry import BackendView, Policy
from registry.cli.replay._faults import Fault

T = TypeVar("T", int, float)


@dataclass(slots=True)
class Record:
    """What one worker saw, or all of them. Starts are in simulated seconds, latencies and
    `busy_ms` in simulated milliseconds.

    `starts`, `times` and `busy_ms` are of attempts, so a retried request is in them twice.
    `latencies` are of requests that succeeded, from their first attempt on.
    """

    done: int = 0  # requests that succeeded or failed
    failed: int = 0  # those that failed, after a retry or because nobody was left for it
    rejected: int = 0
    retries: int = 0
    during_faults: int = 0  # attempts that started while any backend had a fault
    # By the index of the fault: the attempts that met it, those of them that failed, and the start
    # of the first attempt after its end that succeeded on its backend.
    to_faulty: Counter[int] = field(default_factory=Counter)
    failures: Counter[int] = field(default_factory=Counter)
    back_at: dict[int, float] = field(default_factory=dict)
    most_in_flight: Counter[str] = field(default_factory=Counter)
    busy_ms: Counter[str] = field(default_factory=Counter)
    starts: array[float] = field(default_factory=lambda: array("d"))
    times: array[int] = field(default_factory=lambda: array("I"))
    latencies: array[int] = field(default_factory=lambda: array("I"))
    # Where backends have engines: simulated milliseconds to the first token of each request, and
    # the blocks of all prompts, with those that the engines' caches had.
    first_tokens: array[float] = field(default_factory=lambda: array("d"))
    blocks: int = 0
    cached_blocks: int = 0

    def add(self, backend_id: str, in_flight: int, start: float, time_ms: int) -> None:
        """Records an attempt that starts on a backend, whose count is then `in_flight`."""
        if in_flight > self.most_in_flight[backend_id]:
            self.most_in_flight[backend_id] = in_flight
        self.busy_ms[backend_id] += time_ms
        self.starts.append(start)
        self.times.append(time_ms)

    def read(self, blocks: int, cached: int) -> None:
        """Records a prompt that an engine reads, `cached` of its blocks from its cache."""
        self.blocks += blocks
        self.cached_blocks += cached

    def succeed(self, latency_ms: int) -> None:
        """Records the end of a request that succeeded."""
        self.done += 1
        self.latencies.append(latency_ms)

    def fail(self) -> None:
        """Records the end of a request that failed."""
        self.done += 1
        self.failed += 1

    def recover(self, fault: int, start: float) -> None:
        """Records a success on the backend of a fault that is over."""
        self.back_at[fault] = min(start, self.back_at.get(fault, inf))

    def merge(self, other: Record) -> None:
        """Adds another worker's record to this one."""
        self.done += other.done
        self.failed += other.failed
        self.rejected += other.rejected
        self.retries += other.retries
        self.during_faults += other.during_faults
        self.to_faulty += other.to_faulty
        self.failures += other.failures
        for fault, start in other.back_at.items():
            self.recover(fault, start)
        self.most_in_flight |= other.most_in_flight
        self.busy_ms += other.busy_ms
        self.starts += other.starts
        self.times += other.times
        self.latencies += other.latencies
        self.first_tokens += other.first_tokens
        self.read(other.blocks, other.cached_blocks)


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
    faults: tuple[Fault, ...] = ()
    has_engines: bool = False
    variant: str | None = None  # the name of a row that is not a policy

    @property
    def name(self) -> str:
        """The name of its row: the policy's, unless it is a variant."""
        return self.policy.value if self.variant is None else self.variant

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
        """Whether the registry counted every attempt exactly once, and none is left in flight."""
        record = self.record
        return (
            self.left_in_flight == 0
            and self.total == record.done + record.retries
            and sum(view.failed_requests for view in self.views) == record.failures.total()
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

    @property
    def faulty_share(self) -> float | None:
        """Of the attempts that started while any backend had a fault, the share that met one."""
        during = self.record.during_faults
        return self.record.to_faulty.total() / during if during else None

    def recovery(self, fault: int) -> float | None:
        """Simulated seconds from the end of a fault until its backend serves again: to the start
        of the first attempt there after the end that succeeds. None if there is none."""
        back_at = self.record.back_at.get(fault)
        return None if back_at is None else back_at - self.faults[fault].end

    @property
    def recoveries(self) -> list[float | None]:
        """The time to recovery of each fault that has an end."""
        return [self.recovery(i) for i, fault in enumerate(self.faults) if fault.end < inf]

    @property
    def prefix_hit_share(self) -> float | None:
        """Of the blocks of all prompts, the share that the engines had in their caches."""
        record = self.record
        return record.cached_blocks / record.blocks if record.blocks else None

    @property
    def mean_to_first_token(self) -> float | None:
        """The mean time to the first token in simulated milliseconds."""
        times = self.record.first_tokens
        return fsum(times) / len(times) if times else None

    def percentiles(self, *percents: int) -> list[int | None]:
        """Percentiles of the latency in simulated milliseconds."""
        return nearest_ranks(self.record.latencies, percents)

    def percentiles_to_first_token(self, *percents: int) -> list[float | None]:
        """Percentiles of the time to the first token in simulated milliseconds."""
        return nearest_ranks(self.record.first_tokens, percents)


def nearest_ranks(samples: Iterable[T], percents: Sequence[int]) -> list[T | None]:
    """Percentiles by the nearest-rank method. None for each if there is no sample."""
    ranked = sorted(samples)
    return [ranked[ceil(len(ranked) * p / 100) - 1] if ranked else None for p in percents]
