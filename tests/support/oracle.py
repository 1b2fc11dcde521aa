"""The contract of `registry.Registry`, executable: plain dicts, one thread, no optimisation.

Tests make the same calls on this class and on the real registry and compare the results. The code
is meant to be right by inspection. It promises nothing about threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendView,
    DiscoverySource,
    DuplicateBackendError,
    Ejection,
    Model,
    Reason,
    Reconciliation,
)
from registry._url import normalize_url
from support.oracle_choices import TOP, Chooser, Entry, Request
from support.oracle_failures import Outcome, Ticket, nanoseconds

__all__ = ["Entry", "OracleRegistry", "Request"]

logger = logging.getLogger("registry")


def same_server(one: Backend, other: Backend) -> bool:
    """Whether the urls are equal in their normal form."""
    return normalize_url(one.url) == normalize_url(other.url)


def difference(old: Backend, new: Backend) -> str:
    """What a reconcile does about a definition: the name of a field of `Reconciliation`."""
    if old == new:
        return "unchanged"
    return "updated" if same_server(old, new) else "replaced"


class OracleRegistry(Chooser):
    """The operations of `registry.Registry`, for one thread.

    `clock` tells the seconds, and `began` the time of day at which it showed 0. The defaults are
    those of a registry that never ejects and of a time that stands still.
    """

    def __init__(
        self,
        rules: Ejection | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        latency_ttl_s: float | None = None,
        began: datetime = datetime(2000, 1, 1, tzinfo=UTC),
    ) -> None:
        super().__init__(rules, clock, latency_ttl_s)
        self.began = began
        # The serial of the latest registration.
        self.last_serial = 0
        self.writes = 0

    def _entry(self, backend_id: str, serial: int | None = None) -> Entry:
        """The registration with this id, and with this serial if there is one. Else the call fails.

        No two registrations have the same serial.
        """
        entry = self.entries.get(backend_id)
        if entry is None or serial not in (None, entry.serial):
            raise BackendNotFoundError(backend_id)
        return entry

    def _registered(self, backend: Backend) -> Entry:
        """A new registration: its health is unknown, and it inherits nothing."""
        self.last_serial += 1
        return Entry(backend, self.last_serial)

    def _note_models(self) -> None:
        """A model that no backend lists any more loses its place in `models()`, and its credits.

        A backend that does not list it any more forgets what it has read for it.
        """
        self.writes += 1
        listed = [model.id for entry in self.entries.values() for model in entry.backend.models]
        self.served = {
            model_id: since for model_id, since in self.served.items() if model_id in listed
        }
        for model_id in listed:
            self.served.setdefault(model_id, self.writes)
        self.credits = {
            model_id: credits
            for model_id, credits in self.credits.items()
            if model_id in self.served
        }
        for entry in self.entries.values():
            entry.known = {key: known for key, known in entry.known.items() if entry.serves(key[0])}

    def _view(self, entry: Entry) -> BackendView:
        """A copy of the registration, which never changes. Without a sample, the average is 0."""
        b, obstacle = entry.backend, self.obstacle(entry)
        deadlines = {
            Reason.COOLING_DOWN: entry.cooling_until,
            Reason.EJECTED: entry.ejected_until,
        }
        until = None if obstacle is None else deadlines.get(obstacle)
        return BackendView(
            id=b.id,
            name=b.name,
            url=b.url,
            backend_type=b.backend_type,
            status=entry.status,
            last_health_check=entry.checked,
            last_error=entry.error,
            models=b.models,
            priority=b.priority,
            pending_requests=entry.pending,
            total_requests=entry.total,
            avg_latency_ms=entry.average or 0,
            discovery_source=b.discovery_source,
            metadata=b.metadata,
            max_pending=b.max_pending,
            weight=b.weight,
            serial=entry.serial,
            draining=entry.draining,
            failed_requests=entry.failed,
            avg_ttft_ms=entry.first_token,
            unavailable=obstacle,
            unavailable_until=None
            if until is None
            else self.began + timedelta(microseconds=until // 1000),
            pending_tokens=entry.tokens,
            max_pending_tokens=b.max_pending_tokens,
        )

    # ---- Registering.

    def add_backend(self, backend: Backend) -> None:
        """The id must be new, and so must the mDNS instance. The health is unknown at first."""
        if backend.id in self.entries:
            raise DuplicateBackendError(backend.id)
        self._check_instance(backend.id, backend.metadata.get("mdns_instance"))
        self.entries[backend.id] = self._registered(backend)
        self._note_models()

    def remove_backend(self, backend_id: str, *, serial: int | None = None) -> BackendView:
        """Returns the last view. A later registration with the same id inherits nothing."""
        view = self._view(self._entry(backend_id, serial))
        del self.entries[backend_id]
        self._note_models()
        return view

    def update_backend(self, backend: Backend) -> None:
        """Replaces the definition. It keeps its place in the order of registration."""
        self._check_text(backend)
        entry = self._entry(backend.id)
        self._check_instance(backend.id, backend.metadata.get("mdns_instance"))
        self.entries[backend.id] = self._updated(entry, backend)
        self._note_models()

    def _updated(self, entry: Entry, backend: Backend) -> Entry:
        """The same registration if the url is equal, otherwise a new one."""
        if not same_server(entry.backend, backend):
            return self._registered(backend)
        entry.backend = backend
        return entry

    def reconcile(
        self, backends: Iterable[Backend], *, source: DiscoverySource | None = None
    ) -> Reconciliation:
        """Makes the fleet, or the part of it from this source, equal to the list."""
        given = list(backends)
        wanted = {backend.id for backend in given}
        others = [
            entry.backend
            for entry in self.entries.values()
            if source not in (None, entry.backend.discovery_source)
        ]
        instances = [
            backend.metadata["mdns_instance"]
            for backend in (*others, *given)
            if "mdns_instance" in backend.metadata
        ]
        if (
            len(wanted) < len(given)
            or any(source not in (None, backend.discovery_source) for backend in given)
            or any(other.id in wanted for other in others)
            or len(set(instances)) < len(instances)
            or "" in instances
        ):
            raise ValueError("backends")
        kept = {other.id for other in others}
        done: dict[str, list[str]] = {field.name: [] for field in fields(Reconciliation)}
        for backend_id in [id for id in self.entries if id not in wanted and id not in kept]:
            del self.entries[backend_id]
            done["removed"].append(backend_id)
        for backend in given:
            entry = self.entries.get(backend.id)
            if entry is None:
                self.entries[backend.id] = self._registered(backend)
                done["added"].append(backend.id)
                continue
            done[difference(entry.backend, backend)].append(backend.id)
            self.entries[backend.id] = self._updated(entry, backend)
        self._note_models()
        return Reconciliation(**{name: tuple(ids) for name, ids in done.items()})

    # ---- Queries. Lists are in the order of registration.

    def get_backend(self, backend_id: str) -> BackendView | None:
        entry = self.entries.get(backend_id)
        return None if entry is None else self._view(entry)

    def get_all_backends(self) -> list[BackendView]:
        return [self._view(entry) for entry in self.entries.values()]

    def get_healthy_backends(self) -> list[BackendView]:
        """The backends that are healthy, and that no operator is draining."""
        return [
            self._view(entry)
            for entry in self.entries.values()
            if entry.status is BackendStatus.HEALTHY and not entry.draining
        ]

    def get_backends_for_model(self, model_id: str) -> list[BackendView]:
        return [self._view(entry) for entry in self.entries.values() if entry.serves(model_id)]

    def backend_count(self) -> int:
        return len(self.entries)

    def model_count(self) -> int:
        """The number of distinct model ids."""
        return len(self.served)

    def models(self) -> list[str]:
        """The distinct model ids, in the order in which they were first served.

        The order of models that one write brought is that of the fleet; `served` tells which ones
        these are.
        """
        return list(self.served)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, backend_id: object) -> bool:
        return backend_id in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.entries))

    # ---- Health and models.

    def update_status(
        self,
        backend_id: str,
        status: BackendStatus,
        error: str | None = None,
        *,
        serial: int | None = None,
    ) -> None:
        """Sets status, error and check time together. A healthy backend has no error."""
        entry = self._entry(backend_id, serial)
        if (entry.status, status) == (BackendStatus.UNHEALTHY, BackendStatus.HEALTHY):
            self.start_slowly(entry)
        entry.status = status
        entry.checked = datetime.now(UTC)
        entry.error = None if status is BackendStatus.HEALTHY else error

    def drain(self, backend_id: str, *, serial: int | None = None) -> None:
        """The operator takes the backend out of use. The health that was observed stays."""
        self._entry(backend_id, serial).draining = True

    def resume(self, backend_id: str, *, serial: int | None = None) -> None:
        """The operator lets the backend be chosen again, if its health allows it."""
        self._entry(backend_id, serial).draining = False

    def cool_down(self, backend_id: str, seconds: float, *, serial: int | None = None) -> None:
        """Keeps new requests away for so many seconds."""
        self.rest(self._entry(backend_id, serial), nanoseconds(seconds))

    def restore(self, backend_id: str, *, serial: int | None = None) -> None:
        """Ends ejection, trial, cool-down and slow start at once."""
        self.bring_back_by_hand(self._entry(backend_id, serial))

    def update_models(self, backend_id: str, models: Iterable[Model]) -> None:
        """Replaces the whole list. Health and counters stay."""
        entry = self._entry(backend_id)
        entry.backend = replace(entry.backend, models=tuple(models))
        self._note_models()

    def add_model(self, backend_id: str, model: Model) -> bool:
        """Appends the model and returns True; False if the backend lists its id already."""
        entry = self._entry(backend_id)
        if entry.serves(model.id):
            return False
        self.update_models(backend_id, (*entry.backend.models, model))
        return True

    def remove_model(self, backend_id: str, model_id: str) -> bool:
        """Returns whether the backend listed the model."""
        before = self._entry(backend_id).backend.models
        rest = [model for model in before if model.id != model_id]
        self.update_models(backend_id, rest)
        return len(rest) != len(before)

    # ---- Counters. Each operation returns the new value.

    def increment_pending(self, backend_id: str) -> int:
        """At the limit, the operation fails and the counter stays."""
        entry = self._entry(backend_id)
        if entry.pending == TOP:
            raise OverflowError
        entry.pending += 1
        return entry.pending

    def decrement_pending(self, backend_id: str) -> int:
        """At 0, the counter stays and a warning is logged."""
        entry = self._entry(backend_id)
        if entry.pending == 0:
            logger.warning("at 0: %r", backend_id)
        entry.finish_request()
        return entry.pending

    def increment_total_requests(self, backend_id: str) -> int:
        entry = self._entry(backend_id)
        entry.total += 1
        return entry.total

    def update_latency(self, backend_id: str, latency_ms: int) -> int:
        return self.add_sample(self._entry(backend_id), latency_ms)

    # The bulk forms count nothing if one of the ids is not registered.

    def increment_pending_many(self, ids: list[str]) -> list[int]:
        for backend_id in ids:
            self._entry(backend_id)
        return [self.increment_pending(backend_id) for backend_id in ids]

    def decrement_pending_many(self, ids: list[str]) -> list[int]:
        for backend_id in ids:
            self._entry(backend_id)
        return [self.decrement_pending(backend_id) for backend_id in ids]

    def update_latency_many(self, ids: list[str], samples: list[int]) -> list[int]:
        for backend_id in ids:
            self._entry(backend_id)
        return [self.update_latency(*pair) for pair in zip(ids, samples, strict=True)]

    # ---- Leases.

    def release(
        self,
        entry: Entry,
        ticket: Ticket,
        outcome: Outcome,
        latency_ms: int | None = None,
        retry_after: float = 0,
        tokens: int = 0,
    ) -> None:
        """Ends a lease, on its own registration, even if the registration has been removed.

        `tokens` are those of the lease, which leave the sum with the request.

        Every request counts in the total, but only that of a success is a sample: the given one,
        or the time since the choice.
        """
        if outcome == "succeeded":
            self.add_sample(entry, self.elapsed_ms(ticket) if latency_ms is None else latency_ms)
        due = self.count_outcome(entry, ticket, outcome)
        entry.total += 1
        entry.failed += outcome in ("failed", "asked")
        self.settle(entry, ticket, due, nanoseconds(retry_after))
        entry.replace_tokens(tokens, 0)
        entry.finish_request()
        self.free_place(entry, ticket)

    # ---- URLs and mDNS instances.

    def has_backend_url(self, url: str) -> bool:
        """URLs are compared in their normal form."""
        wanted = normalize_url(url)
        return wanted is not None and any(
            normalize_url(entry.backend.url) == wanted for entry in self.entries.values()
        )

    def find_by_mdns_instance(self, instance: str) -> str | None:
        """The id of the backend whose metadata name this instance."""
        for entry in self.entries.values():
            if entry.backend.metadata.get("mdns_instance") == instance:
                return entry.backend.id
        return None

    @staticmethod
    def _check_text(backend: Backend) -> None:
        """An instance is not empty, whether or not the backend is registered."""
        if backend.metadata.get("mdns_instance") == "":
            raise ValueError("mdns_instance")

    def _check_instance(self, backend_id: str, instance: str | None) -> None:
        """An instance is not empty, and belongs to one backend at most."""
        if instance == "":
            raise ValueError("mdns_instance")
        if instance is None:
            return
        if self.find_by_mdns_instance(instance) not in (None, backend_id):
            raise ValueError("mdns_instance")

    def set_mdns_instance(self, backend_id: str, instance: str | None) -> None:
        """Sets the instance in the metadata; None removes it."""
        if instance == "":
            raise ValueError("instance")
        entry = self._entry(backend_id)
        self._check_instance(backend_id, instance)
        metadata = {
            key: value for key, value in entry.backend.metadata.items() if key != "mdns_instance"
        }
        if instance is not None:
            metadata["mdns_instance"] = instance
        entry.backend = replace(entry.backend, metadata=metadata)
