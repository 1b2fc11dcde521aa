"""The contract of `registry.Registry`, executable: plain dicts, one thread, no optimisation.

Tests make the same calls on this class and on the real registry and compare the results. The code
is meant to be right by inspection. It promises nothing about threads.
"""

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

# The largest number of requests in flight.
TOP = 2**32 - 1


@dataclass
class Entry:
    """One registration: a definition, its health and its counters."""

    backend: Backend
    status: BackendStatus
    checked: datetime
    error: str | None = None
    pending: int = 0
    total: int = 0
    average: int | None = None  # None until the first sample

    def serves(self, model_id: str) -> bool:
        """Whether the backend lists the model."""
        return any(model.id == model_id for model in self.backend.models)

    def load(self) -> Fraction:
        """The requests in flight, plus one, in proportion to the weight."""
        return Fraction(self.pending + 1, self.backend.weight)

    def is_full(self) -> bool:
        """Whether the requests in flight have reached the cap."""
        return self.pending >= (self.backend.max_pending or TOP)

    def smart_score(self) -> int:
        """The score of the Nexus router: the highest is best."""
        return (
            (100 - min(self.backend.priority, 100)) * 50
            + (100 - min(self.pending, 100)) * 30
            + (100 - min((self.average or 0) // 10, 100)) * 20
        )

    def add_sample(self, latency_ms: int) -> None:
        """The first sample becomes the average. Later: (sample + 4 * old) / 5, rounded down."""
        old = self.average
        self.average = latency_ms if old is None else (latency_ms + 4 * old) // 5

    def finish_request(self) -> None:
        """Subtracts 1 from the requests in flight, but never goes below 0."""
        self.pending = max(0, self.pending - 1)


@dataclass
class Request:
    """The arguments of `acquire`, `select` and `explain`."""

    model_id: str
    policy: Policy = Policy.LEAST_PENDING
    require: Requirements | None = None
    exclude: Iterable[str] = ()
    allow_unknown: bool = False

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments: all but the model id."""
        return {name: value for name, value in vars(self).items() if name != "model_id"}


class OracleRegistry:
    """The operations of `registry.Registry`, for one thread."""

    def __init__(self) -> None:
        # Registrations by id, in the order of registration.
        self.entries: dict[str, Entry] = {}
        # Credits of ROUND_ROBIN: by model id, then by id() of the registration.
        self.credits: dict[str, dict[int, int]] = {}

    def _entry(self, backend_id: str) -> Entry:
        """The registration with this id; operations on ids that are not registered fail."""
        if backend_id not in self.entries:
            raise BackendNotFoundError(backend_id)
        return self.entries[backend_id]

    @staticmethod
    def _view(entry: Entry) -> BackendView:
        """A copy of the registration, which never changes. Without a sample, the average is 0."""
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

    # ---- Registering.

    def add_backend(self, backend: Backend) -> None:
        """The id must be new, and so must the mDNS instance. The health is unknown at first."""
        if backend.id in self.entries:
            raise DuplicateBackendError(backend.id)
        self._check_instance(backend.id, backend.metadata.get("mdns_instance"))
        self.entries[backend.id] = Entry(backend, BackendStatus.UNKNOWN, datetime.now(UTC))

    def remove_backend(self, backend_id: str) -> BackendView:
        """Returns the last view. A later registration with the same id inherits nothing."""
        view = self._view(self._entry(backend_id))
        del self.entries[backend_id]
        self._drop_credits()
        return view

    # ---- Queries. Lists are in the order of registration.

    def get_backend(self, backend_id: str) -> BackendView | None:
        entry = self.entries.get(backend_id)
        return None if entry is None else self._view(entry)

    def get_all_backends(self) -> list[BackendView]:
        return [self._view(entry) for entry in self.entries.values()]

    def get_healthy_backends(self) -> list[BackendView]:
        return [view for view in self.get_all_backends() if view.status is BackendStatus.HEALTHY]

    def get_backends_for_model(self, model_id: str) -> list[BackendView]:
        return [self._view(entry) for entry in self.entries.values() if entry.serves(model_id)]

    def backend_count(self) -> int:
        return len(self.entries)

    def model_count(self) -> int:
        """The number of distinct model ids."""
        return len({model.id for entry in self.entries.values() for model in entry.backend.models})

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, backend_id: object) -> bool:
        return backend_id in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.entries))

    # ---- Health and models.

    def update_status(
        self, backend_id: str, status: BackendStatus, error: str | None = None
    ) -> None:
        """Sets status, error and check time together. A healthy backend has no error."""
        entry = self._entry(backend_id)
        entry.status = status
        entry.checked = datetime.now(UTC)
        entry.error = None if status is BackendStatus.HEALTHY else error

    def update_models(self, backend_id: str, models: Iterable[Model]) -> None:
        """Replaces the whole list. Health and counters stay."""
        entry = self._entry(backend_id)
        entry.backend = replace(entry.backend, models=tuple(models))
        self._drop_credits()

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
        entry = self._entry(backend_id)
        entry.add_sample(latency_ms)
        assert entry.average is not None
        return entry.average

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

    # ---- Choosing.

    def reason(self, entry: Entry, request: Request) -> str | None:
        """Why a backend that lists the model must not be chosen: the first reason that applies.

        None if the backend qualifies.
        """
        model = next(model for model in entry.backend.models if model.id == request.model_id)
        require = request.require or Requirements()
        reasons = {
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
        return next((text for text, applies in reasons.items() if applies), None)

    def listed(self, request: Request) -> list[tuple[Entry, str | None]]:
        """Every backend that lists the model, with the reason against it."""
        serving = [entry for entry in self.entries.values() if entry.serves(request.model_id)]
        return [(entry, self.reason(entry, request)) for entry in serving]

    def eligible(self, request: Request) -> list[Entry]:
        """The backends that qualify."""
        return [entry for entry, reason in self.listed(request) if reason is None]

    def best_average(self, request: Request) -> int:
        """The best average latency among the backends that qualify and those that are only full."""
        samples = [
            entry.average
            for entry, reason in self.listed(request)
            if reason in (None, "full") and entry.average is not None
        ]
        return min(samples, default=1)

    def cost(self, entry: Entry, request: Request) -> Any:
        """What the policy minimises. The policies that draw at random have no cost: 0.

        LOWEST_LATENCY: a backend without a sample counts as the best average, and wins ties. Among
        several without a sample, the least loaded wins.

        ROUND_ROBIN: the backend with the most credits wins, once each has received its weight.
        """
        credit = self.credits.get(request.model_id, {}).get(id(entry), 0)
        is_sampled = entry.average is not None
        average = entry.average if entry.average is not None else self.best_average(request)
        costs = {
            Policy.LEAST_PENDING: entry.load(),
            Policy.LOWEST_LATENCY: (
                average * entry.load(),
                is_sampled,
                0 if is_sampled else entry.load(),
            ),
            Policy.ROUND_ROBIN: -(credit + entry.backend.weight),
            Policy.PRIORITY: (entry.backend.priority, entry.load()),
            Policy.SMART: -entry.smart_score(),
            Policy.POWER_OF_TWO: 0,
            Policy.RANDOM: 0,
        }
        return costs[request.policy]

    def choices(self, request: Request) -> set[str]:
        """The ids that may be chosen now. Equal backends may all be chosen.

        RANDOM may choose any backend that qualifies. POWER_OF_TWO draws two different ones and
        takes the less loaded, so only the single most loaded backend can never be chosen.
        """
        eligible = self.eligible(request)
        if not eligible:
            return set()
        if request.policy is Policy.POWER_OF_TWO and len(eligible) > 1:
            top = max(entry.load() for entry in eligible)
            most_loaded = [entry for entry in eligible if entry.load() == top]
            never = most_loaded if len(most_loaded) == 1 else []
            return {entry.backend.id for entry in eligible if entry not in never}
        least = min(self.cost(entry, request) for entry in eligible)
        return {entry.backend.id for entry in eligible if self.cost(entry, request) == least}

    def note_choice(self, request: Request, chosen: str) -> Entry:
        """Records that the backend was chosen, and returns its registration.

        ROUND_ROBIN is nginx's smooth weighted round robin: every backend that qualifies receives
        its weight in credits, and the chosen one pays the sum of all these weights.
        """
        if request.policy is Policy.ROUND_ROBIN:
            credits = self.credits.setdefault(request.model_id, {})
            eligible = self.eligible(request)
            for entry in eligible:
                credits[id(entry)] = credits.get(id(entry), 0) + entry.backend.weight
            credits[id(self.entries[chosen])] -= sum(entry.backend.weight for entry in eligible)
        return self.entries[chosen]

    def _drop_credits(self) -> None:
        """A model that no backend lists any more loses its credits."""
        if self.credits:
            served = {model.id for entry in self.entries.values() for model in entry.backend.models}
            self.credits = {
                model_id: credits
                for model_id, credits in self.credits.items()
                if model_id in served
            }

    @staticmethod
    def release(entry: Entry, latency_ms: int, failed: bool) -> None:
        """Ends a lease, on its own registration, even if the registration has been removed.

        A failed request counts in the total, but its latency is not a sample.
        """
        entry.finish_request()
        entry.total += 1
        if not failed:
            entry.add_sample(latency_ms)

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
