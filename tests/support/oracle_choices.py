"""The executable contract of choices: which backends the oracle's registry may choose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from registry import Backend, BackendStatus, Policy, Requirements

# The largest number of requests in flight.
TOP = 2**32 - 1


@dataclass
class Entry:
    """One registration: a definition, its health, the operator's decision, and its counters."""

    backend: Backend
    serial: int
    status: BackendStatus = BackendStatus.UNKNOWN
    checked: datetime = field(default_factory=lambda: datetime.now(UTC))
    error: str | None = None
    draining: bool = False
    pending: int = 0
    total: int = 0
    failed: int = 0
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

    def smart_score(self, best_average: int) -> int:
        """The score of the Nexus router: the highest is best.

        A backend without a sample counts as the best average.
        """
        average = best_average if self.average is None else self.average
        return (
            (100 - min(self.backend.priority, 100)) * 50
            + (100 - min(self.pending, 100)) * 30
            + (100 - min(average // 10, 100)) * 20
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


class Chooser:
    """The choices of an `OracleRegistry`."""

    def __init__(self) -> None:
        # Registrations by id, in the order of registration.
        self.entries: dict[str, Entry] = {}
        # Credits of ROUND_ROBIN: by model id, then by serial.
        self.credits: dict[str, dict[int, int]] = {}
        # The weights at the latest of these choices, likewise.
        self.settled: dict[str, dict[int, int]] = {}

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
            # After the reasons of the status: see below for the text.
            "drained": entry.draining,
            "no vision": require.vision and not model.supports_vision,
            "no tools": require.tools and not model.supports_tools,
            "no json mode": require.json_mode and not model.supports_json_mode,
            f"context {model.context_length} < {require.min_context}": model.context_length
            < require.min_context,
            "full": entry.is_full(),
        }
        first = next((text for text, applies in reasons.items() if applies), None)
        return "draining" if first == "drained" else first

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
        return min(samples, default=0)

    def cost(self, entry: Entry, request: Request) -> Any:
        """What the policy minimises. The policies that draw at random have no cost: 0.

        LOWEST_LATENCY: a backend without a sample counts as the best average, and wins ties. Among
        several without a sample, the least loaded wins.

        ROUND_ROBIN: the backend with the most credits wins, once each has received its weight.
        """
        credit = self.credits.get(request.model_id, {}).get(entry.serial, 0)
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
            Policy.SMART: -entry.smart_score(self.best_average(request)),
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
        its weight in credits, and the chosen one pays the sum of all these weights. If a weight has
        changed since the latest choice, no credit stays beyond the sum of the weights.
        """
        if request.policy is Policy.ROUND_ROBIN:
            credits = self.credits.setdefault(request.model_id, {})
            eligible = self.eligible(request)
            for entry in eligible:
                credits[entry.serial] = credits.get(entry.serial, 0) + entry.backend.weight
            credits[self.entries[chosen].serial] -= sum(entry.backend.weight for entry in eligible)
            self._limit_credits(request.model_id)
        return self.entries[chosen]

    def _limit_credits(self, model_id: str) -> None:
        """After a change of weights."""
        weights = {
            entry.serial: entry.backend.weight
            for entry in self.entries.values()
            if entry.serves(model_id)
        }
        settled = self.settled.setdefault(model_id, {})
        is_reweighed = any(settled.get(key, weight) != weight for key, weight in weights.items())
        settled.update(weights)
        if is_reweighed:
            limit, credits = sum(weights.values()), self.credits[model_id]
            for serial in weights:
                credits[serial] = max(-limit, min(limit, credits.get(serial, 0)))
