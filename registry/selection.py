"""The types of a choice: `Policy`, `Requirements`, `Reason` and `Candidate`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry import _checks
from registry._single_import import refuse_second_import

refuse_second_import()


class Policy(StrEnum):
    """How `Registry.acquire` chooses among the backends that qualify for a request.

    Ties go to the backend that was chosen least recently, for any model, policy and requirements;
    a backend that has never been chosen comes first. Exceptions:

    - RANDOM and AFFINITY have no ties.
    - POWER_OF_TWO takes either of two equal backends at random.
    - HOT_COLD resolves only ties among the backends that it has drawn this way.
    - ROUND_ROBIN resolves only ties between turns this way.
    - LEAST_PENDING resolves ties in rounds. A round
      chooses every tied backend once. As one round ends and the next begins, a backend may be
      chosen again before an equal one.
    """

    LEAST_PENDING = "least_pending"
    """The smallest (in flight + 1) / weight, exactly.

    O(backends of the model), and less if one of them is idle.
    """
    POWER_OF_TWO = "power_of_two"
    """The better of two different backends drawn at random, by the measure of LEAST_PENDING.

    Mitzenmacher, "The power of two choices in randomized load balancing", 2001. Expected O(1 / p),
    where p is the share of the model's backends that qualify: O(1) in most fleets, O(backends of
    the model) if hardly any qualifies.
    """
    LOWEST_LATENCY = "lowest_latency"
    """The smallest average latency * (in flight + 1) / weight.

    A backend without a sample, or whose last sample is older than the registry's `latency_ttl_s`,
    counts as having the best average among the candidates, and wins ties. O(backends of the model).
    """
    ROUND_ROBIN = "round_robin"
    """Each backend in turn, in proportion to weight. O(backends of the model).

    The algorithm is nginx's smooth weighted round robin.
    """
    RANDOM = "random"
    """A random backend, with a probability in proportion to weight. O(backends of the model)."""
    PRIORITY = "priority"
    """LEAST_PENDING among the backends with the lowest priority number.

    If none of these qualifies, for example because all are full, the next number is used.
    O(backends of the model).
    """
    SMART = "smart"
    """The highest score. O(backends of the model).

    The score is that of the Nexus router: (100 - min(priority, 100)) * 50 + (100 - min(in flight,
    100)) * 30 + (100 - min(average latency in ms // 10, 100)) * 20. A backend without a sample, or
    with an old one, counts as in LOWEST_LATENCY; as 0 if no candidate has a sample.
    """
    AFFINITY = "affinity"
    """The first backend with room in the order of the request's key, the argument `affinity`.

    So requests of equal keys find the same prefix cache, session or adapter again. A key is a str,
    which counts as its UTF-8 bytes, bytes, or an int from -2**63 to 2**64-1, which counts modulo
    2**64. Each key ranks the backends by weighted rendezvous hashing of their ids: in the same
    order in every process and on every host, whatever the model and the order of registration. A
    backend comes first for a share of the keys in proportion to its weight, which is smaller in a
    slow start. If a backend goes, only its own keys move; one that comes takes only its share.

    A backend has room if (in flight + 1) / weight is at most max(`affinity_load` * mean,
    `affinity_floor`), two arguments of `Registry`. The mean is (in flight of all + 1) / (sum of
    their weights), over all that qualify. Here a slow start makes no difference. If none has room,
    the smallest (in flight + 1) / weight is chosen. Consistent hashing with bounded loads:
    Mirrokni, Thorup and Zadimoghaddam, SODA 2018. O(backends of the model).
    """
    LEAST_TOKENS = "least_tokens"
    """The smallest (tokens in flight + those of this request) / weight, exactly.

    With a prefix, only those tokens of this request count that the backend does not have yet, at
    least 1: see `Registry.acquire`. Equal ones by LEAST_PENDING. O(backends of the model), plus
    their known blocks of the prefix.
    """
    HOT_COLD = "hot_cold"
    """The fastest of up to 16 different backends drawn at random that is not hot.

    The backends are drawn from those that qualify, each with the same probability; if no more than
    16 qualify, all are compared. A backend is hot if its in flight / weight is above the 0.84
    quantile of the drawn ones, interpolated linearly. Among the others, the lowest average time to
    the first token wins (`Lease.first_token`). If none of these others has such an average, the
    lowest average latency wins instead. A backend without a sample of what is compared goes first;
    one whose last such sample is older than the registry's `latency_ttl_s` counts as without.

    The rule of Prequal (Wydrowski et al., NSDI 2024), without its probes. The cost does not grow
    with the fleet: expected O(1 / p), as for POWER_OF_TWO. `Registry.explain` does not draw: it
    applies the rule to all backends that qualify, and lists the hot ones last, by their load.
    """


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a request needs from a backend's entry for the model. Immutable; thread safety: atomic.

    `min_context` is the least context length in tokens, 0 to 2**32-1. Raises TypeError or
    ValueError, which names the field.
    """

    vision: bool = False
    tools: bool = False
    json_mode: bool = False
    min_context: int = 0

    def __post_init__(self) -> None:
        _checks.boolean(self.vision, "vision")
        _checks.boolean(self.tools, "tools")
        _checks.boolean(self.json_mode, "json_mode")
        context = _checks.integer(self.min_context, "min_context", 0, _checks.UINT32_MAX)
        object.__setattr__(self, "min_context", context)


class Reason(StrEnum):
    """Why a backend does not qualify for a request.

    If several reasons apply to a backend, the first one in this order is given. One exception: an
    operator's draining comes after UNKNOWN.
    """

    EXCLUDED = "excluded"
    """The request excludes its id."""
    UNHEALTHY = "unhealthy"
    """By its status."""
    DRAINING = "draining"
    """By its status, or because of `Registry.drain`."""
    UNKNOWN = "unknown"
    """By its status; such a backend qualifies with `allow_unknown`."""
    NO_VISION = "no vision"
    """Its entry for the model lacks what the request requires."""
    NO_TOOLS = "no tools"
    NO_JSON_MODE = "no json mode"
    SHORT_CONTEXT = "short context"
    """Its context for the model is shorter than what the request requires."""
    COOLING_DOWN = "cooling down"
    """`Registry.cool_down` was called, or a request was released with `retry_after`."""
    EJECTED = "ejected"
    """Too many of its requests failed; see `Ejection`."""
    ON_TRIAL = "on trial"
    """It was ejected, and a request that decides whether it comes back is in flight."""
    WAITING = "waiting"
    """Others wait for it: see `Registry.acquire_wait`."""
    FULL = "full"
    """`max_pending` requests are in flight, or too many tokens for `max_pending_tokens`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One backend of a model as a choice sees it. Immutable; thread safety: atomic.

    `reason` is None if the backend qualifies. Otherwise it is the first of these that applies:
    "excluded", "unhealthy", "draining", "unknown", "no vision", "no tools", "no json mode",
    "context 8192 < 32000", "cooling down", "ejected", "on trial", "waiting", "full". `kind` is the
    same as a member of `Reason`, for programs. `rank` is 1 for the next choice, and None for a
    backend that does not qualify. `pending_requests` is the number of requests in flight;
    `avg_latency_ms` is in milliseconds.
    """

    backend_id: str
    reason: str | None
    rank: int | None
    pending_requests: int
    avg_latency_ms: int
    weight: int
    priority: int
    kind: Reason | None = None
