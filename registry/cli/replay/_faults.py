"""The faults of a replay: what a faulty backend does to a request, and when.

Each fault has one backend and a span of simulated time; a request meets it if it starts there
within the span. Of several faults at the same time on a backend, the first in the file holds.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Annotated, ClassVar, NamedTuple

import msgspec

from registry import BackendStatus

AT_ONCE = 0.001  # seconds until a fast failure
HEALTH_CHECK = 10.0  # seconds until a health check sees that a backend is down, or is back

LongTime = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class Moment(float):
    """Seconds of simulated time, in a file a text such as `"90 s"` or `"10 min"`."""


class Effect(NamedTuple):
    """How a request ends: after how long, whether it has failed, and the `Retry-After`.

    `first_token` is the time until its first token in seconds, where a replay simulates that.
    """

    seconds: float
    failed: bool = False
    retry_after: float | None = None
    first_token: float | None = None


class Fault(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag_field="kind",
    forbid_unknown_fields=True,
    rename={"start": "from", "end": "to"},
):
    """A fault of a backend, from `start` until before `end`."""

    backend: str
    start: Moment = Moment(0.0)
    end: Moment = Moment(inf)
    # How many requests the fault hits; None: all within its span.
    requests: ClassVar[int | None] = None

    @property
    def kind(self) -> str:
        """The kind, as in the file."""
        return str(type(self).__struct_config__.tag)

    def holds_at(self, now: float) -> bool:
        """Whether `now` is within the span."""
        return self.start <= now < self.end

    def hit(self, seconds: float, chance: float, /) -> Effect:
        """What becomes of a request that would take `seconds`. `chance` is random, in [0, 1)."""
        raise NotImplementedError


class FastFailure(Fault, frozen=True, kw_only=True, tag="fast_failure"):
    """Each request fails within a millisecond."""

    def hit(self, _seconds: float, _chance: float, /) -> Effect:
        return Effect(AT_ONCE, failed=True)


class Down(FastFailure, frozen=True, kw_only=True, tag="down"):
    """Connections are refused, and health checks see it: 10 s later the backend is UNHEALTHY, and
    10 s after its end HEALTHY again."""


class TimeOut(Fault, frozen=True, kw_only=True, tag="time_out"):
    """Each request hangs for `seconds` and then fails."""

    seconds: LongTime

    def hit(self, _seconds: float, _chance: float, /) -> Effect:
        return Effect(self.seconds, failed=True)


class ErrorRate(Fault, frozen=True, kw_only=True, tag="error_rate"):
    """A share of the requests, `rate`, fails after the time that a good answer takes."""

    rate: Annotated[float, msgspec.Meta(ge=0, le=1)]

    def hit(self, seconds: float, chance: float, /) -> Effect:
        return Effect(seconds, failed=chance < self.rate)


class TooMany(Fault, frozen=True, kw_only=True, tag="too_many_requests"):
    """Each request is answered at once with 429 and a `Retry-After` of `retry_after` seconds."""

    retry_after: LongTime

    def hit(self, _seconds: float, _chance: float, /) -> Effect:
        return Effect(AT_ONCE, failed=True, retry_after=self.retry_after)


class SlowStart(Fault, frozen=True, kw_only=True, tag="slow_start"):
    """The first `requests` requests of the span take `times` as long: a model is being loaded."""

    requests: Annotated[int, msgspec.Meta(ge=1)]  # type: ignore[misc]
    times: Annotated[float, msgspec.Meta(ge=1, le=1_000_000)]

    def hit(self, seconds: float, _chance: float, /) -> Effect:
        return Effect(seconds * self.times)


AnyFault = FastFailure | Down | TimeOut | ErrorRate | TooMany | SlowStart


class Faults:
    """The faults of one replay, and how many requests each has hit. Shared by all workers.

    The definitions never change. The counts of hits have a lock: a slow start must end after
    exactly so many requests.
    """

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.all: tuple[Fault, ...] = tuple(faults)
        self._of: dict[str, list[int]] = {}
        for index, fault in enumerate(self.all):
            self._of.setdefault(fault.backend, []).append(index)
        self._hits: Counter[int] = Counter()
        self._lock = threading.Lock()

    def any_at(self, now: float) -> bool:
        """Whether any backend has a fault at this time."""
        return any(fault.holds_at(now) for fault in self.all)

    def meet(self, backend_id: str, now: float) -> int | None:
        """The index of the fault that a request meets which starts now, or None. Counts it."""
        for index in self._of.get(backend_id, ()):
            fault = self.all[index]
            if fault.holds_at(now):
                with self._lock:
                    if fault.requests is None or self._hits[index] < fault.requests:
                        self._hits[index] += 1
                        return index
        return None

    def ended(self, backend_id: str, now: float) -> list[int]:
        """The faults of a backend that are over."""
        return [index for index in self._of.get(backend_id, ()) if self.all[index].end <= now]

    def health_checks(self) -> list[tuple[float, str, BackendStatus]]:
        """What health checks find, and when, in order of time."""
        found = []
        for fault in self.all:
            if isinstance(fault, Down):
                found.append((fault.start + HEALTH_CHECK, fault.backend, BackendStatus.UNHEALTHY))
                if fault.end < inf:
                    found.append((fault.end + HEALTH_CHECK, fault.backend, BackendStatus.HEALTHY))
        return sorted(found)
