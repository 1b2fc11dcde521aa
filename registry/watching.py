"""`Watch`, `Change` and `ChangeKind`: following the changes of a registry."""

from __future__ import annotations

from _thread import TIMEOUT_MAX
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, Self

from registry import _checks
from registry._core import binding
from registry._single_import import refuse_second_import
from registry._waiting import SleepingTask, SleepingThread
from registry.backend import BackendView

if TYPE_CHECKING:
    from types import TracebackType

    from registry._registry import Registry

refuse_second_import()


class ChangeKind(StrEnum):
    """What a `Change` tells."""

    ADDED = "added"
    """A backend was registered: `after` is its first view."""
    REMOVED = "removed"
    """A backend was removed: `before` is its last view."""
    REPLACED = "replaced"
    """Another server took the place of a backend: the views are of two registrations."""
    UPDATED = "updated"
    """The definition was changed; the registration is the same."""
    STATUS = "status"
    """`Registry.update_status` was called, even if only the check time has changed."""
    DRAINING = "draining"
    """An operator has set or cleared `draining`."""
    AVAILABILITY = "availability"
    """The backend was ejected, or restored; if by a trial, `before` shows ON_TRIAL."""
    OVERFLOWED = "overflowed"
    """Too many changes were unread, and were dropped. `Watch.snapshot` is the fleet now."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a registry. Immutable; thread safety: atomic.

    `version` is the version of the registry that the write made. It grows with every write; all
    changes of one `reconcile` have the same. `before` and `after` are views of the backend one
    version earlier and at this version, None if there was or is none. Their counters are those of
    the time of the change. For OVERFLOWED, `backend_id`, `before` and `after` are None.
    """

    kind: ChangeKind
    version: int
    backend_id: str | None
    before: BackendView | None
    after: BackendView | None


binding.bind_changes(Change, tuple(ChangeKind))
binding.immortalize(*ChangeKind)


class Watch(binding.WatchCore):
    """A stream of the changes of a registry, from `Registry.watch`.

    `snapshot` is the fleet at the instant the watch was opened. What follows is every later change,
    once, in the order in which the changes took effect: snapshot plus changes is the registry.

        with registry.watch() as watch:
            for change in watch:
                print(change.version, change.kind, change.backend_id)

    A watch is an iterator, an async iterator (for asyncio), and a context manager of both kinds;
    leaving the block closes it. So does the garbage collector. Iteration waits for the next change,
    and ends when the watch is closed.

    If more than `limit` changes are unread, or one write makes more than `limit` changes at once,
    they are dropped. The next item is then one OVERFLOWED, and `snapshot` is the fleet as of its
    version. Writers never wait for a watch and never run its reader's code.

    A watch keeps its registry alive. It belongs to its process and can't be copied or pickled; in
    the child of a fork it is closed. Thread safety: atomic. Several threads and tasks may read one
    watch: each change goes to one of them.
    """

    __slots__ = ()

    def __init__(self, registry: Registry, limit: int) -> None:
        """Opens a watch; see `Registry.watch`."""

    def get(self, timeout: float | None = None) -> Change | None:
        """Waits for the next change; None if the watch is closed, or after `timeout` seconds.

        0 does not wait; None waits without end. Other threads run meanwhile, and signals are
        handled. O(1); the call that returns an OVERFLOWED waits for writers and takes O(backends).
        Thread safety: atomic. Raises TypeError, or ValueError if the timeout is negative.
        """
        seconds = _checks.timeout(timeout, "timeout", TIMEOUT_MAX)
        deadline = None if seconds is None else monotonic() + seconds
        while True:
            change = self._take()
            if change is not None or self.closed:
                return change
            left = None
            if deadline is not None:
                left = deadline - monotonic()
                if left <= 0:
                    return None
            self._sleep(left)

    def _sleep(self, seconds: float | None) -> None:
        """Sleeps until there may be a change, but no longer than that; None is without end."""
        sleeper = SleepingThread()
        waiter = binding.WatchWaiter(sleeper.wake)
        if self._listen(waiter):
            try:
                sleeper.sleep(seconds)
            finally:
                self._forget(waiter)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        change = self.get()
        if change is None:
            raise StopIteration
        return change

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        # A task that is cancelled here loses nothing: it takes a change only to return it at once.
        while True:
            change = self._take()
            if change is not None:
                return change
            if self.closed:
                raise StopAsyncIteration
            await self._pause()

    async def _pause(self) -> None:
        """Lets other tasks run until there may be a change."""
        sleeper = SleepingTask()
        sleeper.prepare()
        waiter = binding.WatchWaiter(sleeper.wake)
        if self._listen(waiter):
            try:
                await sleeper.sleep(None)
            finally:
                self._forget(waiter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Watch can't be copied, pickled or sent to another process: it follows a registry of "
            "this process. Send its changes' ids, or to_json() of their views"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {'closed' if self.closed else 'open'}>"
