"""Waiting for a place: `acquire_wait`, `acquire_async`, `waiting` and `max_waiting`."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from long import places
from support.fleets import make_backend
from support.selection import key_for

from registry import (
    Ejection,
    Lease,
    NoBackendAvailableError,
    Policy,
    Reason,
    Registry,
    RegistryError,
    Requirements,
    WaitingLineFullError,
)
from registry.testing import ManualClock

LONG = 60.0


def fleet(count: int = 1, cap: int = 1, **settings: Any) -> Registry:
    """Healthy backends b0, b1, ... of the model m, each with room for `cap` requests."""
    registry = Registry(**settings)
    for number in range(count):
        registry.add_backend(make_backend(f"b{number}", "m", max_pending=cap))
        registry.update_status(f"b{number}", "healthy")
    return registry


class Waiting:
    """A call of `acquire_wait` in a thread of its own, which has entered the line."""

    def __init__(self, registry: Registry, model: str = "m", **given: Any) -> None:
        self.registry = registry
        self.result: list[Lease | NoBackendAvailableError] = []
        before = registry.waiting(model)
        self.thread = threading.Thread(target=self.run, args=(model,), kwargs=given)
        self.thread.start()
        wait_until(lambda: registry.waiting(model) > before)

    def run(self, model: str, **given: Any) -> None:
        try:
            self.result.append(self.registry.acquire_wait(model, **{"timeout": LONG, **given}))
        except NoBackendAvailableError as error:
            self.result.append(error)

    def end(self) -> Lease | NoBackendAvailableError:
        self.thread.join(LONG)
        return self.result[0]

    def lease(self) -> Lease:
        found = self.end()
        assert isinstance(found, Lease)
        return found


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0)


def in_task(registry: Registry, *given: Any, **named: Any) -> Lease:
    return asyncio.run(registry.acquire_async(*given, **named))


def in_thread(registry: Registry, *given: Any, **named: Any) -> Lease:
    return registry.acquire_wait(*given, **named)


BOTH = pytest.mark.parametrize("call", [in_thread, in_task])


def all_idle(registry: Registry) -> bool:
    return all(view.pending_requests == 0 for view in registry.get_all_backends())


# ---- One call.


@BOTH
def test_a_free_place_is_taken_at_once(call: Callable[..., Lease]) -> None:
    registry = fleet()
    lease = call(registry, "m", policy=Policy.ROUND_ROBIN, only=["b0"], exclude=["x"])
    assert (lease.backend.id, lease.model_id, lease.active) == ("b0", "m", True)
    lease.release(1)
    assert registry.get_all_backends()[0].total_requests == 1


@BOTH
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"require": Requirements(vision=True)}, Reason.NO_VISION),
        ({"require": Requirements(min_context=10**9)}, Reason.SHORT_CONTEXT),
        ({"exclude": ["b0"]}, Reason.EXCLUDED),
        ({"only": []}, Reason.EXCLUDED),
    ],
)
def test_what_can_not_pass_is_refused_at_once(
    call: Callable[..., Lease], given: dict[str, Any], kind: Reason
) -> None:
    registry = fleet()
    with pytest.raises(NoBackendAvailableError) as refused:
        call(registry, "m", timeout=LONG, **given)
    assert refused.value.kinds == {"b0": kind}
    assert refused.value.waited < LONG


@BOTH
@pytest.mark.parametrize("model", ["unknown", "\ud800"])
def test_a_model_that_nobody_serves_is_refused_at_once(
    call: Callable[..., Lease], model: str
) -> None:
    with pytest.raises(NoBackendAvailableError) as refused:
        call(fleet(), model, timeout=LONG)
    assert refused.value.unknown_model


@BOTH
@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda registry: registry.acquire("m"), Reason.FULL),
        (lambda registry: registry.update_status("b0", "unhealthy"), Reason.UNHEALTHY),
        (lambda registry: registry.update_status("b0", "unknown"), Reason.UNKNOWN),
        (lambda registry: registry.drain("b0"), Reason.DRAINING),
        (lambda registry: registry.cool_down("b0", 600), Reason.COOLING_DOWN),
    ],
)
def test_the_time_is_up(
    call: Callable[..., Lease], write: Callable[[Registry], Any], kind: Reason
) -> None:
    registry = fleet()
    kept = write(registry)
    for timeout in (0, 0.01):
        with pytest.raises(NoBackendAvailableError) as refused:
            call(registry, "m", timeout=timeout)
        assert type(refused.value) is NoBackendAvailableError
        assert refused.value.kinds == {"b0": kind}
        assert refused.value.waited >= timeout
        assert registry.waiting("m") == 0
    if isinstance(kept, Lease):
        kept.release()


@BOTH
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"timeout": -1}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": "1"}, TypeError),
        ({"priority": 2**31}, ValueError),
        ({"priority": -(2**31) - 1}, ValueError),
        ({"priority": 1.0}, TypeError),
        ({"priority": True}, TypeError),
        ({"policy": "fastest"}, ValueError),
        ({"only": "b0"}, TypeError),
    ],
)
def test_bad_arguments(
    call: Callable[..., Lease], given: dict[str, Any], error: type[Exception]
) -> None:
    registry = fleet()
    with pytest.raises(error, match=next(iter(given))):
        call(registry, "m", **given)
    assert all_idle(registry)


def test_the_extremes_of_priority_and_timeout() -> None:
    registry = fleet(cap=None)  # type: ignore[arg-type]
    for priority in (-(2**31), 2**31 - 1):
        registry.acquire_wait("m", priority=priority, timeout=10**9).release()
    registry.acquire_wait("m", timeout=None).release()


@pytest.mark.parametrize("bad", [-1, 2**64 - 1, 1.0, True, "1"])
def test_a_bad_limit(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_waiting"):
        Registry(max_waiting=bad)


def test_a_full_line() -> None:
    registry = fleet(max_waiting=1)
    lease = registry.acquire("m")
    first = Waiting(registry)
    for call in (in_thread, in_task):
        with pytest.raises(WaitingLineFullError, match="line is full") as refused:
            call(registry, "m", priority=-1)
        assert refused.value.kinds == {"b0": Reason.WAITING}
        assert isinstance(refused.value, NoBackendAvailableError)
        assert isinstance(refused.value, RegistryError)
    lease.release()
    first.lease().release()
    assert in_thread(registry, "m").release()
    nobody = fleet(max_waiting=0)
    with nobody.acquire_wait("m"), pytest.raises(WaitingLineFullError):
        nobody.acquire_wait("m")
    with nobody.acquire("m"), pytest.raises(NoBackendAvailableError) as once:
        nobody.acquire_wait("m", timeout=0)
    assert type(once.value) is NoBackendAvailableError


# ---- What wakes.


@pytest.mark.parametrize(
    "make_room",
    [
        lambda registry, lease: lease.release(),
        lambda registry, lease: lease.release(failed=True),
        lambda registry, lease: lease.release(abandoned=True),
        lambda registry, lease: registry.decrement_pending("b0"),
        lambda registry, lease: registry.decrement_pending_many(["b0"]),
        lambda registry, lease: registry.update_backend(make_backend("b0", "m", max_pending=2)),
        lambda registry, lease: registry.update_status("new", "healthy"),
        lambda registry, lease: registry.resume("drained"),
        lambda registry, lease: registry.restore("cooling"),
        lambda registry, lease: registry.reconcile(
            [
                make_backend("b0", "m", max_pending=2),
                *(make_backend(name, "m") for name in ("new", "drained", "cooling")),
            ]
        ),
    ],
)
def test_whatever_makes_room_wakes(make_room: Callable[[Registry, Lease], Any]) -> None:
    registry = fleet()
    for name in ("new", "drained", "cooling"):
        registry.add_backend(make_backend(name, "m"))
        if name != "new":
            registry.update_status(name, "healthy")
    registry.drain("drained")
    registry.cool_down("cooling", 600)
    lease = registry.acquire("m")
    waiting = Waiting(registry)
    make_room(registry, lease)
    waiting.lease().release()
    lease.release()


def test_a_lease_that_is_collected_makes_room() -> None:
    registry = fleet()
    leases = [registry.acquire("m")]
    waiting = Waiting(registry)
    with pytest.warns(ResourceWarning):
        leases.clear()
    waiting.lease().release()


def test_waiting_ends_when_it_stops_helping() -> None:
    registry = fleet()
    lease = registry.acquire("m")
    waiting = [Waiting(registry, priority=number) for number in range(3)]
    registry.remove_backend("b0")
    for each in waiting:
        error = each.end()
        assert isinstance(error, NoBackendAvailableError)
        assert error.unknown_model
    lease.release()


def test_time_that_passes_by_a_manual_clock() -> None:
    clock = ManualClock()
    registry = fleet(clock=clock)
    registry.cool_down("b0", 30)
    waiting = Waiting(registry)
    clock.advance(29)
    assert registry.waiting("m") == 1
    clock.advance(1)
    waiting.lease().release()


def test_the_end_of_an_ejection_and_of_its_trial() -> None:
    clock = ManualClock()
    registry = fleet(cap=4, clock=clock, ejection=Ejection(consecutive_failures=1, panic=None))
    registry.acquire("m").release(failed=True)
    waiting = [Waiting(registry) for _ in range(3)]
    clock.advance(29)
    assert registry.waiting("m") == 3
    clock.advance(1)
    trial = waiting[0].lease()
    with pytest.raises(NoBackendAvailableError) as refused:
        registry.acquire("m")
    assert refused.value.kinds == {"b0": Reason.ON_TRIAL}
    assert registry.waiting("m") == 2
    trial.release()
    for each in waiting[1:]:
        each.lease().release()


def test_blocks_that_another_request_notes_make_room() -> None:
    registry = Registry()
    registry.add_backend(make_backend("b0", "m", max_pending_tokens=100))
    registry.update_status("b0", "healthy")
    held = registry.acquire("m", tokens=60)
    waiting = Waiting(registry, policy="least_tokens", tokens=80, prefix=[1])
    other = registry.acquire("m", prefix=[1])
    lease = waiting.lease()
    assert lease.tokens == 1
    for one in (held, other, lease):
        one.release()


def test_the_end_of_a_cool_down_may_begin_a_panic() -> None:
    registry = fleet(cap=9, ejection=Ejection(consecutive_failures=1, base_s=3600, max_s=3600))
    failed, busy = registry.acquire("m"), registry.acquire("m")
    failed.release(failed=True)
    busy.release(retry_after=0.05)
    registry.acquire_wait("m", timeout=LONG).release()


def test_deadlines_of_the_system_s_clock() -> None:
    registry = fleet()
    registry.cool_down("b0", 0.02)
    registry.acquire_wait("m", timeout=LONG).release()
    lease = registry.acquire("m")
    waiting = [Waiting(registry) for _ in range(2)]  # They have no deadline yet.
    registry.cool_down("b0", 0.02)
    lease.release()
    for each in waiting:
        each.lease().release()


# ---- The order.


async def served_in(registry: Registry, order: list[Any], name: Any, **given: Any) -> None:
    async with await registry.acquire_async("m", timeout=LONG, **given):
        order.append(name)


def test_tasks_are_served_by_priority_and_then_as_they_came() -> None:
    async def main() -> None:
        registry = fleet()
        lease = registry.acquire("m")
        order: list[int] = []
        tasks = [
            asyncio.create_task(served_in(registry, order, number, priority=number % 3))
            for number in range(30)
        ]
        await asyncio.sleep(0)
        assert registry.waiting("m") == 30
        lease.release()
        await asyncio.gather(*tasks)
        assert order == sorted(range(30), key=lambda number: (number % 3, number))

    asyncio.run(main())


def test_one_that_fits_no_free_place_is_passed_over() -> None:
    registry = fleet(2)
    leases = {lease.backend.id: lease for lease in (registry.acquire("m"), registry.acquire("m"))}
    picky = Waiting(registry, only=["b0"])
    other = Waiting(registry, priority=9)
    leases["b1"].release()
    lease = other.lease()
    assert lease.backend.id == "b1"
    assert registry.waiting("m") == 1
    leases["b0"].release()
    picky.lease().release()
    lease.release()


def test_models_that_share_a_backend() -> None:
    registry = Registry()
    registry.add_backend(make_backend("b0", "m", "n", max_pending=1))
    registry.update_status("b0", "healthy")
    lease = registry.acquire("m")
    first, second = Waiting(registry, "n", priority=5), Waiting(registry, "m")
    assert (registry.waiting("n"), registry.waiting("m"), registry.waiting("o")) == (1, 1, 0)
    lease.release()
    first.lease().release()
    second.lease().release()


@pytest.mark.parametrize("policy", Policy)
def test_a_plain_request_does_not_overtake(policy: Policy) -> None:
    registry = fleet(2)
    leases = {lease.backend.id: lease for lease in (registry.acquire("m"), registry.acquire("m"))}
    waiting = Waiting(registry, only=["b0"])
    with pytest.raises(NoBackendAvailableError) as refused:
        registry.acquire("m", policy=policy, affinity=key_for(policy))
    assert refused.value.kinds == {"b0": Reason.WAITING, "b1": Reason.FULL}
    assert refused.value.reasons["b0"] == "waiting"
    candidates = registry.explain("m", policy=policy, affinity=key_for(policy))
    explained = {one.backend_id: one.kind for one in candidates}
    assert explained == {"b0": Reason.WAITING, "b1": Reason.FULL}
    leases["b1"].release()
    # Nobody waits for this one.
    registry.acquire("m", policy=policy, affinity=key_for(policy)).release()
    assert registry.select("m", policy=policy, affinity=key_for(policy)).id == "b1"
    leases["b0"].release()
    waiting.lease().release()


# ---- Calls that end otherwise.


def test_a_cancelled_task_that_was_served_passes_its_place_on() -> None:
    async def main() -> None:
        registry = fleet()
        lease = registry.acquire("m")
        tasks = [asyncio.create_task(registry.acquire_async("m")) for _ in range(3)]
        await asyncio.sleep(0)
        lease.release(1)
        tasks[0].cancel()
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results[:2]] == [asyncio.CancelledError] * 2
        assert isinstance(results[2], Lease)
        view = registry.get_all_backends()[0]
        assert (view.pending_requests, view.total_requests) == (1, 1)
        results[2].release()

    asyncio.run(main())


def test_a_storm_of_cancellations_leaves_nothing_behind() -> None:
    async def main() -> None:
        registry = fleet(4, 2)
        leases = [registry.acquire("m") for _ in range(8)]
        tasks = [asyncio.create_task(registry.acquire_async("m")) for _ in range(10_000)]
        await asyncio.sleep(0)
        assert registry.waiting("m") == 10_000
        for number, task in enumerate(tasks[:-1]):
            if number % 1000 == 0 and leases:
                leases.pop().release()
            task.cancel()
        for lease in leases:
            lease.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert registry.waiting("m") == 0
        assert all(isinstance(result, asyncio.CancelledError) for result in results[:-1])
        assert isinstance(results[-1], Lease)
        results[-1].release()
        assert all_idle(registry)
        assert sum(view.total_requests for view in registry.get_all_backends()) == 9

    asyncio.run(main())


@pytest.mark.parametrize("is_served_first", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_closed_loop_passes_its_places_on(is_served_first: bool) -> None:
    registry = fleet()
    lease = registry.acquire("m")
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(registry.acquire_async("m")) for _ in range(2000)]
    loop.run_until_complete(asyncio.sleep(0))
    other = Waiting(registry, priority=1)
    if is_served_first:
        lease.release()
    loop.close()
    lease.release()
    other.lease().release()
    assert registry.waiting("m") == 0
    assert all_idle(registry)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore")
def test_a_loop_that_is_closed_between_the_wake_up_and_the_task_loses_no_place() -> None:
    registry = fleet()
    lease = registry.acquire("m")
    loop = asyncio.new_event_loop()
    task = loop.create_task(registry.acquire_async("m"))
    loop.run_until_complete(asyncio.sleep(0))
    lease.release()
    loop.call_soon(loop.stop)
    loop.run_forever()  # The wake-up has ended the sleep, and the task is to run next.
    assert not task.done()
    loop.close()
    assert all_idle(registry)
    task._log_destroy_pending = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_closed", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_nobody_depends_on_the_loop_of_another_one_to_meet_a_deadline(is_closed: bool) -> None:
    """The first in the line has been told of the deadline, and its event loop runs no more."""
    registry = fleet()
    lease = registry.acquire("m")
    loop = asyncio.new_event_loop()
    task = loop.create_task(registry.acquire_async("m"))
    loop.run_until_complete(asyncio.sleep(0))
    other = Waiting(registry, priority=1)  # It was told of no deadline.
    registry.cool_down("b0", 0.05)
    loop.run_until_complete(asyncio.sleep(0))
    lease.release()
    if is_closed:
        loop.close()
        other.lease().release()
    else:
        wait_until(lambda: registry.waiting("m") == 1)  # The place was handed over, by the thread.
        loop.run_until_complete(task)
        task.result().release()
        other.lease().release()
        loop.close()
    assert all_idle(registry)
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_many_tasks_learn_of_an_earlier_deadline() -> None:
    async def main() -> None:
        registry = fleet(cap=3000)
        registry.drain("b0")
        order: list[int] = []
        tasks = [asyncio.create_task(served_in(registry, order, i)) for i in range(2000)]
        await asyncio.sleep(0)
        registry.cool_down("b0", 0.1)
        registry.resume("b0")
        await asyncio.gather(*tasks)
        assert sorted(order) == list(range(2000))
        assert all_idle(registry)

    asyncio.run(main())


def test_a_time_out_of_the_caller() -> None:
    async def main() -> None:
        registry = fleet()
        with registry.acquire("m"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(registry.acquire_async("m"), 0.01)
            assert registry.waiting("m") == 0

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="there are no interval timers")
def test_a_signal_ends_the_wait() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    registry = fleet()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with registry.acquire("m"):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(Interrupted):
                registry.acquire_wait("m", timeout=LONG)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert registry.waiting("m") == 0
    assert all_idle(registry)


def test_a_waiter_keeps_its_registry_and_nothing_keeps_it_afterwards() -> None:
    async def main() -> weakref.ref[Registry]:
        registry = fleet()
        lease = registry.acquire("m")
        task = asyncio.create_task(registry.acquire_async("m"))
        await asyncio.sleep(0)
        weak = weakref.ref(registry)
        del registry
        gc.collect()
        assert weak() is not None
        lease.release()
        (await task).release()
        return weak

    weak = asyncio.run(main())
    gc.collect()
    assert weak() is None


# ---- Many at once.


def test_many_threads_and_many_tasks_wait_at_once() -> None:
    registry = fleet(2)
    leases = [registry.acquire("m") for _ in range(2)]
    threads = [Waiting(registry) for _ in range(64)]

    async def main() -> None:
        order: list[int] = []
        tasks = [asyncio.create_task(served_in(registry, order, i)) for i in range(1000)]
        await asyncio.sleep(0)
        assert registry.waiting("m") == 1064
        for lease in leases:
            lease.release()
        for thread in threads:
            (await asyncio.to_thread(thread.lease)).release()
        await asyncio.gather(*tasks)
        assert sorted(order) == list(range(1000))

    asyncio.run(main())
    assert all_idle(registry)


def once() -> bool:
    return True


def test_a_quick_form_of_the_long_check() -> None:
    assert sum(places.run(once, rounds=100)) > 0


class ForgetsToHandOver(Registry):
    """Waits for a place by polling, and gives up as if its wake-up were lost."""

    def acquire_wait(self, model_id: str, /, **given: Any) -> Lease:
        given.pop("priority", None)
        given.pop("timeout", None)
        return self.acquire(model_id, **given)


def test_the_long_check_notices_a_lost_wake_up() -> None:
    with pytest.raises(AssertionError):
        list(places.run(once, make=ForgetsToHandOver, rounds=200, hang=0.5))


def test_a_panic_serves_the_waiters_of_ejected_backends() -> None:
    """All backends are ejected: with a share of 0, the waiters get them all the same."""
    registry = fleet(2, ejection=Ejection(consecutive_failures=1, panic=0))
    leases = [registry.acquire("m") for _ in range(2)]
    waiting = [Waiting(registry) for _ in range(2)]
    leases[0].release(failed=True)  # The other one is left, and full.
    with pytest.raises(NoBackendAvailableError) as refused:
        registry.acquire("m")
    assert set(refused.value.kinds.values()) == {Reason.EJECTED, Reason.WAITING}
    leases[1].release(failed=True)
    for each in waiting:
        each.lease().release()
    assert all_idle(registry)


def test_several_places_at_once_wake_in_the_order_of_the_line() -> None:
    async def main() -> None:
        registry = fleet()
        lease = registry.acquire("m")
        order: list[int] = []
        tasks = [asyncio.create_task(served_in(registry, order, number)) for number in range(9)]
        await asyncio.sleep(0)
        registry.update_backend(make_backend("b0", "m", max_pending=10))
        await asyncio.gather(*tasks)
        assert order == list(range(9))
        lease.release()

    asyncio.run(main())
