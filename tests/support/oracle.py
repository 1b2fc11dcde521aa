"""The contract on plain dicts, for one thread: simple enough to be right by inspection."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendView,
    DuplicateBackendError,
    Model,
    Policy,
    Requirements,
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

    def load(self) -> Fraction:
        """In flight with one more, by weight."""
        return Fraction(self.pending + 1, self.backend.weight)

    def is_full(self) -> bool:
        """Whether it is at its cap."""
        return self.pending >= (self.backend.max_pending or TOP)

    def smart_score(self) -> int:
        """The original router's."""
        return (
            (100 - min(self.backend.priority, 100)) * 50
            + (100 - min(self.pending, 100)) * 30
            + (100 - min((self.average or 0) // 10, 100)) * 20
        )


@dataclass
class Request:
    """What `acquire`, `select` and `explain` take."""

    model_id: str
    policy: Policy = Policy.LEAST_PENDING
    require: Requirements | None = None
    exclude: Iterable[str] = ()
    allow_unknown: bool = False

    def arguments(self) -> dict[str, Any]:
        """All but the model, by name."""
        return {name: value for name, value in vars(self).items() if name != "model_id"}


class OracleRegistry:
    """What `registry.Registry` promises, without any promise about threads."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.credits: dict[str, dict[int, int]] = {}

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
            max_pending=b.max_pending,
            weight=b.weight,
        )

    def add_backend(self, backend: Backend) -> None:
        if backend.id in self.entries:
            raise DuplicateBackendError(backend.id)
        self._check_instance(backend.id, backend.metadata.get("mdns_instance"))
        self.entries[backend.id] = Entry(backend, BackendStatus.UNKNOWN, datetime.now(UTC))

    def remove_backend(self, backend_id: str) -> BackendView:
        view = self._view(self._entry(backend_id))
        del self.entries[backend_id]
        self._forget_turns()
        return view

    def get_backend(self, backend_id: str) -> BackendView | None:
        entry = self.entries.get(backend_id)
        return None if entry is None else self._view(entry)

    def get_all_backends(self) -> list[BackendView]:
        return [self._view(entry) for entry in self.entries.values()]

    def get_healthy_backends(self) -> list[BackendView]:
        return [view for view in self.get_all_backends() if view.status is BackendStatus.HEALTHY]

    def get_backends_for_model(self, model_id: str) -> list[BackendView]:
        return [
            view
            for view in self.get_all_backends()
            if any(model.id == model_id for model in view.models)
        ]

    def backend_count(self) -> int:
        return len(self.entries)

    def model_count(self) -> int:
        return len({model.id for entry in self.entries.values() for model in entry.backend.models})

    def update_status(
        self, backend_id: str, status: BackendStatus, error: str | None = None
    ) -> None:
        entry = self._entry(backend_id)
        entry.status = status
        entry.checked = datetime.now(UTC)
        entry.error = None if status is BackendStatus.HEALTHY else error

    def update_models(self, backend_id: str, models: Iterable[Model]) -> None:
        entry = self._entry(backend_id)
        entry.backend = replace(entry.backend, models=tuple(models))
        self._forget_turns()

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
        entry.average = (
            latency_ms if entry.average is None else (latency_ms + 4 * entry.average) // 5
        )
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

    # ---- choosing

    def reason(self, entry: Entry, request: Request) -> str | None:
        """Why this one, which lists the model, may not be chosen."""
        model = next(model for model in entry.backend.models if model.id == request.model_id)
        require = request.require or Requirements()
        obstacles = {
            "excluded": entry.backend.id in request.exclude,
            "unhealthy": entry.status is BackendStatus.UNHEALTHY,
            "draining": entry.status is BackendStatus.DRAINING,
            "unknown": entry.status is BackendStatus.UNKNOWN and not request.allow_unknown,
            "no vision": require.vision and not model.supports_vision,
            "no tools": require.tools and not model.supports_tools,
            "no json mode": require.json_mode and not model.supports_json_mode,
            f"context {model.context_length} < {require.min_context}": model.context_length
            < require.min_context,
            "full": entry.is_full(),
        }
        return next((text for text, there in obstacles.items() if there), None)

    def listed(self, request: Request) -> list[tuple[Entry, str | None]]:
        """Every backend of the model, with what stands in its way."""
        listing = [
            e
            for e in self.entries.values()
            if any(m.id == request.model_id for m in e.backend.models)
        ]
        return [(entry, self.reason(entry, request)) for entry in listing]

    def cost(self, entry: Entry, request: Request) -> Any:
        """What the policy wants the least of. At random: 0 for everyone."""
        rest = [
            e
            for e, reason in self.listed(request)
            if reason in (None, "full") and e.average is not None
        ]
        best = min((e.average for e in rest if e.average is not None), default=1)
        sampled = entry.average is not None
        average = entry.average if entry.average is not None else best
        credit = self.credits.get(request.model_id, {}).get(id(entry), 0)
        costs = {
            Policy.LEAST_PENDING: entry.load(),
            Policy.LOWEST_LATENCY: (
                average * entry.load(),
                sampled,
                0 if sampled else entry.load(),
            ),
            Policy.ROUND_ROBIN: -(credit + entry.backend.weight),
            Policy.PRIORITY: (entry.backend.priority, entry.load()),
            Policy.SMART: -entry.smart_score(),
        }
        return costs.get(request.policy, 0)

    def choices(self, request: Request) -> set[str]:
        """The ids that may be chosen now; several where they are equal."""
        eligible = [entry for entry, reason in self.listed(request) if reason is None]
        if not eligible:
            return set()
        if request.policy is Policy.POWER_OF_TWO and len(eligible) > 1:
            worst = max(entry.load() for entry in eligible)
            only_one = sum(entry.load() == worst for entry in eligible) == 1
            return {e.backend.id for e in eligible if not only_one or e.load() != worst}
        least = min(self.cost(entry, request) for entry in eligible)
        return {entry.backend.id for entry in eligible if self.cost(entry, request) == least}

    def choose(self, request: Request, chosen: str) -> Entry:
        """Takes note of a choice: turns move on."""
        if request.policy is Policy.ROUND_ROBIN:
            credits = self.credits.setdefault(request.model_id, {})
            eligible = [entry for entry, reason in self.listed(request) if reason is None]
            for entry in eligible:
                credits[id(entry)] = credits.get(id(entry), 0) + entry.backend.weight
            credits[id(self.entries[chosen])] -= sum(entry.backend.weight for entry in eligible)
        return self.entries[chosen]

    def _forget_turns(self) -> None:
        if not self.credits:
            return
        served = {model.id for entry in self.entries.values() for model in entry.backend.models}
        self.credits = {
            model_id: turns for model_id, turns in self.credits.items() if model_id in served
        }

    @staticmethod
    def release(entry: Entry, latency_ms: int, failed: bool) -> None:
        """The end of a request on a registration, whether or not it is still there."""
        entry.pending = max(0, entry.pending - 1)
        entry.total += 1
        if not failed:
            entry.average = (
                latency_ms if entry.average is None else (latency_ms + 4 * entry.average) // 5
            )

    def has_backend_url(self, url: str) -> bool:
        wanted = normalize_url(url)
        return wanted is not None and any(
            normalize_url(e.backend.url) == wanted for e in self.entries.values()
        )

    def find_by_mdns_instance(self, instance: str) -> str | None:
        found = [
            e.backend.id
            for e in self.entries.values()
            if e.backend.metadata.get("mdns_instance") == instance
        ]
        return found[0] if found else None

    def _check_instance(self, backend_id: str, instance: str | None) -> None:
        if instance == "" or (
            instance is not None and self.find_by_mdns_instance(instance) not in (None, backend_id)
        ):
            raise ValueError("mdns_instance")

    def set_mdns_instance(self, backend_id: str, instance: str | None) -> None:
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

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, backend_id: object) -> bool:
        return backend_id in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.entries))
