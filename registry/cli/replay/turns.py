"""Turns of threads: at any time, the one whose next event is the earliest runs alone.

Each thread tells the key of its next event before it handles it. Keys are unique. The turn belongs
to the thread with the smallest key, so all events are handled in the order of their keys, whichever
thread has them. A simulation in which every event may change the outcome of the next one therefore
gives the same result with any number of threads.

Only the thread whose turn it is reads or writes `_keys`. It passes the turn on by opening the gate
of the next thread, a semaphore, which also makes its writes visible there.
"""

from __future__ import annotations

import threading
from math import inf

# A time, and what decides between events at the same time.
Key = tuple[float, ...]


class Turns:
    """The turns of so many threads. Thread 0 has the first one."""

    def __init__(self, threads: int) -> None:
        # Until a thread has told its first event, its turn comes before all others.
        self._keys: list[Key] = [(-inf, index) for index in range(threads)]
        self._gates = [threading.Semaphore(0) for _ in range(threads)]

    def begin(self, index: int) -> None:
        """Waits for the first turn. Each thread calls it once, before all else."""
        if index > 0:
            self._gates[index].acquire()

    def wait(self, index: int, key: Key) -> None:
        """Waits until the thread's next event is the earliest of all."""
        following = self._pass_on(index, key)
        if following != index:
            self._gates[index].acquire()

    def end(self, index: int) -> None:
        """Passes the turn on for ever. For a thread without further events."""
        # Behind every event, one at the time `inf` too.
        self._pass_on(index, (inf, inf))

    def abort(self) -> None:
        """Ends the wait of each thread, or its next one. From then on, they don't run alone."""
        for gate in self._gates:
            gate.release()

    def _pass_on(self, index: int, key: Key) -> int:
        self._keys[index] = key
        following = min(range(len(self._keys)), key=self._keys.__getitem__)
        if following != index:
            self._gates[following].release()
        return following
