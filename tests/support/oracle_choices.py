"""The executable contract of choices: which backends the oracle's registry may choose."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from registry import Backend, BackendStatus, Ejection, Policy, Reason, Requirements
from support.oracle_affinity import Affinity
from support.oracle_failures import Availability, Failures, Ticket
from support.prompts import KnownBlocks, added_tokens

# A model, and the number of the write since which it is served.
ModelKey = tuple[str, int]
# The largest number of requests in flight.
TOP = 2**32 - 1

# HOT_COLD compares at most so many, and this quantile of their loads divides hot and cold.
HAND = 16
QUANTILE = Fraction(84, 100)


def quantile(values: Iterable[Fraction]) -> Fraction:
    """The quantile, interpolated linearly between order statistics."""
    ordered = sorted(values)
    position = QUANTILE * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


@dataclass
class Entry(Availability):
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
    tokens: int = 0  # the sum over the leases that are active
    # What it has read, by `Chooser.model_key`.
    known: dict[ModelKey, KnownBlocks] = field(default_factory=dict)

    def serves(self, model_id: str) -> bool:
        """Whether the backend lists the model."""
        return any(model.id == model_id for model in self.backend.models)

    def is_full(self, tokens: int) -> bool:
        """Whether a request with so many tokens would exceed a cap.

        A request that is bigger than the cap on tokens fits where nothing is in flight.
        """
        cap = self.backend.max_pending_tokens
        if cap is None:
            has_too_many = False
        elif tokens > cap:
            has_too_many = self.pending > 0
        else:
            has_too_many = self.tokens + tokens > cap
        return has_too_many or self.pending >= (self.backend.max_pending or TOP)

    def replace_tokens(self, old: int, new: int) -> None:
        """A lease has other tokens."""
        self.tokens += new - old

    def smart_score(self, average: int) -> int:
        """The score of the Nexus router: the highest is best."""
        return (
            (100 - min(self.backend.priority, 100)) * 50
            + (100 - min(self.pending, 100)) * 30
            + (100 - min(average // 10, 100)) * 20
        )

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
    only: Iterable[str] | None = None
    allow_unknown: bool = False
    affinity: str | bytes | int | None = None
    tokens: int = 0
    prefix: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if (self.policy is Policy.AFFINITY) is (self.affinity is None):
            self.affinity = "key" if self.affinity is None else None

    def may_go_to(self, backend_id: str) -> bool:
        """Whether the request is for this backend, among others."""
        is_wanted = self.only is None or backend_id in self.only
        return is_wanted and backend_id not in self.exclude

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments: all but the model id."""
        return {name: value for name, value in vars(self).items() if name != "model_id"}


class Chooser(Failures):
    """The choices of an `OracleRegistry`."""

    def __init__(
        self,
        rules: Ejection | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        latency_ttl_s: float | None = None,
        affinity_load: float | None = 1.25,
        affinity_floor: float = 4.0,
    ) -> None:
        super().__init__(rules, clock, latency_ttl_s)
        self.affinity_load, self.affinity_floor = affinity_load, affinity_floor
        # Registrations by id, in the order of registration.
        self.entries: dict[str, Entry] = {}
        # Credits of ROUND_ROBIN: by model id, then by serial.
        self.credits: dict[str, dict[int, int]] = {}
        # The weights at the latest of these choices or refusals, likewise.
        self.settled: dict[str, dict[int, int]] = {}
        # The models of which a weight has changed since the latest of these choices.
        self.reweighed: set[str] = set()
        # The models that are served, with the number of the write that they are served since.
        self.served: dict[str, int] = {}
        # The settings of these names.
        self.block_tokens, self.prefix_blocks = 512, 16_384

    def is_registered(self, entry: Availability) -> bool:
        return any(entry is one for one in self.entries.values())

    def load(self, entry: Entry) -> Fraction:
        """The requests in flight, plus one, in proportion to the weight."""
        return Fraction(entry.pending + 1, self.weight(entry))

    def weight(self, entry: Entry) -> int:
        """The weight for choices, which grows in a slow start."""
        return self.weight_of(entry, entry.backend.weight)

    def model_key(self, model_id: str) -> ModelKey:
        """A model that nobody serves any more is another one when it comes back."""
        return model_id, self.served[model_id]

    def cached(self, entry: Entry, request: Request) -> int:
        """The tokens of the request that its choice assumes to be cached on the backend."""
        if request.policy is not Policy.LEAST_TOKENS or request.prefix is None:
            return 0
        known = entry.known.get(self.model_key(request.model_id))
        return 0 if known is None else self.block_tokens * known.count(request.prefix)

    def added(self, entry: Entry, request: Request) -> int:
        """The tokens that the request adds to those of the backend."""
        if request.policy is not Policy.LEAST_TOKENS or request.prefix is None:
            return request.tokens
        return added_tokens(request.tokens, self.cached(entry, request))

    def lasting_kind(self, entry: Entry, request: Request) -> Reason | None:
        """Why a backend that lists the model does not suit the request: the first such reason.

        None if nothing but its load and its availability can stand against it.
        """
        model = next(model for model in entry.backend.models if model.id == request.model_id)
        require = request.require or Requirements()
        reasons = [
            (Reason.EXCLUDED, not request.may_go_to(entry.backend.id)),
            (Reason.UNHEALTHY, entry.status is BackendStatus.UNHEALTHY),
            (Reason.DRAINING, entry.status is BackendStatus.DRAINING),
            (
                Reason.UNKNOWN,
                entry.status is BackendStatus.UNKNOWN and not request.allow_unknown,
            ),
            (Reason.DRAINING, entry.draining),  # after the reasons of the status
            (Reason.NO_VISION, require.vision and not model.supports_vision),
            (Reason.NO_TOOLS, require.tools and not model.supports_tools),
            (Reason.NO_JSON_MODE, require.json_mode and not model.supports_json_mode),
            (Reason.SHORT_CONTEXT, model.context_length < require.min_context),
        ]
        return next((kind for kind, applies in reasons if applies), None)

    def is_panic(self, request: Request) -> bool:
        """Whether ejections would leave too few, so that this choice ignores them.

        It counts those that are eligible but for their ejection, full ones too. Left are those
        that are not ejected. One whose time is over is not left until it is restored.
        """
        counted = [
            entry
            for entry in self.serving(request)
            if self.lasting_kind(entry, request) is None
            and self.obstacle(entry, ignores_ejection=True) is None
        ]
        left = [entry for entry in counted if not entry.is_ejected]
        panic = None if self.rules is None else self.rules.panic
        return panic is not None and len(left) < len(counted) and len(left) / len(counted) <= panic

    def serving(self, request: Request) -> list[Entry]:
        """Every backend that lists the model."""
        return [entry for entry in self.entries.values() if entry.serves(request.model_id)]

    def kinds(self, request: Request) -> list[tuple[Entry, Reason | None]]:
        """Every backend that lists the model, with the first reason against it."""
        ignores_ejection = self.is_panic(request)
        return [
            (
                entry,
                self.lasting_kind(entry, request)
                or self.obstacle(entry, ignores_ejection=ignores_ejection)
                or (Reason.FULL if entry.is_full(self.added(entry, request)) else None),
            )
            for entry in self.serving(request)
        ]

    @staticmethod
    def text(entry: Entry, request: Request, kind: Reason | None) -> str | None:
        """The reason for people."""
        if kind is not Reason.SHORT_CONTEXT:
            return kind and kind.value
        model = next(model for model in entry.backend.models if model.id == request.model_id)
        require = request.require or Requirements()
        return f"context {model.context_length} < {require.min_context}"

    def retry_after(self, request: Request) -> float | None:
        """The seconds until the first deadline of those that are cooling down or ejected."""
        ignores_ejection = self.is_panic(request)
        deadlines = [
            self.deadline(entry, ignores_ejection=ignores_ejection)
            for entry, kind in self.kinds(request)
            if kind in (Reason.COOLING_DOWN, Reason.EJECTED)
        ]
        first = min((one for one in deadlines if one is not None), default=None)
        return None if first is None else (first - self.now()) / 1e9

    def listed(self, request: Request) -> list[tuple[Entry, str | None]]:
        """Every backend that lists the model, with the reason against it as a text."""
        return [(entry, self.text(entry, request, kind)) for entry, kind in self.kinds(request)]

    def eligible(self, request: Request) -> list[Entry]:
        """The backends that qualify."""
        return [entry for entry, kind in self.kinds(request) if kind is None]

    def best_average(self, request: Request) -> int:
        """The best average latency among the backends that qualify and those that are only full."""
        samples = [
            average
            for entry, kind in self.kinds(request)
            if kind in (None, Reason.FULL) and (average := self.counted_average(entry)) is not None
        ]
        return min(samples, default=0)

    def heat(self, entry: Entry) -> Fraction:
        """The requests in flight in proportion to the weight."""
        return Fraction(entry.pending, self.weight(entry))

    def rated(self, drawn: list[Entry]) -> dict[int, tuple[bool, Fraction]]:
        """What HOT_COLD minimises among the drawn backends, by serial.

        Those that are not hot come first, by their average time to the first token. If none of
        them has one, by their average latency. One without a sample comes before these. Then the
        hot ones, by their load.
        """
        limit = quantile(map(self.heat, drawn)) if drawn else 0
        cold = [entry for entry in drawn if self.heat(entry) <= limit]
        averages = {entry.serial: self.counted_first_token(entry) for entry in cold}
        if all(average is None for average in averages.values()):
            averages = {entry.serial: self.counted_average(entry) for entry in cold}
        rates = {entry.serial: (True, self.heat(entry)) for entry in drawn}
        for serial, average in averages.items():
            rates[serial] = (False, Fraction(-1 if average is None else average))
        return rates

    def affinity_of(self, request: Request) -> Affinity:
        """The order of the request's key, by the loads of now."""
        assert request.affinity is not None
        return Affinity(
            request.affinity,
            [(entry, self.weight(entry)) for entry in self.eligible(request)],
            self.affinity_load,
            self.affinity_floor,
        )

    def cost(self, entry: Entry, request: Request) -> Any:
        """What the policy minimises. The policies that draw at random have no cost: 0.

        LOWEST_LATENCY: a backend without a sample, or with an average that is too old, counts as
        the best average, and wins ties. Among several of these, the least loaded wins.

        ROUND_ROBIN: the backend with the most credits wins, once each has received its weight.

        HOT_COLD: as if all that qualify were drawn.
        """
        if request.policy is Policy.HOT_COLD:
            return self.rated(self.eligible(request))[entry.serial]
        credit = self.credits.get(request.model_id, {}).get(entry.serial, 0)
        counted, load = self.counted_average(entry), self.load(entry)
        is_sampled = counted is not None
        average = counted if counted is not None else self.best_average(request)
        affinity = self.affinity_of(request) if request.policy is Policy.AFFINITY else None
        costs = {
            Policy.LEAST_PENDING: load,
            Policy.LOWEST_LATENCY: (average * load, is_sampled, 0 if is_sampled else load),
            Policy.ROUND_ROBIN: -(credit + self.weight(entry)),
            Policy.PRIORITY: (entry.backend.priority, load),
            Policy.SMART: -entry.smart_score(average),
            Policy.LEAST_TOKENS: (
                Fraction(entry.tokens + self.added(entry, request), self.weight(entry)),
                load,
            ),
            Policy.AFFINITY: affinity and affinity.cost(entry),
            Policy.POWER_OF_TWO: 0,
            Policy.RANDOM: 0,
        }
        return costs[request.policy]

    def choices(self, request: Request) -> set[str]:
        """The ids that may be chosen now. Equal backends may all be chosen.

        RANDOM may choose any backend that qualifies. POWER_OF_TWO draws two different ones and
        takes the less loaded, so only the single most loaded backend can never be chosen.
        HOT_COLD draws if more than HAND qualify. Then this does not tell which ones it may choose.
        """
        eligible = self.eligible(request)
        if not eligible:
            return set()
        if request.policy is Policy.POWER_OF_TWO and len(eligible) > 1:
            top = max(self.load(entry) for entry in eligible)
            most_loaded = [entry for entry in eligible if self.load(entry) == top]
            never = most_loaded if len(most_loaded) == 1 else []
            return {entry.backend.id for entry in eligible if entry not in never}
        if request.policy is Policy.HOT_COLD and len(eligible) > HAND:
            return {entry.backend.id for entry in eligible}
        least = min(self.cost(entry, request) for entry in eligible)
        return {entry.backend.id for entry in eligible if self.cost(entry, request) == least}

    def note_choice(self, request: Request, chosen: str) -> Entry:
        """Records that the backend was chosen, and returns its registration.

        ROUND_ROBIN is nginx's smooth weighted round robin: every backend that qualifies receives
        its weight in credits, and the chosen one pays the sum of all these weights. If a weight has
        changed since the latest choice, no credit stays beyond the sum of the weights.
        """
        if request.policy is Policy.ROUND_ROBIN:
            self.note_weights(request)
            credits = self.credits.setdefault(request.model_id, {})
            eligible = self.eligible(request)
            for entry in eligible:
                credits[entry.serial] = credits.get(entry.serial, 0) + self.weight(entry)
            credits[self.entries[chosen].serial] -= sum(map(self.weight, eligible))
            self._limit_credits(request)
        return self.entries[chosen]

    def begin_lease(self, request: Request, chosen: str) -> tuple[Entry, Ticket]:
        """Records that the backend was chosen by `acquire`: one more request is in flight.

        Its tokens come with it, and its blocks are noted.
        """
        entry = self.note_choice(request, chosen)
        ticket = self.begin_request(entry, ignores_ejection=self.is_panic(request))
        entry.pending += 1
        entry.tokens += self.added(entry, request)
        if request.prefix:
            key = self.model_key(request.model_id)
            entry.known.setdefault(key, KnownBlocks(self.prefix_blocks)).note(request.prefix)
        return entry, ticket

    def _weights(self, request: Request) -> dict[int, int]:
        return {entry.serial: self.weight(entry) for entry in self.serving(request)}

    def note_weights(self, request: Request) -> None:
        """A choice or a refusal by ROUND_ROBIN looks at the weights."""
        settled, weights = self.settled.setdefault(request.model_id, {}), self._weights(request)
        if any(settled.get(key, weight) != weight for key, weight in weights.items()):
            self.reweighed.add(request.model_id)
        settled.update(weights)

    def note_refusal(self, request: Request) -> None:
        """A request was refused. No counts and no credits change."""
        if request.policy is Policy.ROUND_ROBIN:
            self.note_weights(request)

    def _limit_credits(self, request: Request) -> None:
        """After a change of weights."""
        weights = self._weights(request)
        if request.model_id in self.reweighed:
            self.reweighed.discard(request.model_id)
            limit, credits = sum(weights.values()), self.credits[request.model_id]
            for serial in weights:
                credits[serial] = max(-limit, min(limit, credits.get(serial, 0)))
