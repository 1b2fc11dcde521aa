"""`Ejection`: when failed requests take a backend out of the choice, and how it comes back.

Also the other settings of a registry: their defaults, their checks, and the units of the core.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from registry import _checks, _field_checks
from registry._single_import import refuse_second_import

refuse_second_import()

# The longest time of a field, in seconds.
YEAR = 86_400 * 365
TRIALS_MAX = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Ejection:
    """The rules by which failures eject a backend. Immutable; thread safety: atomic.

    An ejected backend is not chosen for a time. After that, one request at a time goes there as a
    trial: success restores the backend, and failure ejects it again, for longer.

    `consecutive_failures` (1 to 2**32-1; None: never) failures in a row eject. So does a window of
    `window_s` seconds with at least `min_requests` (1 to 2**32-1) outcomes, of which a share of at
    least `failure_rate` (above 0, at most 1; None: never) failed. It is judged when a failure
    arrives, and may reach back up to twice its length.

    The n-th ejection in a row lasts `base_s` * 2**(n-1) seconds, and at most `max_s`. `trials` (1
    to 65,535) successes of trials in a row restore the backend. Its weight then grows from a tenth
    to the whole within `slow_start_s`; so it does after `update_status` has changed UNHEALTHY to
    HEALTHY. 0: the whole weight at once. If ejections leave at most the share `panic` (0 to 1) of a
    model's candidates, they are ignored for that choice. With 0 that happens only if nobody would
    be left; with None, never.

    Times are an int or a float of seconds, stored as a float: above 0 and at most a year; `max_s`
    is at least `base_s`, and `slow_start_s` may be 0. Raises TypeError or ValueError, which names
    the field.
    """

    consecutive_failures: int | None = 5
    failure_rate: float | None = 0.5
    min_requests: int = 20
    window_s: float = 10.0
    base_s: float = 30.0
    max_s: float = 300.0
    trials: int = 1
    slow_start_s: float = 30.0
    panic: float | None = 0.0

    def __post_init__(self) -> None:
        _field_checks.check_fields(self, _CHECKS)
        if self.max_s < self.base_s:
            raise ValueError(f"max_s must be at least base_s, {self.base_s!r}, not {self.max_s!r}")


_COUNT = _checks.within(1, _checks.UINT32_MAX)
_TIME = _checks.number(0, YEAR, above=True)
_BY_NAME: dict[str, _checks.Check] = {
    "consecutive_failures": _checks.optional(_COUNT, "an int"),
    "failure_rate": _checks.optional(_checks.number(0, 1, above=True), "an int, a float"),
    "min_requests": _COUNT,
    "window_s": _TIME,
    "base_s": _TIME,
    "max_s": _TIME,
    "trials": _checks.within(1, TRIALS_MAX),
    "slow_start_s": _checks.number(0, YEAR),
    "panic": _checks.optional(_checks.number(0, 1), "an int, a float"),
}
_CHECKS: _field_checks.FieldChecks = tuple(
    (one.name, _BY_NAME[one.name], one.default) for one in fields(Ejection)
)
_latency_ttl = _checks.optional(_checks.number(0, YEAR, above=True), "an int, a float")

DEFAULT_EJECTION = Ejection()
DEFAULT_LATENCY_TTL = 60.0

# The fields in the order and in the units of the core's `reg_settings`: times in nanoseconds, 0
# and -1 for what never happens.
CoreEjection = tuple[int, float, int, int, int, int, int, int, float]


def for_core(ejection: object) -> CoreEjection | None:
    """Checks the argument `ejection` of a registry, and converts it for the core."""
    if ejection is None:
        return None
    if not _checks.is_a(ejection, Ejection):
        raise _checks.type_error("ejection", "an Ejection or None", ejection)
    # Checks again, because a caller can force the fields of a frozen dataclass to hold anything.
    rules = replace(_field_checks.exact_instance(Ejection, ejection, "ejection"))
    return (
        0 if rules.consecutive_failures is None else rules.consecutive_failures,
        -1.0 if rules.failure_rate is None else rules.failure_rate,
        rules.min_requests,
        _checks.nanoseconds(rules.window_s),
        _checks.nanoseconds(rules.base_s),
        _checks.nanoseconds(rules.max_s),
        rules.trials,
        _checks.nanoseconds(rules.slow_start_s),
        -1.0 if rules.panic is None else rules.panic,
    )


def ttl_for_core(latency_ttl_s: object) -> int | None:
    """Checks the argument `latency_ttl_s` of a registry, and converts it to nanoseconds."""
    seconds: float | None = _latency_ttl(latency_ttl_s, "latency_ttl_s")
    return None if seconds is None else _checks.nanoseconds(seconds)


# ---- the bound of AFFINITY

DEFAULT_AFFINITY_LOAD = 1.25
DEFAULT_AFFINITY_FLOOR = 4.0

_load = _checks.optional(_checks.number(1, 1000), "an int, a float")
_floor = _checks.number(0, _checks.UINT32_MAX)


def load_for_core(affinity_load: object) -> float:
    """Checks the argument `affinity_load` of a registry; -1 for None: there is no bound."""
    load: float | None = _load(affinity_load, "affinity_load")
    return -1.0 if load is None else load


def floor_for_core(affinity_floor: object) -> float:
    """Checks the argument `affinity_floor` of a registry."""
    floor: float = _floor(affinity_floor, "affinity_floor")
    return floor


# ---- prefixes, and the line of those who wait

DEFAULT_BLOCK_TOKENS = 512
DEFAULT_PREFIX_BLOCKS = 16_384
# The core numbers the places of blocks with 32 bits, and needs some more than it has blocks.
PREFIX_BLOCKS_MAX = 2**31 - 1

_block_tokens = _checks.within(1, _checks.UINT32_MAX)
_prefix_blocks = _checks.within(0, PREFIX_BLOCKS_MAX)


def prefixes_for_core(block_tokens: object, prefix_blocks: object) -> tuple[int, int]:
    """Checks these arguments of a registry."""
    return (
        _block_tokens(block_tokens, "block_tokens"),
        _prefix_blocks(prefix_blocks, "prefix_blocks"),
    )


_max_waiting = _checks.optional(_checks.within(0, 2**64 - 2), "an int")


def line_for_core(max_waiting: object) -> int | None:
    """Checks the argument `max_waiting` of a registry."""
    limit: int | None = _max_waiting(max_waiting, "max_waiting")
    return limit
