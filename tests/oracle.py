"""The contract on plain dicts, for one thread: simple enough to be right by inspection."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendView,
    DuplicateBackendError,
    Model,
)
from registry._url import normalize_url

logger = logging.getLogger("registry")
TOP = 2**32 - 1


@dataclass
class Entry:
    """One registration."""

    backend: Backend
    status: BackendStatus
    checked: datetime
    error: str | None = None
    pending: int = 0
    total: int = 0
    average: int | None = None


class OracleRegistry:
    """What `registry.Registry` promises, without any promise about threads."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def _entry(self, backend_id: str) -> Entry:
        if backend_id not in self.entries:
            raise BackendNotFoundError(backend_id)
        return self.entries[backend_id]

    @staticmethod
    def _view(entry: Entry) -> BackendView:
        b = entry.backend
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
        )

    def add_backend(self, backend: Backend) -> None:
        if backend.id in self.entries:
            raise DuplicateBackendError(backend.id)
        self._check_instance(backend.id, backend.metadata.get("mdns_instance"))
        self.entries[backend.id] = Entry(backend, BackendStatus.UNKNOWN, datetime.now(UTC))

    def remove_backend(self, backend_id: str) -> BackendView:
        view = self._view(self._entry(backend_id))
        del self.entries[backend_id]
        return view

    def get_backend(self, backend_id: str) -> BackendView | None:
        entry = self.entries.get(backend_id)
        return None if entry is None else self._view(entry)

    def get_all_backends(self) -> list[BackendView]:
        return [self._view(entry) for entry in self.entries.values()]

    def get_healthy_backends(self) -> list[BackendView]:
        return [view for view in self.get_all_backends() if view.status is BackendStatus.HEALTHY]

    def get_backends_for_model(self, model_id: str) -> list[BackendView]:
        return [view for view in self.get_all_backends() if any(model.id == model_id for model in view.models)]

    def backend_count(self) -> int:
        return len(self.entries)

    def model_count(self) -> int:
        return len({model.id for entry in self.entries.values() for model in entry.backend.models})

    def update_status(self, backend_id: str, status: BackendStatus, error: str | None = None) -> None:
        entry = self._entry(backend_id)
        entry.status = status
        entry.checked = datetime.now(UTC)
        entry.error = None if status is BackendStatus.HEALTHY else error

    def update_models(self, backend_id: str, models: Iterable[Model]) -> None:
        entry = self._entry(backend_id)
        entry.backend = replace(entry.backend, models=tuple(models))

    def add_model(self, backend_id: str, model: Model) -> bool:
        entry = self._entry(backend_id)
        if any(there.id == model.id for there in entry.backend.models):
            return False
        self.update_models(backend_id, (*entry.backend.models, model))
        return True

    def remove_model(self, backend_id: str, model_id: str) -> bool:
        before = self._entry(backend_id).backend.models
        rest = [model for model in before if model.id != model_id]
        self.update_models(backend_id, rest)
        return len(rest) != len(before)

    def increment_pending(self, backend_id: str) -> int:
        entry = self._entry(backend_id)
        if entry.pending == TOP:
            raise OverflowError
        entry.pending += 1
        return entry.pending

    def decrement_pending(self, backend_id: str) -> int:
        entry = self._entry(backend_id)
        if entry.pending == 0:
            logger.warning("at 0: %r", backend_id)
        entry.pending = max(0, entry.pending - 1)
        return entry.pending

    def increment_total_requests(self, backend_id: str) -> int:
        entry = self._entry(backend_id)
        entry.total += 1
        return entry.total

    def update_latency(self, backend_id: str, latency_ms: int) -> int:
        entry = self._entry(backend_id)
        entry.average = latency_ms if entry.average is None else (latency_ms + 4 * entry.average) // 5
        return entry.average

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

    def has_backend_url(self, url: str) -> bool:
        wanted = normalize_url(url)
        return wanted is not None and any(normalize_url(e.backend.url) == wanted for e in self.entries.values())

    def find_by_mdns_instance(self, instance: str) -> str | None:
        found = [e.backend.id for e in self.entries.values() if e.backend.metadata.get("mdns_instance") == instance]
        return found[0] if found else None

    def _check_instance(self, backend_id: str, instance: str | None) -> None:
        if instance == "" or (instance is not None and self.find_by_mdns_instance(instance) not in (None, backend_id)):
            raise ValueError("mdns_instance")

    def set_mdns_instance(self, backend_id: str, instance: str | None) -> None:
        if instance == "":
            raise ValueError("instance")
        entry = self._entry(backend_id)
        self._check_instance(backend_id, instance)
        metadata = {key: value for key, value in entry.backend.metadata.items() if key != "mdns_instance"}
        if instance is not None:
            metadata["mdns_instance"] = instance
        entry.backend = replace(entry.backend, metadata=metadata)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, backend_id: object) -> bool:
        return backend_id in self.entries

    def __iter__(self) -> Iterable[str]:
        return iter(list(self.entries))
