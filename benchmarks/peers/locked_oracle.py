"""Plain dicts behind one `threading.Lock`, as many Python gateways have them.

The methods call tests/support/oracle.py, the executable contract. Queries by model, URL and mDNS
instance scan the fleet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic_ns
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from support.oracle import Entry, OracleRegistry

from benchmarks import fleet
from benchmarks.peers.records import View
from registry import Backend, BackendStatus

METHODS = """
    add_backend remove_backend get_backend get_all_backends get_healthy_backends
    get_backends_for_model backend_count model_count update_models add_model
    remove_model increment_pending decrement_pending increment_total_requests update_latency
    increment_pending_many decrement_pending_many update_latency_many has_backend_url
    find_by_mdns_instance set_mdns_instance update_backend reconcile drain resume
"""

# Kind, id, view before and view after.
Change = tuple[str, str, Any, Any]


class Lease:
    """A request in flight."""

    def __init__(self, registry: LockedOracle, entry: Entry) -> None:
        self.registry, self.entry = registry, entry
        self.started, self.released = monotonic_ns(), False

    @property
    def backend(self) -> Backend:
        """The chosen backend."""
        return self.entry.backend

    def release(self) -> bool:
        """Ends the request; returns whether this was the first release."""
        with self.registry.lock:
            first, self.released = not self.released, True
            if first:
                latency_ms = (monotonic_ns() - self.started) // 10**6
                self.registry.oracle.add_sample(self.entry, latency_ms)
                self.entry.total += 1
                self.entry.finish_request()
        return first


class Watch:
    """A stream of changes: the writer puts each one into a queue, unless `limit` are unread."""

    def __init__(self, registry: LockedOracle, limit: int) -> None:
        self.registry, self.limit = registry, limit
        self.changes: SimpleQueue[Change] = SimpleQueue()
        with registry.lock:
            self.snapshot = tuple(registry.oracle.get_all_backends())
            registry.watches = (*registry.watches, self)

    def get(self, timeout: float | None = None) -> Change | None:
        """The next change; None when the time is up."""
        try:
            return self.changes.get(timeout=timeout)
        except Empty:
            return None

    def close(self) -> None:
        """Ends the stream."""
        with self.registry.lock:
            self.registry.watches = tuple(one for one in self.registry.watches if one is not self)


class Oracle(OracleRegistry):
    """The oracle with the peers' views: ours are slow to construct from Python."""

    @staticmethod
    def _view(entry: Entry) -> View:  # type: ignore[override]  # not a BackendView
        counts = entry.pending, entry.total, entry.average or 0
        return View(entry.backend, entry.status, entry.checked, entry.error, *counts)

    def _note_models(self) -> None:
        """Does nothing: the peer has no operation that needs the order of the models."""

    def model_count(self) -> int:
        """Scans the fleet."""
        return len({model.id for entry in self.entries.values() for model in entry.backend.models})


class LockedOracle:
    """An oracle and the lock that guards it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.oracle = Oracle()
        self.watches: tuple[Watch, ...] = ()

    def __contains__(self, backend_id: str) -> bool:
        with self.lock:
            return backend_id in self.oracle

    def acquire(self, model_id: str) -> Lease:
        """Chooses the healthy backend with the fewest requests in flight per weight."""
        with self.lock:
            serving = [
                entry
                for entry in self.oracle.entries.values()
                if entry.status is BackendStatus.HEALTHY
                and any(model.id == model_id for model in entry.backend.models)
            ]
            entry = min(serving, key=lambda one: (one.pending + 1) / one.backend.weight)
            entry.pending += 1
        return Lease(self, entry)

    def update_status(
        self, backend_id: str, status: BackendStatus, error: str | None = None
    ) -> None:
        """Only this write reaches the watches, for no other one is measured with them."""
        with self.lock:
            if not self.watches:
                self.oracle.update_status(backend_id, status, error)
                return
            before = self.oracle.get_backend(backend_id)
            self.oracle.update_status(backend_id, status, error)
            change = "status", backend_id, before, self.oracle.get_backend(backend_id)
            for watch in self.watches:
                if watch.changes.qsize() < watch.limit:
                    watch.changes.put(change)

    def watch(self, *, limit: int = 1024) -> Watch:
        """Opens a stream of the changes from now on."""
        return Watch(self, limit)


def locked(name: str) -> Callable[..., Any]:
    """A method that holds the lock while it calls the oracle's."""
    method = getattr(Oracle, name)

    def call(self: LockedOracle, *arguments: Any) -> Any:
        with self.lock:
            return method(self.oracle, *arguments)

    return call


for name in METHODS.split():
    setattr(LockedOracle, name, locked(name))

filled = partial(fleet.filled, make=LockedOracle)
