"""Leases: what they count, that they cannot leak, and which registration they belong to."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
import random
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from functools import partial

import pytest
from support.fleets import make_backend
from support.selection import key_for
from support.threads import run_threads

from registry import BackendView, Lease, Model, NoBackendAvailableError, Policy, Reason, Registry


@pytest.fixture
def one(registry: Registry) -> Registry:
    """A registry with one healthy backend, b, that serves m."""
    registry.add_backend(make_backend("b", "m"))
    registry.update_status("b", "healthy")
    return registry


def counts(registry: Registry, backend_id: str = "b") -> tuple[int, int, int]:
    """The requests in flight, the total and the average latency of a backend."""
    view = registry.get_backend(backend_id)
    assert view is not None
    return view.pending_requests, view.total_requests, view.avg_latency_ms


# ---- What a lease shows and counts.


def test_a_lease_shows_its_backend_model_and_state(one: Registry) -> None:
    lease = one.acquire("m")
    assert (lease.backend.id, lease.model_id, lease.active) == ("b", "m", True)
    assert lease.backend == make_backend("b", "m")
    assert repr(lease) == "<Lease: 'b' for 'm', active>"
    assert counts(one) == (1, 0, 0)
    assert lease.release()
    assert repr(lease) == "<Lease: 'b' for 'm', released>"
    assert (lease.backend.id, lease.active) == ("b", False)


def test_a_release_counts_once(one: Registry) -> None:
    lease = one.acquire("m")
    assert lease.release(250) is True
    assert counts(one) == (0, 1, 250)
    assert lease.release(9) is False
    assert lease.release(failed=True) is False
    with lease:
        pass
    assert counts(one) == (0, 1, 250)


def test_a_release_without_a_latency_measures_the_time_held(one: Registry) -> None:
    lease = one.acquire("m")
    time.sleep(0.031)  # The lease's clock is not the one that sleep uses: allow 1 ms.
    lease.release()
    pending, total, average = counts(one)
    assert (pending, total) == (0, 1)
    assert 30 <= average < 30_000


def test_a_failed_release_does_not_change_the_average(one: Registry) -> None:
    one.acquire("m").release(100)
    one.acquire("m").release(failed=True)
    one.acquire("m").release(0, failed=True)
    assert counts(one) == (0, 3, 100)
    one.acquire("m").release(0)
    assert counts(one) == (0, 4, 80)


def test_a_release_after_a_stray_decrement_warns_and_stays_at_0(
    one: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    lease = one.acquire("m")
    one.decrement_pending("b")
    with caplog.at_level(logging.WARNING, "registry"):
        assert lease.release(5)
    assert "'b'" in caplog.text
    assert counts(one) == (0, 1, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"latency_ms": -1}, ValueError, "latency_ms must be from 0"),
        ({"latency_ms": 2**32}, ValueError, "latency_ms must be from 0"),
        ({"latency_ms": -0.3}, ValueError, "latency_ms must be from 0 to 4294967295, not -0.3"),
        ({"latency_ms": -1e-300}, ValueError, "latency_ms must be from 0"),
        ({"latency_ms": 2**32 - 0.5}, ValueError, "latency_ms must be from 0"),
        ({"latency_ms": 1e300}, ValueError, "latency_ms must be from 0"),
        ({"latency_ms": float("inf")}, ValueError, "latency_ms must be from 0 .* not inf"),
        ({"latency_ms": float("nan")}, ValueError, "latency_ms must be from 0 .* not nan"),
        ({"latency_ms": True}, TypeError, "latency_ms must be an int or a float, not bool"),
        ({"latency_ms": "5"}, TypeError, "latency_ms must be an int or a float, not str"),
        ({"latency_ms": Decimal(5)}, TypeError, "latency_ms must be an int or a float"),
        ({"latency_ms": 5j, "failed": True}, TypeError, "latency_ms must be an int or a float"),
        ({"failed": 1}, TypeError, "failed must be a bool"),
        ({"failed": None, "latency_ms": 5}, TypeError, "failed must be a bool"),
        ({"failed": 1.5, "latency_ms": -1}, TypeError, "failed must be a bool"),
        ({"abandoned": 1}, TypeError, "abandoned must be a bool"),
        ({"abandoned": None}, TypeError, "abandoned must be a bool"),
        ({"abandoned": True, "failed": True}, ValueError, "abandoned must be False if failed"),
        ({"abandoned": True, "retry_after": 1}, ValueError, "abandoned must be False with retry"),
        ({"abandoned": True, "latency_ms": -1}, ValueError, "latency_ms must be from 0"),
        ({"retry_after": -1}, ValueError, "retry_after must be from 0 to 86400, not -1"),
        ({"retry_after": 86_400.1}, ValueError, "retry_after must be from 0 to 86400"),
        ({"retry_after": 86_401}, ValueError, "retry_after must be from 0 to 86400"),
        ({"retry_after": 10**400}, ValueError, "retry_after must be from 0 to 86400"),
        ({"retry_after": float("nan")}, ValueError, "retry_after must be from 0 .* not nan"),
        ({"retry_after": float("inf")}, ValueError, "retry_after must be from 0 .* not inf"),
        ({"retry_after": True}, TypeError, "retry_after must be an int or a float, not bool"),
        ({"retry_after": "5"}, TypeError, "retry_after must be an int or a float, not str"),
        ({"retry_after": 5, "latency_ms": -1}, ValueError, "latency_ms must be from 0"),
        ({"retry_after": 5, "failed": 1}, TypeError, "failed must be a bool"),
    ],
)
def test_a_release_with_bad_arguments_abandons_the_request(
    one: Registry, arguments: dict[str, object], error: type[Exception], message: str
) -> None:
    """It raises, but no count stays behind, and there is no sample."""
    one.acquire("m").release(70)
    lease = one.acquire("m")
    for _ in range(2):
        with pytest.raises(error, match=message):
            lease.release(**arguments)  # type: ignore[arg-type]
        assert not lease.active
        assert counts(one) == (0, 2, 70)
    view = one.get_backend("b")
    assert view is not None
    assert (view.failed_requests, view.unavailable) == (0, None)
    assert lease.release() is False


@pytest.mark.parametrize(
    ("given", "sample"),
    [
        (0.0, 0),
        (-0.0, 0),
        (0.5, 0),
        (0.5000001, 1),
        (1.5, 2),
        (2.5, 2),
        (249.7, 250),
        (4294967294.5, 2**32 - 2),
        (4294967295.4, 2**32 - 1),
        (type("Real", (float,), {"__float__": None, "__round__": None})(7.6), 8),
        (type("Whole", (int,), {"__index__": None})(9), 9),
    ],
)
def test_a_latency_is_rounded_to_the_nearest_millisecond(
    one: Registry, given: float, sample: int
) -> None:
    assert one.acquire("m").release(given) is True
    assert counts(one) == (0, 1, sample)
    assert one.acquire("m").release(given, failed=True) is True
    assert counts(one) == (0, 2, sample)


def test_only_acquire_makes_leases(one: Registry) -> None:
    with pytest.raises(TypeError, match=r"Registry\.acquire"):
        Lease()
    empty = Lease.__new__(Lease)
    assert not empty.active
    assert not empty.release()
    assert repr(empty) == "<Lease: of no backend>"
    with pytest.raises(ValueError, match=r"Registry\.acquire"):
        _ = empty.backend
    lease = one.acquire("m")
    for clone in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            clone(lease)
    with pytest.raises(AttributeError):
        lease.model_id = "n"  # type: ignore[misc]
    lease.release()


# ---- `with` blocks.


def test_the_end_of_a_block_releases(one: Registry) -> None:
    with one.acquire("m") as lease:
        assert counts(one)[0] == 1
    assert not lease.active
    assert counts(one)[:2] == (0, 1)


@pytest.mark.parametrize(
    "error", [ValueError, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
)
def test_an_exception_ends_the_request(one: Registry, error: type[BaseException]) -> None:
    """An `Exception` is a failure; another BaseException says nothing about the backend."""

    def use() -> None:
        with one.acquire("m"):
            time.sleep(0.002)
            raise error

    async def use_later() -> None:
        async with one.acquire("m"):
            time.sleep(0.002)
            raise error

    for call in (use, lambda: use_later().send(None)):
        with pytest.raises(error):
            call()
    assert counts(one) == (0, 2, 0)
    view = one.get_backend("b")
    assert view is not None
    assert view.failed_requests == (2 if issubclass(error, Exception) else 0)
    assert one.select("m", policy=Policy.LOWEST_LATENCY).id == "b"


def test_a_release_inside_the_block_takes_precedence(one: Registry) -> None:
    with one.acquire("m") as lease:
        lease.release(70)
    assert counts(one) == (0, 1, 70)


def test_returning_from_a_block_is_not_a_failure(one: Registry) -> None:
    def use() -> str:
        with one.acquire("m") as lease:
            time.sleep(0.003)
            return lease.backend.id

    assert use() == "b"
    assert counts(one)[2] >= 2


# ---- Leases do not leak.


def test_a_lost_lease_is_abandoned_with_a_warning(one: Registry) -> None:
    one.acquire("m").release(40)
    with pytest.warns(
        ResourceWarning, match=r"lease of backend 'b' for model 'm' was never released"
    ):
        one.acquire("m")  # The lease loses its only reference at once.
    assert counts(one) == (0, 2, 40)


def test_a_lost_lease_in_a_cycle_is_released_by_the_collector(one: Registry) -> None:
    class Holder:
        """Refers to itself."""

    def lose() -> None:
        """Runs inside the block that expects the warning: a collection may come at any time."""
        holder = Holder()
        holder.me, holder.lease = holder, one.acquire("m")  # type: ignore[attr-defined]
        del holder
        gc.collect()

    with pytest.warns(ResourceWarning, match="'b'"):
        lose()
    assert counts(one) == (0, 1, 0)


def test_a_warning_turned_into_an_error_does_not_prevent_the_release(
    one: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[BaseException | None] = []
    monkeypatch.setattr(
        "sys.unraisablehook", lambda unraisable: raised.append(unraisable.exc_value)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one.acquire("m")
        gc.collect()
    assert [type(error) for error in raised] == [ResourceWarning]
    assert counts(one)[:2] == (0, 1)


def test_a_released_lease_is_freed_without_a_warning(one: Registry) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(10):
            one.acquire("m").release()
        gc.collect()


def test_an_abandoned_generator_releases(one: Registry) -> None:
    def stream() -> Iterator[str]:
        with one.acquire("m") as lease:
            yield lease.backend.id
            yield "never"

    running = stream()
    next(running)
    assert counts(one)[0] == 1
    del running
    gc.collect()
    assert counts(one) == (0, 1, 0)


# ---- The registration that a lease belongs to.


def test_an_old_lease_does_not_change_a_new_registration(one: Registry) -> None:
    old = one.acquire("m")
    one.remove_backend("b")
    one.add_backend(make_backend("b", "m", weight=7))
    one.update_status("b", "healthy")
    assert old.active
    fresh = one.acquire("m")
    assert old.release(999)
    assert counts(one) == (1, 0, 0)
    assert (old.backend.weight, fresh.backend.weight) == (1, 7)
    fresh.release(3)
    assert counts(one) == (0, 1, 3)


def test_a_lease_outlives_its_backend_and_registry() -> None:
    registry = Registry()
    registry.add_backend(make_backend("b", "m", metadata={"k": "v"}))
    registry.update_status("b", "unhealthy", "boom")
    registry.update_status("b", "healthy")
    kept = [registry.acquire("m") for _ in range(3)]
    last: BackendView = registry.remove_backend("b")
    assert last.pending_requests == 3
    for number in range(1000):  # Enough writes for the removed backend to be reclaimed.
        registry.add_backend(make_backend(f"x{number}", "m"))
        registry.remove_backend(f"x{number}")
    assert kept[1].backend.metadata == {"k": "v"}
    del registry
    gc.collect()
    assert [lease.backend.id for lease in kept] == ["b"] * 3
    assert [lease.release() for lease in kept] == [True] * 3
    assert kept[2].backend.url == last.url


def model_ids(lease: Lease) -> list[str]:
    """The model ids of the definition that the lease shows."""
    return [model.id for model in lease.backend.models]


def churn(registry: Registry) -> None:
    """Makes enough writes for everything that was replaced before to be reclaimed."""
    for number in range(600):
        registry.add_backend(make_backend(f"x{number}", "other"))
        registry.remove_backend(f"x{number}")


def test_a_lease_keeps_the_definition_that_it_was_chosen_by(one: Registry) -> None:
    first = one.acquire("m")
    definition = first.backend
    one.update_models("b", [Model("m"), Model("n")])
    second = one.acquire("n")
    one.set_mdns_instance("b", "i")
    one.update_models("b", [Model("o")])
    churn(one)
    third = one.acquire("o")
    one.remove_backend("b")
    churn(one)
    one.add_backend(make_backend("b", "p"))
    assert first.backend is definition
    assert [model_ids(lease) for lease in (first, second, third)] == [["m"], ["m", "n"], ["o"]]
    assert "mdns_instance" not in second.backend.metadata
    assert third.backend.metadata["mdns_instance"] == "i"
    assert repr(second) == "<Lease: 'b' for 'n', active>"
    for lease in (second, first, third):
        assert lease.release(1)
    assert counts(one) == (0, 0, 0)
    assert model_ids(first) == ["m"]


def test_a_lost_lease_of_a_removed_backend_names_it(one: Registry) -> None:
    lease = one.acquire("m")
    one.remove_backend("b")
    churn(one)
    with pytest.warns(ResourceWarning, match="lease of backend 'b' for model 'm'"):
        del lease


def test_the_last_lease_of_a_dropped_registry_is_dropped_by_another_thread() -> None:
    registry = Registry()
    registry.add_backend(make_backend("b", "m", metadata={"k": "v"}))
    registry.update_status("b", "healthy")
    leases = [registry.acquire("m") for _ in range(20)]
    registry.remove_backend("b")
    del registry
    gc.collect()

    def drop() -> None:
        for _ in range(5):
            lease = leases.pop()
            assert lease.backend.metadata == {"k": "v"}
            assert lease.release(1)

    run_threads([drop] * 4)
    assert not leases


def test_stats_count_what_leases_keep(one: Registry) -> None:
    leases = [one.acquire("m") for _ in range(3)]
    one.update_models("b", [Model("n")])
    one.remove_backend("b")
    while one.stats().waiting_for_reclamation:
        pass
    assert one.stats().kept_for_views == 2  # The first definition; the record with the last one.
    assert release_all(leases, 1) == [True] * 3
    leases.clear()
    gc.collect()
    assert one.stats().kept_for_views == 0


def test_concurrent_changes_do_not_change_what_leases_show(one: Registry) -> None:
    """The definition of a lease lists the model that it was acquired for."""
    stop = threading.Event()

    def change() -> None:
        for number in range(2000):
            one.update_models("b", [Model("m" if number % 2 else "n"), Model(f"only-{number}")])
        stop.set()

    def use() -> None:
        held: list[tuple[Lease, list[str]]] = []
        while not stop.is_set():
            try:
                lease = one.acquire("m")
            except NoBackendAvailableError:
                continue
            held.append((lease, model_ids(lease)))
            assert "m" in held[-1][1]
            if len(held) == 20:
                for old, shown in held:
                    assert model_ids(old) == shown
                    old.release(1)
                held.clear()
        for old, _ in held:
            old.release(1)

    run_threads([change, use, use])
    assert counts(one)[0] == 0


def release_all(leases: list[Lease], latency_ms: int) -> list[bool]:
    """Releases all and returns what each release returned."""
    return [lease.release(latency_ms) for lease in leases]


def test_a_lease_can_be_released_by_another_thread(one: Registry) -> None:
    leases = [one.acquire("m") for _ in range(50)]
    run_threads([partial(release_all, leases[i::5], 1) for i in range(5)])
    assert counts(one)[:2] == (0, 50)


# ---- Threads. conftest.py makes the GIL switch often in tests with 'concurren' in their names.


def test_concurrent_releases_of_one_lease_count_once(one: Registry) -> None:
    rounds = 2000
    for _ in range(rounds // 100):
        leases = [one.acquire("m") for _ in range(100)]
        outcomes = run_threads([partial(release_all, leases, 5)] * 2)
        assert all(first + second == 1 for first, second in zip(*outcomes, strict=True))
    assert counts(one) == (0, rounds, 5)


@pytest.mark.parametrize("policy", [Policy.LEAST_PENDING, Policy.PRIORITY, Policy.LOWEST_LATENCY])
def test_concurrent_acquires_split_evenly(policy: Policy) -> None:
    registry = Registry()
    for backend_id in ("a", "b"):
        registry.add_backend(make_backend(backend_id, "m"))
        registry.update_status(backend_id, "healthy")
    for _ in range(5):
        taken = run_threads(
            [
                lambda: [
                    registry.acquire("m", policy=policy, affinity=key_for(policy))
                    for _ in range(125)
                ]
            ]
            * 8
        )
        assert counts(registry, "a")[0] == counts(registry, "b")[0] == 500
        assert [lease.release(1) for part in taken for lease in part] == [True] * 1000
        assert counts(registry, "a")[0] == counts(registry, "b")[0] == 0


@pytest.mark.parametrize("policy", Policy)
def test_concurrent_acquires_never_exceed_a_cap(policy: Policy) -> None:
    registry = Registry()
    caps = {"a": 3, "b": 1, "c": 5}
    for backend_id, cap in caps.items():
        registry.add_backend(make_backend(backend_id, "m", max_pending=cap, weight=cap))
        registry.update_status(backend_id, "healthy")
    holding = dict.fromkeys(caps, 0)
    lock = threading.Lock()

    def hold_and_return() -> int:
        refused = 0
        for _ in range(300):
            try:
                lease = registry.acquire("m", policy=policy, affinity=key_for(policy))
            except NoBackendAvailableError:
                refused += 1
                continue
            backend_id = lease.backend.id
            with lock:
                holding[backend_id] += 1
                assert holding[backend_id] <= caps[backend_id]
            with lock:
                holding[backend_id] -= 1
            lease.release(1)
        return refused

    run_threads([hold_and_return] * 8)
    assert all(counts(registry, backend_id)[0] == 0 for backend_id in caps)
    leases = [registry.acquire("m", policy=policy, affinity=key_for(policy)) for _ in range(9)]
    with pytest.raises(NoBackendAvailableError):
        registry.acquire("m", policy=policy, affinity=key_for(policy))
    assert [lease.release() for lease in leases] == [True] * 9


def test_concurrent_choices_while_the_fleet_changes(one: Registry) -> None:
    """Choices and releases stay correct while backends come, go and change.

    Only b and x are ever chosen, and no lease is lost.
    """
    stop = threading.Event()

    def change() -> None:
        for number in range(400):
            one.add_backend(make_backend("x", "m", weight=5))
            one.update_status("x", "healthy")
            one.update_models("x", make_backend("x", "m" if number % 2 else "n").models)
            one.update_status("b", "draining" if number % 3 else "healthy")
            one.remove_backend("x")
        one.update_status("b", "healthy")
        stop.set()

    def use() -> int:
        done = 0
        while not done or not stop.is_set():  # When `stop` is set, b is healthy and has no cap.
            try:
                policy = random.choice(list(Policy))
                lease = one.acquire("m", policy=policy, affinity=key_for(policy))
            except NoBackendAvailableError:
                continue
            assert lease.backend.id in ("b", "x")
            lease.release(1)
            done += 1
        return done

    done = run_threads([change, use, use, use])[1:]
    assert all(done)
    assert counts(one)[0] == 0
    assert one.acquire("m").release()


# ---- asyncio


def test_abandoned_async_generators_leave_nothing_in_flight(one: Registry) -> None:
    async def stream() -> AsyncIterator[int]:
        async with one.acquire("m"):
            for number in range(100):
                yield number
                await asyncio.sleep(0)

    async def abandon() -> None:
        for number in range(500):
            async for got in stream():
                if got == number % 5:
                    break
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(abandon())
    gc.collect()
    assert counts(one)[:2] == (0, 500)


def test_a_task_that_never_started_holds_no_lease(one: Registry) -> None:
    async def use() -> None:
        async with one.acquire("m"):
            await asyncio.sleep(1)

    async def run() -> None:
        task = asyncio.create_task(use())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert counts(one) == (0, 0, 0)


@pytest.mark.parametrize(
    "model_id", ["m", "x" * 47, "x" * 48, "é" * 23, "é" * 24, "\0", "m" * 5000, "模型"]
)
def test_a_lease_keeps_a_model_id_of_any_length(registry: Registry, model_id: str) -> None:
    registry.add_backend(make_backend("b", model_id))
    registry.update_status("b", "healthy")
    with registry.acquire(model_id) as lease:
        assert lease.model_id == model_id
        assert type(lease.model_id) is str
        with pytest.raises(AttributeError):
            lease.model_id = "other"  # type: ignore[misc]


# ---- A release that is also a write.


def test_a_release_that_changes_availability_wakes_watchers_and_ends_waits(one: Registry) -> None:
    """The request leaves the count only after the write, and both are told to who waits."""
    serial = one.get_all_backends()[0].serial
    with one.watch() as watch:
        leases = [one.acquire("m") for _ in range(5)]
        waiting = threading.Thread(target=one.wait_idle, args=("b",), kwargs={"serial": serial})
        following = threading.Thread(target=watch.get)
        waiting.start()
        following.start()
        for lease in leases:
            assert lease.release(failed=True)
        waiting.join()
        following.join()
    view = one.get_backend("b")
    assert view is not None
    assert (view.unavailable, view.pending_requests) == (Reason.EJECTED, 0)
    lease = one.acquire("m")
    assert lease.release(retry_after=5)
    assert one.wait_idle("b", 0)
