"""The executable contract of outcomes: ejections, trials, cool-downs, slow starts, old averages.

Times are nanoseconds of the registry's clock. A deadline that passes changes nothing here: whoever
asks compares it with the clock.

A release is several steps, because the contract promises no more: `count_outcome`, `settle`, and
`free_place` (docs/guarantees.md, Failures). A test with one thread makes them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from registry import Ejection, Reason

# Weights are counted in these fractions, rounded down, so that a tenth of 1 is not 0.
WEIGHT_UNIT = 64

# "asked": the server asked for rest, with `retry_after`.
Outcome = Literal["succeeded", "failed", "asked", "abandoned"]

# What an outcome calls for. "eject again": the failure of a backend whose time was over.
Due = Literal["cool down", "eject", "eject again", "count success"]


def nanoseconds(seconds: float) -> int:
    """The time in the unit of this page."""
    return round(seconds * 10**9)


def mixed(old: int | None, sample: int) -> int:
    """The first sample becomes the average. Later: (sample + 4 * old) / 5, rounded down."""
    return sample if old is None else (sample + 4 * old) // 5


@dataclass(kw_only=True)
class Availability:
    """What a registration has learned from its requests. Every value is immutable."""

    is_ejected: bool = False  # until it is restored, even when the time is over
    ejected_until: int = 0
    ejections: int = 0  # in a row
    restored_at: int | None = None  # since the last ejection
    successes: int = 0  # of the trial
    trial_is_out: bool = False
    era: int = 0  # how many ejections there were
    transitions: int = 0  # how many ejections and restorations
    cooling_until: int = 0
    slow_from: int | None = None
    row: int = 0  # of failures
    window_from: int | None = None  # when the first window began
    counted: tuple[tuple[int, bool], ...] = ()  # time and failure of each outcome of this era
    average: int | None = None  # of the latency; None until the first sample
    sampled_at: int = 0  # the time of the last one
    first_token: int | None = None  # the average time to the first token
    token_at: int = 0  # the time of its last sample


@dataclass(frozen=True)
class Ticket:
    """What a lease remembers of the instant of its choice."""

    era: int
    started: int
    trial_of: int | None  # the number of transitions, if it is a trial


def state_of(entry: Availability) -> tuple[object, ...]:
    """All of it, to compare. The clock stands still between two states that are compared."""
    return tuple(getattr(entry, name) for name in Availability.__dataclass_fields__)


class Failures:
    """The rules of one registry, and the clock. Without rules, nothing is ejected."""

    def __init__(
        self,
        rules: Ejection | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        latency_ttl_s: float | None = None,
    ) -> None:
        self.rules, self.clock, self.latency_ttl_s = rules, clock, latency_ttl_s

    def now(self) -> int:
        return nanoseconds(self.clock())

    def is_registered(self, entry: Availability) -> bool:
        """Whether it is still in the registry, and not removed or replaced."""
        raise NotImplementedError

    # ---- What choices and views ask.

    def obstacle(self, entry: Availability, *, ignores_ejection: bool = False) -> Reason | None:
        """What keeps requests away for a time. A cool-down is never ignored."""
        if self.now() < entry.cooling_until:
            return Reason.COOLING_DOWN
        if not entry.is_ejected or ignores_ejection:
            return None
        if self.now() < entry.ejected_until:
            return Reason.EJECTED
        return Reason.ON_TRIAL if entry.trial_is_out else None

    def deadline(self, entry: Availability, *, ignores_ejection: bool = False) -> int | None:
        """When time alone brings it back; of two deadlines the later one."""
        obstacle = self.obstacle(entry, ignores_ejection=ignores_ejection)
        if obstacle not in (Reason.COOLING_DOWN, Reason.EJECTED):
            return None
        is_ejected = entry.is_ejected and not ignores_ejection
        return max(entry.cooling_until, entry.ejected_until if is_ejected else 0)

    def weight_of(self, entry: Availability, weight: int) -> int:
        """The weight in fractions: it grows from a tenth to the whole within the slow start."""
        whole = weight * WEIGHT_UNIT
        if self.rules is None or entry.slow_from is None:
            return whole
        elapsed, span = self.now() - entry.slow_from, nanoseconds(self.rules.slow_start_s)
        return whole if elapsed >= span else int(whole * (0.1 + 0.9 * elapsed / span))

    def counted_average(self, entry: Availability) -> int | None:
        """The average latency, unless its last sample is too old."""
        return None if self._is_old(entry.sampled_at) else entry.average

    def counted_first_token(self, entry: Availability) -> int | None:
        """The average time to the first token, likewise."""
        return None if self._is_old(entry.token_at) else entry.first_token

    def _is_old(self, sampled_at: int) -> bool:
        ttl = self.latency_ttl_s
        return ttl is not None and self.now() - sampled_at > nanoseconds(ttl)

    # ---- The requests of a registration.

    def begin_windows(self, entry: Availability) -> None:
        """The first request, sample, cool-down or slow start of a registration does this."""
        if entry.window_from is None:
            entry.window_from = self.now()

    def begin_request(self, entry: Availability, *, ignores_ejection: bool) -> Ticket:
        """A request is sent there. It is a trial if the backend is ejected, and its time over.

        In a panic it may go there although the time runs, or beside a trial: then it is none.
        """
        self.begin_windows(entry)
        is_due = self.now() >= entry.ejected_until and not entry.trial_is_out
        is_trial = entry.is_ejected and (is_due or not ignores_ejection)
        entry.trial_is_out |= is_trial
        return Ticket(entry.era, self.now(), entry.transitions if is_trial else None)

    def add_sample(self, entry: Availability, latency_ms: int) -> int:
        """A sample after an average that is too old begins a new one."""
        self.begin_windows(entry)
        entry.average = mixed(self.counted_average(entry), latency_ms)
        entry.sampled_at = self.now()
        return entry.average

    def add_token(self, entry: Availability, ticket: Ticket) -> None:
        """The first token of a request has arrived."""
        entry.first_token = mixed(self.counted_first_token(entry), self.elapsed_ms(ticket))
        entry.token_at = self.now()

    def elapsed_ms(self, ticket: Ticket) -> int:
        """Whole milliseconds since the choice."""
        return (self.now() - ticket.started) // 10**6

    def count_outcome(self, entry: Availability, ticket: Ticket, outcome: Outcome) -> Due | None:
        """Counts in rows and windows, and returns what that calls for.

        A request that was chosen before the last ejection counts for nothing. Of an ejected
        backend, a success counts as a trial's; a failure counts if the time is over.
        """
        if outcome == "asked":
            return "cool down"
        if outcome == "abandoned" or self.rules is None or ticket.era != entry.era:
            return None
        if entry.is_ejected:
            if outcome == "succeeded":
                return "count success"
            return "eject again" if self.now() >= entry.ejected_until else None
        if outcome == "failed":
            return "eject" if self._count_failure(entry) else None
        entry.row = 0
        entry.counted += ((self.now(), False),)
        return None

    def _count_failure(self, entry: Availability) -> bool:
        """Returns whether that ejects."""
        assert self.rules is not None
        entry.row += 1
        entry.counted += ((self.now(), True),)
        limit, rate = self.rules.consecutive_failures, self.rules.failure_rate
        if limit is not None and entry.row >= limit:
            return True
        judged = self._judged(entry)
        return (
            rate is not None
            and len(judged) >= self.rules.min_requests
            and sum(judged) / len(judged) >= rate
        )

    def _judged(self, entry: Availability) -> list[bool]:
        """The outcomes of this window and the one before: of one to two times its length."""
        assert self.rules is not None
        assert entry.window_from is not None
        length, first = nanoseconds(self.rules.window_s), entry.window_from
        this = (self.now() - first) // length
        return [
            has_failed for time, has_failed in entry.counted if (time - first) // length >= this - 1
        ]

    def settle(self, entry: Availability, ticket: Ticket, due: Due | None, rest: int = 0) -> None:
        """Does what the outcome calls for, at one instant, unless that is out of date.

        `rest` is the time of a cool-down. A backend that has been restored meanwhile counts the
        failure that was to eject it again as one in a row.
        """
        if due is None or not self.is_registered(entry):
            return
        if due == "cool down":
            self.rest(entry, rest)
        elif ticket.era != entry.era:
            return
        elif due == "count success":
            self._count_success(entry)
        elif entry.is_ejected:
            if self.now() >= entry.ejected_until:
                self._eject(entry)
        elif due == "eject" or self._count_failure(entry):
            self._eject(entry)

    def free_place(self, entry: Availability, ticket: Ticket) -> None:
        """The place of a trial is free again, unless an ejection or a restoration has freed it."""
        if ticket.trial_of == entry.transitions:
            entry.trial_is_out = False

    # ---- Transitions.

    def _count_success(self, entry: Availability) -> None:
        assert self.rules is not None
        if not entry.is_ejected:
            return
        entry.successes += 1
        if entry.successes >= self.rules.trials:
            self._bring_back(entry)
            self.start_slowly(entry)

    def _bring_back(self, entry: Availability) -> None:
        entry.is_ejected = entry.trial_is_out = False
        entry.restored_at = self.now()
        entry.transitions += 1

    def _eject(self, entry: Availability) -> None:
        """The n-th in a row lasts base_s * 2**(n-1), at most max_s. Everything counts anew."""
        assert self.rules is not None
        now, longest = self.now(), nanoseconds(self.rules.max_s)
        if entry.restored_at is not None and now - entry.restored_at >= longest:
            entry.ejections = 0
        entry.ejections += 1
        lasts = min(nanoseconds(self.rules.base_s) * 2 ** (entry.ejections - 1), longest)
        entry.is_ejected, entry.ejected_until = True, now + lasts
        entry.trial_is_out = False
        entry.restored_at = entry.slow_from = None
        entry.successes = entry.row = 0
        entry.window_from, entry.counted = now, ()
        entry.era += 1
        entry.transitions += 1

    def start_slowly(self, entry: Availability) -> None:
        if self.rules is not None and self.rules.slow_start_s > 0:
            self.begin_windows(entry)
            entry.slow_from = self.now()

    def rest(self, entry: Availability, span: int) -> None:
        """The deadline moves later, never earlier."""
        self.begin_windows(entry)
        entry.cooling_until = max(entry.cooling_until, self.now() + span)

    def bring_back_by_hand(self, entry: Availability) -> None:
        """Ends everything at once. The number of ejections in a row stays."""
        entry.cooling_until, entry.slow_from = 0, None
        if entry.is_ejected:
            self._bring_back(entry)
