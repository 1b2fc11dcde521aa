"""`ManualClock`: a registry's time, moved by hand. For tests and simulations."""

from __future__ import annotations

from typing import NoReturn

from registry import _checks
from registry._core import binding

# The core counts nanoseconds in 64 bits. The limit leaves room for every deadline.
LATEST = 86_400 * 365 * 100


class ManualClock(binding.ClockCore):
    """A clock for `Registry(clock=...)` that stands still until `advance` moves it.

    Everything that depends on time then depends on this clock: the end of an ejection or of a
    cool-down, slow start, the age of averages, and the latency samples that leases measure. So a
    test needs no sleeping:

        clock = ManualClock()
        registry = Registry(clock=clock)
        registry.cool_down("a", 30)
        clock.advance(30)

    Several registries may share a clock. It starts at 0, which stands for the time of day at which
    it was made. It belongs to its process and can't be copied or pickled. Thread safety: atomic.
    """

    __slots__ = ()

    def __init__(self) -> None:
        """Makes a clock that shows 0."""

    def advance(self, seconds: float, /) -> None:
        """Moves the clock forward by an int or a float of seconds, at least 0.

        A float is rounded to the nearest nanosecond. O(1); thread safety: atomic, no move is lost.
        Raises TypeError; ValueError if the clock would move backwards, or more than 100 years
        from its start.
        """
        self._advance(_checks.nanoseconds(_seconds(seconds, "seconds")), LATEST * 10**9)

    @property
    def now(self) -> float:
        """The seconds by which the clock was moved. O(1); thread safety: atomic."""
        return self._read() / 1e9

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a ManualClock can't be copied, pickled or sent to another process: it is the time of "
            "registries of this process. Make one in each process"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.now!r} s>"


_seconds = _checks.number(0, LATEST)
