"""`wait_idle` and `idle`: when they end, what they leave behind, and that no wake-up is lost."""

from __future__ import annotations

import asyncio
import gc
import logging
import queue
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from long import waits
from support import broken
from support.children import run_clean_child
from support.fleets import make_backend
from support.rounds import at_once
from support.threads import run_threads

from registry import BackendNotFoundError, Lease, Registry
from registry._core.binding import IdleWaiter

LONG = 60.0  # Seconds after which a wait that should have been woken gives up.


class Observed(Registry):
    """A registry that counts its calls of `_wait`, and the waits that have begun."""

    looks = begun = 0

    def _wait(self, backend_id: str, serial: int | None, waiter: IdleWaiter | None, /) -> bool:
        self.looks += 1
        is_idle = super()._wait(backend_id, serial, waiter)
        self.begun += waiter is not None
        return is_idle


@pytest.fixture
def one() -> Iterator[Observed]:
    """A registry with one healthy backend, b, that serves m. No waiter may be left at the end."""
    gc.collect()
    before = waiters()
    registry = Observed()
    registry.add_backend(make_backend("b", "m"))
    registry.update_status("b", "healthy")
    yield registry
    gc.collect()
    assert waiters() == before


def waiters() -> int:
    """The number of waiters that exist."""
    return sum(type(thing) is IdleWaiter for thing in gc.get_objects())


def serial_of(registry: Registry) -> int:
    """The serial of b's registration."""
    return registry._read("b")[1]


def wait_in_task(registry: Registry, *given: Any, **named: Any) -> bool:
    """`idle` with the arguments of `wait_idle`, in an event loop of its own."""
    return asyncio.run(registry.idle(*given, **named))


def wait_in_thread(registry: Registry, *given: Any, **named: Any) -> bool:
    """`wait_idle`."""
    return registry.wait_idle(*given, **named)


BOTH = pytest.mark.parametrize("wait", [wait_in_thread, wait_in_task])
Wait = Callable[..., bool]


class Waiting:
    """A thread that has begun to wait for b, or for another id."""

    def __init__(self, registry: Observed, wait: Wait, *given: Any, **named: Any) -> None:
        self.results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        before = registry.begun

        def run() -> None:
            try:
                self.results.put(wait(registry, *(given or ("b", LONG)), **named))
            except BaseException as error:
                self.results.put(error)

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        while registry.begun == before and self.results.empty():
            threading.Event().wait(0.001)

    def result(self) -> Any:
        """What the wait returned, or the exception that it raised."""
        found = self.results.get(timeout=LONG)
        self.thread.join()
        return found


# ---- When a wait ends.


@BOTH
def test_an_idle_backend_is_not_waited_for(one: Observed, wait: Wait) -> None:
    assert wait(one, "b") is True
    assert wait(one, "b", 0) is True
    with one.acquire("m"):
        pass
    assert wait(one, "b", timeout=0.0, serial=serial_of(one)) is True


@BOTH
def test_a_timeout_of_0_looks_once(one: Observed, wait: Wait) -> None:
    with one.acquire("m"):
        for timeout in (0, 0.0, -0.0):
            assert wait(one, "b", timeout) is False


@BOTH
def test_a_wait_ends_after_its_timeout(one: Observed, wait: Wait) -> None:
    with one.acquire("m"):
        assert wait(one, "b", 0.02) is False
        assert wait(one, "b", timeout=1e-9) is False


def collect(lease_box: list[Lease]) -> None:
    """Loses the lease without a release."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        lease_box.clear()
        gc.collect()


def fail(lease: Lease) -> None:
    """Leaves the block of the lease with an exception."""
    with suppress(ZeroDivisionError), lease:
        raise ZeroDivisionError


def release_badly(lease: Lease) -> None:
    """Releases the lease with a bad argument."""
    with pytest.raises(TypeError):
        lease.release("5")  # type: ignore[arg-type]


ENDS: dict[str, Callable[[Registry, list[Lease]], object]] = {
    "release": lambda _, box: box[0].release(),
    "failed": lambda _, box: box[0].release(failed=True),
    "float": lambda _, box: box[0].release(1.5),
    "bad argument": lambda _, box: release_badly(box[0]),
    "block": lambda _, box: fail(box[0]),
    "collected": lambda _, box: collect(box),
    "decrement": lambda registry, _: registry.decrement_pending("b"),
    "in bulk": lambda registry, _: registry.decrement_pending_many(["b"]),
}


@BOTH
@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_last_request_ends_the_wait(one: Observed, wait: Wait, end: str) -> None:
    box = [one.acquire("m")]
    others = [one.acquire("m"), one.acquire("m")]
    waiting = Waiting(one, wait)
    for lease in others:
        lease.release()
    assert waiting.results.empty()
    ENDS[end](one, box)
    assert waiting.result() is True
    assert one.wait_idle("b", 0)
    if box and box[0].active:
        one.increment_pending("b")
        box[0].release()


@BOTH
def test_a_backend_that_is_busy_again_at_once_was_idle(one: Observed, wait: Wait) -> None:
    """The wait returns True although the number is above 0 when it returns."""
    lease = one.acquire("m")
    waiting = Waiting(one, wait)
    lease.release()
    with one.acquire("m"):
        assert waiting.result() is True
        assert not one.wait_idle("b", 0)


@BOTH
def test_a_removed_backend_is_waited_for(one: Observed, wait: Wait) -> None:
    """The wait belongs to the old registration, and not to a new one under the same id."""
    leases = [one.acquire("m"), one.acquire("m")]
    waiting = Waiting(one, wait)
    one.remove_backend("b")
    leases[0].release()
    one.add_backend(make_backend("b", "m"))
    one.increment_pending("b")
    one.decrement_pending("b")
    assert waiting.results.empty()
    leases[1].release()
    assert waiting.result() is True


def test_a_wait_outlives_updates_of_the_definition(one: Observed) -> None:
    lease = one.acquire("m")
    waiting = Waiting(one, wait_in_thread)
    one.update_models("b", [])
    one.update_status("b", "unhealthy", "boom")
    lease.release()
    assert waiting.result() is True


def test_only_those_who_wait_for_the_backend_are_woken(one: Observed) -> None:
    for number in range(70):
        one.add_backend(make_backend(f"x{number}", "n"))
        one.increment_pending(f"x{number}")
    lease = one.acquire("m")
    waiting = [Waiting(one, wait) for wait in (wait_in_thread, wait_in_task) * 2]
    others = [Waiting(one, wait_in_thread, f"x{number}", LONG) for number in range(3)]
    lease.release()
    assert [one_of.result() for one_of in waiting] == [True] * 4
    assert all(other.results.empty() for other in others)
    one.decrement_pending_many([f"x{number}" for number in range(3)])
    assert [other.result() for other in others] == [True] * 3


# ---- Arguments.


@BOTH
def test_a_serial_names_one_registration(one: Observed, wait: Wait) -> None:
    serial = serial_of(one)
    lease = one.acquire("m")
    waiting = Waiting(one, wait, "b", LONG, serial=serial)
    one.remove_backend("b")
    one.add_backend(make_backend("b", "m"))
    assert serial_of(one) > serial
    assert wait(one, "b", serial=serial_of(one)) is True
    for wrong in (serial, 0, 2**64 - 1):
        with pytest.raises(BackendNotFoundError, match="'b'"):
            wait(one, "b", serial=wrong)
    lease.release()
    assert waiting.result() is True


@BOTH
@pytest.mark.parametrize(
    ("given", "named", "error", "message"),
    [
        (("no",), {}, BackendNotFoundError, "'no'"),
        (("\ud800",), {}, BackendNotFoundError, "ud800"),
        ((5,), {}, TypeError, "^backend_id must be a str, not int$"),
        (("b", -1), {}, ValueError, "^timeout must be at least 0, not -1$"),
        (("b", -1e-9), {}, ValueError, "^timeout must be at least 0, not -1e-09$"),
        (("b", float("nan")), {}, ValueError, "^timeout must be at least 0, not nan$"),
        (("b", float("-inf")), {}, ValueError, "^timeout must be at least 0, not -inf$"),
        (("b", -(10**100)), {}, ValueError, "^timeout must be at least 0, not an int of 333 bits$"),
        (("b", True), {}, TypeError, "^timeout must be an int, a float or None, not bool$"),
        (("b", "1"), {}, TypeError, "^timeout must be an int, a float or None, not str$"),
        (("b",), {"serial": True}, TypeError, "^serial must be an int or None, not bool$"),
        (("b",), {"serial": 1.0}, TypeError, "^serial must be an int or None, not float$"),
        (("b",), {"serial": -1}, ValueError, "^serial must be from 0 to 18446744073709551615"),
        (("b",), {"serial": 2**64}, ValueError, "^serial must be from 0 to 18446744073709551615"),
        (("b", 1, 1), {}, TypeError, "positional"),
    ],
)
def test_a_bad_argument_is_an_error(
    one: Observed,
    wait: Wait,
    given: tuple[Any, ...],
    named: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with one.acquire("m"), pytest.raises(error, match=message):
        wait(one, *given, **named)


@BOTH
@pytest.mark.parametrize(
    "timeout",
    [None, float("inf"), 1e300, 10**5000, 10**10],
    ids=["none", "inf", "float", "int", "years"],
)
def test_a_timeout_may_be_longer_than_any_clock(
    one: Observed, wait: Wait, timeout: float | None
) -> None:
    lease = one.acquire("m")
    waiting = Waiting(one, wait, "b", timeout)
    lease.release()
    assert waiting.result() is True


# ---- Nothing is left behind.


def test_a_wait_keeps_its_registration_only_until_it_ends(one: Observed) -> None:
    one.increment_pending("b")
    waiter = IdleWaiter(gc.collect)
    assert one._wait("b", None, waiter) is False
    one.remove_backend("b")
    while one.stats().waiting_for_reclamation:
        pass
    assert one.stats().kept_for_views == 1
    assert waiter.end() is False
    assert one.stats().kept_for_views == 0


def test_a_cancelled_task_leaves_the_others_waiting(one: Observed) -> None:
    async def run() -> None:
        lease = one.acquire("m")
        tasks = [asyncio.create_task(one.idle("b")) for _ in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(tasks[2]), 0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.idle("b"), 0.01)
        async with asyncio.timeout(LONG):
            await asyncio.wait([tasks[1]])
            assert tasks[1].cancelled()
            assert not any(task.done() for task in (tasks[0], *tasks[2:]))
            lease.release()
            assert await asyncio.gather(tasks[0], *tasks[2:]) == [True] * 3

    asyncio.run(run())


def test_a_task_that_is_cancelled_when_it_is_woken_is_cancelled(one: Observed) -> None:
    async def run() -> None:
        lease = one.acquire("m")
        task = asyncio.create_task(one.idle("b"))
        await asyncio.sleep(0)
        lease.release()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_closed_loop_is_in_nobodys_way(one: Observed) -> None:
    """Its tasks run no more. A release wakes the others, and raises nothing."""
    lease = one.acquire("m")
    loop = asyncio.new_event_loop()
    stuck: Coroutine[Any, Any, bool] = one.idle("b")

    async def begin() -> None:
        stuck.send(None)

    loop.run_until_complete(begin())
    loop.close()
    waiting = Waiting(one, wait_in_thread)
    assert lease.release() is True
    assert waiting.result() is True
    stuck.close()


def test_a_task_that_is_dropped_with_its_loop_leaves_the_list(one: Observed) -> None:
    with one.acquire("m"):
        loop = asyncio.new_event_loop()
        stuck: Coroutine[Any, Any, bool] = one.idle("b")

        async def begin() -> None:
            stuck.send(None)

        before = waiters()
        loop.run_until_complete(begin())
        assert waiters() == before + 1
        loop.close()
        stuck.close()
        assert waiters() == before


# ---- Who wakes, and how.


def test_a_task_is_woken_by_its_own_loop(one: Observed) -> None:
    async def run() -> bool:
        lease = one.acquire("m")
        asyncio.get_running_loop().call_soon(lease.release)
        return await one.idle("b", LONG)

    assert asyncio.run(run()) is True


def test_nobody_polls() -> None:
    """A wait looks at the number twice, however long it takes and whatever else happens."""

    class Loop(asyncio.SelectorEventLoop):
        rounds = 0

        def _run_once(self) -> None:
            Loop.rounds += 1
            super()._run_once()  # type: ignore[misc]

    registry = Observed()
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id, "m"))
    registry.increment_pending("a")

    def busy() -> None:
        for _ in range(3000):
            registry.increment_pending_many(["a", "b"])
            registry.decrement_pending_many(["a", "b"])

    waiting = Waiting(registry, wait_in_thread, "a", LONG)
    busy()
    registry.decrement_pending("a")
    assert waiting.result() is True
    assert registry.looks == 2

    def wait_in_own_loop(_: Registry) -> bool:
        with asyncio.Runner(loop_factory=Loop) as runner:
            return runner.run(registry.idle("a", LONG))

    registry.increment_pending("a")
    waiting = Waiting(registry, lambda *_: wait_in_own_loop(registry))
    busy()
    registry.decrement_pending("a")
    assert waiting.result() is True
    assert registry.looks == 4
    assert Loop.rounds < 20


def test_waiters_are_woken_whatever_a_wake_up_raises(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A signal's handler may raise in the middle of it; then the wake-up is repeated."""
    calls: list[str] = []

    def wake(name: str, *errors: BaseException) -> None:
        calls.append(name)
        if calls.count(name) <= len(errors):
            raise errors[calls.count(name) - 1]

    registry.add_backend(make_backend("b", "m"))
    lease = registry.acquire("m", allow_unknown=True)
    wakers = [
        partial(wake, "first"),
        partial(wake, "interrupted", *[KeyboardInterrupt()] * 3),
        partial(wake, "handler", ZeroDivisionError()),
        partial(wake, "broken", *[OSError()] * 9),
        partial(wake, "last"),
    ]
    all_of = [IdleWaiter(waker) for waker in wakers]
    assert not any(registry._wait("b", None, waiter) for waiter in all_of)
    with (
        caplog.at_level(logging.ERROR, "registry"),
        pytest.raises((KeyboardInterrupt, ZeroDivisionError)),
    ):
        lease.release()
    assert Counter(calls) == {"first": 1, "interrupted": 4, "handler": 2, "broken": 2, "last": 1}
    assert "OSError" in caplog.text
    assert "ZeroDivisionError" not in caplog.text
    assert not lease.active
    assert all(waiter.end() for waiter in all_of)


def test_a_waiter_that_gave_up_is_not_woken(one: Observed) -> None:
    calls: list[int] = []
    lease = one.acquire("m")
    all_of = [IdleWaiter(partial(calls.append, number)) for number in range(3)]
    assert not any(one._wait("b", None, waiter) for waiter in all_of)
    assert all_of[1].end() is False
    lease.release()
    assert sorted(calls) == [0, 2]
    assert [waiter.end() for waiter in all_of] == [True, False, True]


# ---- Signals.

SIGNALS = '''
import os, signal, threading, time
from registry import Backend, Model, Registry

registry = Registry()
registry.add_backend(Backend("b", "b", "http://b", models=[Model("m")]))
registry.increment_pending("b")

def interrupt(number, act):
    """Acts at the first signal. There are several, because a thread that a signal meets just before
    it begins to sleep sees it only when it wakes up."""
    def handle(*arguments):
        signal.signal(number, signal.SIG_IGN)
        act(*arguments)

    def send():
        while True:
            time.sleep(0.1)
            os.kill(os.getpid(), number)

    signal.signal(number, handle)
    threading.Thread(target=send, daemon=True).start()
'''


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_ctrl_c_interrupts_a_wait() -> None:
    assert (
        run_clean_child(
            SIGNALS
            + """
try:
    interrupt(signal.SIGINT, signal.default_int_handler)
    registry.wait_idle("b")
except KeyboardInterrupt:
    print("interrupted", registry.decrement_pending("b"), registry.wait_idle("b", 0))
"""
        )
        == "interrupted 0 True\n"
    )


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_a_handler_runs_during_a_wait_and_may_end_it() -> None:
    """The handler runs in the thread that waits, and releases what it waits for."""
    assert (
        run_clean_child(
            SIGNALS
            + """
def release(*_):
    print("handled", registry.wait_idle("b", 0.01), registry.decrement_pending("b"))

interrupt(signal.SIGUSR1, release)
print(registry.wait_idle("b"))
"""
        )
        == "handled False 0\nTrue\n"
    )


# ---- Rounds. conftest.py makes the GIL switch often in tests with 'concurren' in their names.


def test_concurrent_waits_lose_no_wake_up() -> None:
    assert sum(waits.run(at_once, rounds=300)) > 1000


def test_a_lost_wake_up_is_detected() -> None:
    with pytest.raises(AssertionError, match="a wake-up was lost"):
        list(waits.run(at_once, make=broken.LosesWakeUps, rounds=300, hang=1.0))


def test_concurrent_waits_for_one_backend_all_end(one: Observed) -> None:
    """Threads that wait, give up, and go up and down; the count reaches 0 again and again."""
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():
            with one.acquire("m"):
                pass

    def wait(timeout: float) -> None:
        for _ in range(300):
            assert one.wait_idle("b", timeout) or timeout < 1

    def wait_all() -> None:
        run_threads([partial(wait, LONG), partial(wait, 1e-5), partial(wait, LONG)])
        stop.set()

    run_threads([wait_all, count, count])
