"""A registry as the author of a gateway would write it, on a concurrent map and atomic integers.

One map has the record of each id, and a map for each model has the records of the backends that
serve it. The counters of a record are atomic. Writers take one lock. A view is a named tuple, the
cheapest immutable copy. Queries and choices iterate over maps that other threads change meanwhile,
so their result may mix several states of the fleet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from registry import Backend, BackendNotFoundError, BackendStatus, DuplicateBackendError, Model


class View(NamedTuple):
    """A copy of a record. Its fields are read one by one."""

    backend: Backend
    status: BackendStatus
    last_health_check: datetime
    last_error: str | None
    pending_requests: int
    total_requests: int
    avg_latency_ms: int

    @property
    def id(self) -> str:
        """The id of the definition."""
        return self.backend.id

    @property
    def models(self) -> tuple[Model, ...]:
        """The models of the definition."""
        return self.backend.models


class Record:
    """One registration."""

    __slots__ = ("average", "backend", "checked", "error", "pending", "status", "total")

    def __init__(self, backend: Backend, counter: Callable[[int], Any]) -> None:
        self.backend = backend
        self.status = BackendStatus.UNKNOWN
        self.checked = datetime.now(UTC)
        self.error: str | None = None
        self.pending, self.total = counter(0), counter(0)
        self.average = counter(-1)  # no sample yet

    def view(self) -> View:
        """A copy of the record."""
        average = max(0, self.average.get())
        return View(
            self.backend,
            self.status,
            self.checked,
            self.error,
            self.pending.get(),
            self.total.get(),
            average,
        )


class Lease:
    """A request in flight."""

    __slots__ = ("record", "registry", "released")

    def __init__(self, registry: RecordRegistry, record: Record) -> None:
        self.registry, self.record, self.released = registry, record, False

    @property
    def backend(self) -> Backend:
        """The chosen backend."""
        return self.record.backend

    def release(self) -> bool:
        """Ends the request; returns whether this was the first release."""
        first, self.released = not self.released, True
        if first:
            self.registry.add(self.record.pending, -1)
            self.registry.add(self.record.total, 1)
        return first


class RecordRegistry:
    """The registry without its types: subclasses define the map and the counter."""

    counter: Callable[[int], Any]

    def __init__(self) -> None:
        self.records = self.map()
        self.by_model = self.map()
        self.writers = threading.Lock()

    def map(self) -> Any:
        """An empty map."""
        raise NotImplementedError

    def add(self, counter: Any, amount: int) -> int:
        """Adds 1 or -1 to a counter and returns its new value."""
        raise NotImplementedError

    def values(self, given: Any) -> Iterable[Record]:
        """The values of a map."""
        raise NotImplementedError

    def serving(self, model_id: str) -> Iterable[Record]:
        """The records of the backends that serve this model."""
        given = self.by_model.get(model_id)
        return () if given is None else self.values(given)

    def record(self, backend_id: str) -> Record:
        """The record of an id."""
        record: Record | None = self.records.get(backend_id)
        if record is None:
            raise BackendNotFoundError(backend_id)
        return record

    # Reading.

    def get_backend(self, backend_id: str) -> View | None:
        record = self.records.get(backend_id)
        return None if record is None else record.view()

    def get_backends_for_model(self, model_id: str) -> list[View]:
        return [record.view() for record in self.serving(model_id)]

    def __contains__(self, backend_id: str) -> bool:
        return self.records.get(backend_id) is not None

    # Writing.

    def add_backend(self, backend: Backend) -> None:
        record = Record(backend, self.counter)
        with self.writers:
            if backend.id in self:
                raise DuplicateBackendError(backend.id)
            self.records[backend.id] = record
            for model in backend.models:
                if self.by_model.get(model.id) is None:
                    self.by_model[model.id] = self.map()
                self.by_model[model.id][backend.id] = record

    def remove_backend(self, backend_id: str) -> View:
        with self.writers:
            record = self.record(backend_id)
            for model in record.backend.models:
                del self.by_model[model.id][backend_id]
            del self.records[backend_id]
        return record.view()

    def update_status(
        self, backend_id: str, status: BackendStatus, error: str | None = None
    ) -> None:
        with self.writers:
            record = self.record(backend_id)
            record.status, record.checked, record.error = status, datetime.now(UTC), error

    # Counting.

    def increment_pending(self, backend_id: str) -> int:
        return self.add(self.record(backend_id).pending, 1)

    def decrement_pending(self, backend_id: str) -> int:
        return self.add(self.record(backend_id).pending, -1)

    def increment_total_requests(self, backend_id: str) -> int:
        return self.add(self.record(backend_id).total, 1)

    # Choosing.

    def acquire(self, model_id: str) -> Lease:
        record = least_pending(self.serving(model_id))
        self.add(record.pending, 1)
        return Lease(self, record)


def least_pending(records: Iterable[Record]) -> Record:
    """The healthy record with the fewest requests in flight."""
    healthy = (record for record in records if record.status is BackendStatus.HEALTHY)
    return min(healthy, key=lambda record: record.pending.get())
