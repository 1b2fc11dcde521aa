"""Registries with one planted bug each, which the checks of `long` must detect."""

from __future__ import annotations

import atexit
import mmap
import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendView,
    Change,
    ChangeKind,
    Lease,
    Model,
    Registry,
    Watch,
    _json,
)
from registry._core.binding import IdleWaiter
from registry.fleet import file as fleet_file
from registry.stats import RegistryStats
from support.linearizability import IDS

# Seconds that a planted race gives to other threads. Without the delay, a check would sometimes
# miss the race.
GAP = 1e-5
backends_lock = threading.Lock()
index_lock = threading.Lock()


class Meeting:
    """Where a thread waits until another one comes, so that a planted race needs no luck."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.is_awaited = False
        self.met = 0

    def wait(self, limit: float) -> None:
        """Returns when another thread calls it, or after `limit` seconds."""
        with self.changed:
            if self.is_awaited:
                self.is_awaited = False
                self.met += 1
                self.changed.notify_all()
                return
            before, self.is_awaited = self.met, True
            if not self.changed.wait_for(lambda: self.met != before, limit):
                self.is_awaited = False


class CheckThenAct(Registry):
    """Chooses first and counts later, as many gateways do.

    Two threads that have both chosen go on together. One that is alone goes on after a while.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.meeting = Meeting()

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        chosen = self.select(model_id, **arguments)
        self.meeting.wait(0.02)
        return super().acquire(
            model_id, exclude=[backend_id for backend_id in IDS if backend_id != chosen.id]
        )


class StaleReads(Registry):
    """Returns the view that the previous call found."""

    def get_backend(self, backend_id: str, /) -> BackendView | None:
        last = LAST.get((id(self), backend_id), super().get_backend(backend_id))
        LAST[id(self), backend_id] = super().get_backend(backend_id)
        return last


LAST: dict[tuple[int, str], BackendView | None] = {}


class IdsThenViews(Registry):
    """Reads all ids first, and then each view."""

    def get_healthy_backends(self) -> list[BackendView]:
        ids = list(self)
        time.sleep(GAP)
        views = [self.get_backend(backend_id) for backend_id in ids]
        return [view for view in views if view is not None and view.status is BackendStatus.HEALTHY]

    def get_backends_for_model(self, model_id: str, /) -> list[BackendView]:
        ids = [view.id for view in super().get_backends_for_model(model_id)]
        time.sleep(GAP)
        return [view for view in map(self.get_backend, ids) if view is not None]


class TwoWrites(Registry):
    """Writes the status, and then its error."""

    def update_status(
        self, backend_id: str, /, status: Any, error: str | None = None, **named: Any
    ) -> None:
        super().update_status(backend_id, status, **named)
        time.sleep(GAP)
        super().update_status(backend_id, status, error, **named)


class TriesTwice(Registry):
    """Takes a second lease if another thread interferes, and loses the first one."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        before = sum(view.pending_requests for view in self.get_all_backends())
        lease = super().acquire(model_id, **arguments)
        if sum(view.pending_requests for view in self.get_all_backends()) == before + 1:
            return lease
        LOST.append(lease)
        return super().acquire(model_id, **arguments)


LOST: list[Lease] = []


class MissesCancellation(Registry):
    """Releases a lease after an Exception; but CancelledError is not an Exception."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Any:
        return Careless(super().acquire(model_id, **arguments))


class Careless:
    """A lease of MissesCancellation."""

    active = True

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        LOST.append(lease)

    def __enter__(self) -> Careless:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            self.lease.release()

    async def __aenter__(self) -> Careless:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.__exit__(*error)


class LosesWakeUps(Registry):
    """Looks first and begins to wait later."""

    def _wait(self, backend_id: str, serial: int | None, waiter: IdleWaiter | None, /) -> bool:
        if super()._wait(backend_id, serial, None):
            return True
        if waiter is not None:
            time.sleep(GAP)
            super()._wait(backend_id, serial, waiter)  # Does not look at the result.
        return False


class ReleasesById(Registry):
    """Leases know their backend by its id alone."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Any:
        return ById(self, super().acquire(model_id, **arguments))


class ById:
    """A lease of ReleasesById."""

    def __init__(self, registry: Registry, lease: Lease) -> None:
        self.registry, self.backend = registry, lease.backend
        LOST.append(lease)

    def release(self, _latency_ms: int) -> bool:
        with suppress(BackendNotFoundError):
            self.registry.decrement_pending(self.backend.id)
        return True


def resident_block(size: int) -> mmap.mmap:
    """New resident memory, even if earlier tests have left free memory."""
    block = mmap.mmap(-1, size)
    block.write(b"x" * size)
    return block


class KeepsRemoved(Registry):
    """Keeps 256 bytes for each backend that was removed."""

    def __init__(self) -> None:
        self.removed = 0
        self.blocks: list[mmap.mmap] = []

    def remove_backend(self, backend_id: str, /, **named: Any) -> BackendView:
        self.removed += 1
        if self.removed % 1024 == 0:
            self.blocks.append(resident_block(256 * 1024))
        return super().remove_backend(backend_id, **named)


class KeepsThreads(Registry):
    """Keeps memory for each thread, and never frees it."""

    def __init__(self) -> None:
        self.slots: dict[threading.Thread, mmap.mmap] = {}

    def get_all_backends(self) -> list[BackendView]:
        self.slots[threading.current_thread()] = resident_block(32768)
        return super().get_all_backends()


class WrongAverage(Registry):
    """Rounds the average to the nearest integer."""

    def update_latency(self, backend_id: str, latency_ms: int, /) -> int:
        view = self.get_backend(backend_id)
        old = view.avg_latency_ms if view is not None else 0
        return super().update_latency(
            backend_id, latency_ms + (latency_ms < 2**32 - 1 and (latency_ms + 4 * old) % 5 > 2)
        )


class ForgetsForks(Registry):
    """Has its own lock, which is not reset in a forked child."""

    def stats(self) -> RegistryStats:
        with backends_lock:
            time.sleep(0.001)
            return super().stats()


class WaitsAtExit(Registry):
    """Waits at exit for a lock that a daemon thread holds."""

    def __init__(self) -> None:
        atexit.register(backends_lock.acquire)

    def stats(self) -> RegistryStats:
        backends_lock.acquire()
        raise SystemExit


class CrashesAtExit(Registry):
    """Crashes at exit, like a registry that frees what a daemon thread still uses."""

    def __init__(self) -> None:
        atexit.register(os.kill, os.getpid(), signal.SIGSEGV)


class TwoOrders(Registry):
    """Locks index and backends in two orders, depending on the operation."""

    def get_backends_for_model(self, model_id: str, /) -> list[BackendView]:
        with index_lock, backends_lock:
            return super().get_backends_for_model(model_id)

    def update_models(self, backend_id: str, /, models: Iterable[Model]) -> None:
        with backends_lock:
            time.sleep(0.0001)
            with index_lock:
                super().update_models(backend_id, models)


class NotReentrant(Registry):
    """Deadlocks when a signal handler or finalizer calls the operation that it interrupted."""

    def increment_total_requests(self, backend_id: str, /) -> int:
        with backends_lock:
            time.sleep(0.001)  # Longer than the time between two signals.
            return super().increment_total_requests(backend_id)


class CallsUserCodeUnderItsLock(Registry):
    """Reads an iterable under a lock that the iterable's own code may take."""

    def increment_pending_many(self, ids: Iterable[str], /) -> list[int]:
        with backends_lock:
            return super().increment_pending_many(list(ids))

    def increment_total_requests(self, backend_id: str, /) -> int:
        with backends_lock:
            return super().increment_total_requests(backend_id)


class TrustsSubclasses(Registry):
    """Calls methods of str subclasses."""

    def get_backend(self, backend_id: Any, /) -> BackendView | None:
        return super().get_backend(str(backend_id) if isinstance(backend_id, str) else backend_id)


class CountsBeforeItChecks(Registry):
    """Has already counted some ids when it raises for a later one."""

    def increment_pending_many(self, ids: Iterable[str], /) -> list[int]:
        return [self.increment_pending(backend_id) for backend_id in ids]


class ChangesBeforeItChecks(Registry):
    """Has already changed the status when it raises for the instance."""

    def set_mdns_instance(self, backend_id: str, /, instance: str | None) -> None:
        self.update_status(backend_id, "draining")
        super().set_mdns_instance(backend_id, instance)


class WrongErrors(Registry):
    """Raises an error that is neither in the contract nor from the caller's own code."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        if not isinstance(model_id, str):
            raise AttributeError(model_id)
        return super().acquire(model_id, **arguments)


class LosesLongIds(Registry):
    """Keeps only the first 1,000 characters of an id."""

    def add_backend(self, backend: Backend, /) -> None:
        super().add_backend(
            replace(backend, id=backend.id[:1000]) if type(backend) is Backend else backend
        )


class TrustsHashes(Registry):
    """Keeps its ids in buckets, one for each value of the low bits of a hash."""

    def __init__(self) -> None:
        self.buckets: list[list[str]] = [[] for _ in range(256)]

    def add_backend(self, backend: Backend, /) -> None:
        super().add_backend(backend)
        bucket = self.buckets[hash(backend.id) % len(self.buckets)]
        if backend.id not in bucket:
            bucket.append(backend.id)


def names_no_place() -> None:
    """Removes the place from the errors about JSON documents."""

    def decode(text: str | bytes, form: type[Any]) -> Any:
        return msgspec.json.decode(text, type=form)

    _json.decode = decode


def breaks_on_unknown_keys() -> None:
    """Makes an unknown key an error instead of a warning."""

    def fail(file: str, place: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
        if not table.keys() <= set(known):
            raise KeyError(place)

    fleet_file._warn_in_table = fail


class LateSnapshot(Registry):
    """Reads the snapshot of a watch after the watch was opened."""

    def watch(self, *, limit: int = 1024) -> Watch:
        watch = LateWatch(self, limit)
        watch.first = watch.snapshot
        time.sleep(GAP)
        watch.late = tuple(self.get_all_backends())
        return watch


class LateWatch(Watch):
    """Its first snapshot has changes that it tells, too."""

    first: tuple[BackendView, ...] | None = None
    late: tuple[BackendView, ...] = ()

    @property
    def snapshot(self) -> tuple[BackendView, ...]:
        found = super().snapshot
        return self.late if found is self.first else found


class MissesChanges(Registry):
    """Its watches miss one status in twenty."""

    def watch(self, *, limit: int = 1024) -> Watch:
        return MissingWatch(self, limit)


class MissingWatch(Watch):
    """Misses a status now and then."""

    taken = 0

    def _take(self) -> Change | None:
        change = super()._take()
        if change is None or change.kind is not ChangeKind.STATUS:
            return change
        self.taken += 1
        return change if self.taken % 20 else super()._take()


class RepeatsChanges(Registry):
    """Its watches tell one change in a hundred twice."""

    def watch(self, *, limit: int = 1024) -> Watch:
        return RepeatingWatch(self, limit)


class RepeatingWatch(Watch):
    """Tells a change twice now and then."""

    taken = 0
    last: Change | None = None

    def _take(self) -> Change | None:
        self.taken += 1
        if self.taken % 100 == 0 and self.last is not None:
            return self.last
        self.last = super()._take()
        return self.last


class ForgetsPrompts(Registry):
    """Notes only the first two blocks of a prompt."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        if arguments.get("prefix") is not None:
            arguments["prefix"] = arguments["prefix"][:2]
        return super().acquire(model_id, **arguments)


class KeepsAllPrompts(Registry):
    """Ignores the limit on the blocks that are known."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "prefix_blocks": 1000})
