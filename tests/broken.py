"""Registries with a planted bug each: what the checks of `long` have to catch."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterable
from typing import Any

from registry import Backend, BackendView, Lease, Model, Registry
from registry.stats import RegistryStats

backends_lock = threading.Lock()
index_lock = threading.Lock()


class ForgetsForks(Registry):
    """A lock of its own, which nobody puts in order in a child."""

    def stats(self) -> RegistryStats:
        with backends_lock:
            time.sleep(0.001)
            return super().stats()


class WaitsAtExit(Registry):
    """An exit waits for a call that a daemon thread is in."""

    def __init__(self) -> None:
        atexit.register(backends_lock.acquire)

    def stats(self) -> RegistryStats:
        backends_lock.acquire()
        raise SystemExit


class CrashesAtExit(Registry):
    """An exit frees what a daemon thread still uses."""

    def __init__(self) -> None:
        atexit.register(os.kill, os.getpid(), signal.SIGSEGV)


class TwoOrders(Registry):
    """The original's deadlock: one call takes the index and then the backends, another one the backends and then the index."""

    def get_backends_for_model(self, model_id: str, /) -> list[BackendView]:
        with index_lock, backends_lock:
            return super().get_backends_for_model(model_id)

    def update_models(self, backend_id: str, /, models: Iterable[Model]) -> None:
        with backends_lock:
            time.sleep(0.0001)
            with index_lock:
                super().update_models(backend_id, models)


class NotReentrant(Registry):
    """A call that is interrupted by a signal handler or the collector, which calls it again, waits for itself."""

    def increment_total_requests(self, backend_id: str, /) -> int:
        with backends_lock:
            return super().increment_total_requests(backend_id)


class CallsUserCodeUnderItsLock(Registry):
    """An iterable that is read under a lock may call whatever takes it."""

    def increment_pending_many(self, ids: Iterable[str], /) -> list[int]:
        with backends_lock:
            return super().increment_pending_many(list(ids))

    def increment_total_requests(self, backend_id: str, /) -> int:
        with backends_lock:
            return super().increment_total_requests(backend_id)


class TrustsSubclasses(Registry):
    """Asks a str subclass what it is."""

    def get_backend(self, backend_id: Any, /) -> BackendView | None:
        return super().get_backend(str(backend_id))


class CountsBeforeItChecks(Registry):
    """A call that raises has changed something."""

    def increment_pending_many(self, ids: Iterable[str], /) -> list[int]:
        return [self.increment_pending(backend_id) for backend_id in ids]


class AddsBeforeItChecks(Registry):
    """A backend that is refused stays all the same."""

    def set_mdns_instance(self, backend_id: str, /, instance: str | None) -> None:
        self.update_status(backend_id, "draining")
        super().set_mdns_instance(backend_id, instance)


class WrongErrors(Registry):
    """An error that is neither of the contract's nor the caller's own."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        if not isinstance(model_id, str):
            raise AttributeError(model_id)
        return super().acquire(model_id, **arguments)


class LosesLongIds(Registry):
    """Keeps only so much of an id."""

    def add_backend(self, backend: Backend, /) -> None:
        super().add_backend(Backend(backend.id[:1000], backend.name, backend.url, models=backend.models))
