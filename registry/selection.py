"""What a choice takes and gives: how to choose (`Policy`), what is required (`Requirements`), who stood for it (`Candidate`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry import _checks
from registry._single_import import refuse_second_import

refuse_second_import()


class Policy(StrEnum):
    """How `Registry.acquire` chooses among the backends that may serve a request.

    Of equal ones the one goes first whose last choice is longest ago, whatever model, policy or kind of request that
    was for; one that is new goes first of all. LEAST_PENDING keeps to that strictly for lists of up to 16 backends; in
    longer ones it takes them round by round, so that one may be chosen twice in a row beside an equal where a round
    ends and the next begins."""

    LEAST_PENDING = "least_pending"
    """The smallest (in flight + 1) / weight, exactly. O(backends of the model), and less where one is idle."""
    POWER_OF_TWO = "power_of_two"
    """The better of two different ones drawn at random, by the same measure. Expected O(1 / the share that may be
    chosen), so O(1) in most fleets, and O(backends of the model) where hardly any may.
    (Mitzenmacher, The power of two choices in randomized load balancing, 2001.)"""
    LOWEST_LATENCY = "lowest_latency"
    """The smallest average latency * (in flight + 1) / weight. One without a sample yet counts as the best average among the
    candidates, and goes first where that is equal. O(backends of the model)."""
    ROUND_ROBIN = "round_robin"
    """Each in turn, weights as proportions: nginx's smooth weighted round robin. O(backends of the model)."""
    RANDOM = "random"
    """At random in proportion to weight. O(backends of the model)."""
    PRIORITY = "priority"
    """The lowest priority number that has a backend that is not full, and of those the least pending.
    O(backends of the model)."""
    SMART = "smart"
    """The highest score of the Nexus router: (100 - min(priority, 100)) * 50 + (100 - min(in flight, 100)) * 30 +
    (100 - min(average ms // 10, 100)) * 20. O(backends of the model)."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a request needs of the model as a backend serves it. Immutable; thread safety: atomic.

    `min_context` is the least context length in tokens, 0 to 2**32-1. Raises TypeError or ValueError that names the field.
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


@dataclass(frozen=True, slots=True)
class Candidate:
    """One backend of a model as a choice sees it. Immutable; thread safety: atomic.

    `reason` is None where it may be chosen, else the first that stands in the way: "excluded", "unhealthy", "draining",
    "unknown", "no vision", "no tools", "no json mode", "context 8192 < 32000", "full". `rank` counts from 1, the next choice, and
    is None where there is a reason. `pending_requests` are in flight, `avg_latency_ms` is in milliseconds.
    """

    backend_id: str
    reason: str | None
    rank: int | None
    pending_requests: int
    avg_latency_ms: int
    weight: int
    priority: int
