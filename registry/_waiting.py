"""Waiting: until nothing is in flight on a backend, and until a backend qualifies.

All calls hand a `Waiter` to the core, and whoever makes happen what they wait for wakes it: a
thread by releasing a lock, a task by setting a future in its event loop. Nobody polls. A wait that
ends early, by its timeout, a signal or a cancellation, takes its waiter out of the core's list.
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX, allocate_lock
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from registry import _checks
from registry._core.binding import IdleWaiter, PlaceWaiter
from registry.errors import NoBackendAvailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry._core.binding import Lease, RegistryCore


def wait_in_thread(
    registry: RegistryCore, backend_id: object, timeout: object, serial: int | None
) -> bool:
    """`Registry.wait_idle`."""
    exact_id = _checks.exact_text(backend_id, "backend_id")
    seconds = _checks.timeout(timeout, "timeout", TIMEOUT_MAX)
    if registry._wait(exact_id, serial, None):
        return True
    if seconds == 0:
        return False
    sleeper = SleepingThread()
    waiter = IdleWaiter(sleeper.wake)
    try:
        if registry._wait(exact_id, serial, waiter):
            return True
        sleeper.sleep(seconds)
    finally:
        is_woken = waiter.end()
    return is_woken


async def wait_in_task(
    registry: RegistryCore, backend_id: object, timeout: object, serial: int | None
) -> bool:
    """`Registry.idle`."""
    exact_id = _checks.exact_text(backend_id, "backend_id")
    seconds = _checks.timeout(timeout, "timeout", TIMEOUT_MAX)
    if registry._wait(exact_id, serial, None):
        return True
    if seconds == 0:
        return False
    sleeper = SleepingTask()
    sleeper.prepare()
    waiter = IdleWaiter(sleeper.wake)
    try:
        if registry._wait(exact_id, serial, waiter):
            return True
        await sleeper.sleep(seconds)
    finally:
        is_woken = waiter.end()
    return is_woken


# ---- for a place


class _Call:
    """One call that waits for a place, in a thread or in a task."""

    __slots__ = ("deadline", "seconds", "started", "waiter")

    def __init__(
        self,
        wake: Callable[[], object],
        registry: RegistryCore,
        model_id: object,
        timeout: object,
        priority: object,
        given: tuple[object, ...],
    ) -> None:
        exact_id = _checks.exact_text(model_id, "model_id")
        self.seconds = _checks.timeout(timeout, "timeout", TIMEOUT_MAX)
        order = _checks.integer(priority, "priority", -(2**31), 2**31 - 1)
        self.waiter = PlaceWaiter(wake, registry, exact_id, order, *given)
        self.started = monotonic()
        self.deadline = None if self.seconds is None else self.started + self.seconds

    def may_wait(self) -> bool:
        return self.seconds != 0

    def enter(self) -> Lease | None:
        return self.waiter.enter(self.may_wait())

    def look(self) -> Lease | None:
        is_last = self.deadline is not None and monotonic() >= self.deadline
        found = self.waiter.look(is_last)
        if type(found) is not PlaceWaiter:
            return found
        self.waiter = found
        return found.enter(not is_last)

    def pause(self) -> float | None:
        """How long it may sleep, in seconds; None: until it is woken."""
        after = self.waiter.look_after
        if self.deadline is None:
            return after
        left = max(self.deadline - monotonic(), 0.0)
        return left if after is None else min(left, after)

    def note(self, error: NoBackendAvailableError) -> None:
        error.waited = monotonic() - self.started


def acquire_in_thread(
    registry: RegistryCore,
    model_id: object,
    timeout: object,
    priority: object,
    *given: object,
) -> Lease:
    """`Registry.acquire_wait`."""
    sleeper = SleepingThread()
    call = _Call(sleeper.wake, registry, model_id, timeout, priority, given)
    try:
        lease = call.waiter.try_now()
        if lease is None:
            lease = call.enter()
        while lease is None:
            sleeper.sleep(call.pause())
            lease = call.look()
    except NoBackendAvailableError as error:
        call.note(error)
        raise
    finally:
        call.waiter.end()
    return lease


async def acquire_in_task(
    registry: RegistryCore,
    model_id: object,
    timeout: object,
    priority: object,
    *given: object,
) -> Lease:
    """`Registry.acquire_async`."""
    sleeper = SleepingTask()
    call = _Call(sleeper.wake, registry, model_id, timeout, priority, given)
    try:
        lease = call.waiter.try_now()
        if lease is None:
            if call.may_wait():
                sleeper.prepare()
                sleeper.lost = call.waiter.end
            lease = call.enter()
        while lease is None:
            await sleeper.sleep(call.pause())
            lease = call.look()
            sleeper.lost = call.waiter.end
    except NoBackendAvailableError as error:
        call.note(error)
        raise
    finally:
        sleeper.lost = None
        call.waiter.end()
    return lease


# ---- sleep


class SleepingThread:
    """The calling thread, while it sleeps. A wake-up that comes early ends the next sleep."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def sleep(self, seconds: float | None) -> None:
        """Sleeps until `wake`, or for so many seconds. A signal's handler may raise meanwhile."""
        self._lock.acquire(timeout=-1 if seconds is None else seconds)

    def wake(self) -> None:
        """Any thread may call it, and more than once."""
        with suppress(RuntimeError):  # It is awake already.
            self._lock.release()


class SleepingTask:
    """The current task, while it sleeps. A wake-up that comes early ends the next sleep.

    `lost` is called if the event loop is closed before it has delivered a wake-up.
    """

    __slots__ = ("_future", "_loop", "lost")

    def __init__(self) -> None:
        self.lost: Callable[[], object] | None = None

    def prepare(self) -> None:
        """Call it before `wake` may be called. In a coroutine: it takes the running event loop."""
        from asyncio import get_running_loop  # `import registry` shall not import asyncio

        self._loop = get_running_loop()
        self._future = self._loop.create_future()

    async def sleep(self, seconds: float | None) -> None:
        """Sleeps until `wake`, or for so many seconds; other tasks run meanwhile."""
        timer = None if seconds is None else self._loop.call_later(seconds, self.finish)
        try:
            await self._future
        finally:
            if timer is not None:
                timer.cancel()
        self._future = self._loop.create_future()

    def wake(self) -> bool:
        """Any thread may call it, and more than once. False if the loop is closed."""
        wake_up = _WakeUp(self)
        try:
            self._loop.call_soon_threadsafe(wake_up)
        except RuntimeError:
            wake_up.sleeper = None  # The caller learns it from the result.
            if not self._loop.is_closed():  # If it is, its tasks run no more.
                raise
            return False
        return True

    def is_over(self) -> bool:
        """Whether its event loop is closed."""
        return self._loop.is_closed()

    def finish(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def call_after(self, callback: Callable[[], object]) -> None:
        """The event loop calls it after the step of the task whose sleep is over."""
        self._loop.call_soon(callback)


class _WakeUp:
    """A wake-up on its way through an event loop, which may be closed before it arrives.

    It has arrived when the task runs. The loop calls the wake-up, which makes the loop run the task
    soon, and asks to be called once more: the loop does what it was asked for first. So the second
    call comes after the task's step, and from the first one on to the second one `lost` is still
    called if the loop is closed.
    """

    __slots__ = ("is_on_its_way", "sleeper")

    def __init__(self, sleeper: SleepingTask) -> None:
        self.sleeper: SleepingTask | None = sleeper
        self.is_on_its_way = True

    def __call__(self) -> None:
        sleeper = self.sleeper
        if sleeper is None:
            return
        if self.is_on_its_way:
            self.is_on_its_way = False
            sleeper.finish()
            if sleeper.lost is not None:
                sleeper.call_after(self)
                return
        self.sleeper = None

    def __del__(self) -> None:
        sleeper = self.sleeper
        if sleeper is None or not sleeper.is_over():
            return
        lost = sleeper.lost  # The call may end meanwhile.
        if lost is not None:
            lost()
