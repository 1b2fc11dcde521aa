"""Waiting until nothing is in flight on a backend: `Registry.wait_idle` and `Registry.idle`.

Both hand an `IdleWaiter` to the core, and the decrement that reaches 0 wakes it: a thread by
releasing a lock, a task by setting a future in its event loop. Nobody polls. A wait that ends
early, by its timeout, a signal or a cancellation, takes its waiter out of the core's list.
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX, allocate_lock
from typing import TYPE_CHECKING

from registry import _checks
from registry._core.binding import IdleWaiter

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable

    from registry._core.binding import RegistryCore


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
    lock = allocate_lock()
    lock.acquire()
    waiter = IdleWaiter(lock.release)
    try:
        if registry._wait(exact_id, serial, waiter):
            return True
        # Until the waker releases the lock. A signal's handler runs meanwhile, and may raise.
        lock.acquire(timeout=-1 if seconds is None else seconds)
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
    from asyncio import get_running_loop  # only here: `import registry` shall not import asyncio

    loop = get_running_loop()
    future = loop.create_future()
    waiter = IdleWaiter(waker(loop, future))
    timer = None if seconds is None else loop.call_later(seconds, _finish, future)
    try:
        if registry._wait(exact_id, serial, waiter):
            return True
        await future
    finally:
        is_woken = waiter.end()
        if timer is not None:
            timer.cancel()
    return is_woken


def waker(loop: AbstractEventLoop, future: Future[None]) -> Callable[[], None]:
    """Returns what ends the future. Any thread may call it, and more than once."""

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(_finish, future)
        except RuntimeError:
            if not loop.is_closed():  # If it is, its tasks run no more.
                raise

    return wake


def _finish(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
