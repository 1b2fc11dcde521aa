"""The simulated clock of a registry, which follows the clocks of the workers.

Each worker has a clock of its own. The registry's clock shows the furthest time that any worker
has reached, so it only moves forward. Every move is made under one lock, which compares the time
reached with the clock and advances it by the difference: two workers can't both add theirs. `now`
changes under the lock and only grows, so a worker may skip the lock if it reads a `now` that is not
before its own time; an old value only makes it take the lock for nothing.

A worker that is behind acts on a registry that is ahead of it by at most the distance that the
barrier of worker.py allows. With one thread the two clocks are equal at every call, so a replay
gives the same result each time (except for the choices that policies make at random).

Health checks are made on the way: the clock stops at the time of each, so its write has that time.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

from registry import BackendStatus, Registry
from registry.testing import ManualClock


class SimulatedClock:
    """A `ManualClock` that follows the workers, and the health checks that are due."""

    def __init__(
        self,
        registry: Registry,
        manual: ManualClock,
        health_checks: Iterable[tuple[float, str, BackendStatus]] = (),
    ) -> None:
        self._registry = registry
        self._manual = manual
        self._due = deque(health_checks)  # in order of time
        self._lock = threading.Lock()
        self.now: float = 0.0

    def reach(self, now: float) -> None:
        """Moves the clock forward to `now`, in seconds. Does nothing if it is there already."""
        if now <= self.now:
            return
        with self._lock:
            while self._due and self._due[0][0] <= now:
                when, backend_id, status = self._due.popleft()
                self._move(when)
                self._registry.update_status(backend_id, status)
            self._move(now)

    def _move(self, now: float) -> None:
        # The difference to the clock itself, not to `self.now`: roundings would add up.
        ahead = now - self._manual.now
        if ahead > 0:
            self._manual.advance(ahead)
        self.now = max(self.now, now)
