"""Registries that break one rule of outcomes each, and contracts with one rule changed.

The registry under test and its contract must differ in exactly the rule that is broken. Some bugs
can be planted by other settings, some by an overridden method. What only the core could do wrong is
planted in the contract instead: a check that compares the two notices both alike.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    Ejection,
    Lease,
    NoBackendAvailableError,
    Reason,
    Registry,
)
from support.oracle import OracleRegistry
from support.oracle_failures import Availability, Due, Outcome, Ticket, mixed

# Seconds in which other threads can make a few calls.
LONG = 0.002

# ---- Registries with other settings than the contract.


def with_rules(rules: Ejection, settings: dict[str, Any], **others: Any) -> Registry:
    """A registry with some rules changed."""
    return Registry(ejection=replace(rules, **others), **settings)


def ejects_late(ejection: Ejection, **settings: Any) -> Registry:
    """Needs one failure more."""
    limit = ejection.consecutive_failures
    return with_rules(ejection, settings, consecutive_failures=limit and limit + 1)


def needs_more_requests(ejection: Ejection, **settings: Any) -> Registry:
    """Judges a window only with one outcome more."""
    return with_rules(ejection, settings, min_requests=ejection.min_requests + 1)


def remembers_longer(ejection: Ejection, **settings: Any) -> Registry:
    """Its windows are too long."""
    return with_rules(ejection, settings, window_s=1000)


def never_doubles(ejection: Ejection, **settings: Any) -> Registry:
    """All ejections last equally long."""
    return with_rules(ejection, settings, max_s=ejection.base_s)


def restores_late(ejection: Ejection, **settings: Any) -> Registry:
    """A trial needs one success more."""
    return with_rules(ejection, settings, trials=ejection.trials + 1)


def starts_at_once(ejection: Ejection, **settings: Any) -> Registry:
    """There is no slow start."""
    return with_rules(ejection, settings, slow_start_s=0)


def never_panics(ejection: Ejection, **settings: Any) -> Registry:
    """Ejections are never ignored."""
    return with_rules(ejection, settings, panic=None)


def trusts_old_averages(latency_ttl_s: float | None, **settings: Any) -> Registry:
    """Averages count for ever."""
    return Registry(latency_ttl_s=None, **settings)


# ---- Registries with an overridden method.


class FailingLease:
    """A lease of AbandonedFails."""

    def __init__(self, lease: Lease) -> None:
        self.lease, self.backend = lease, lease.backend
        self.first_token, self.set_tokens = lease.first_token, lease.set_tokens

    @property
    def tokens(self) -> int:
        return self.lease.tokens

    @property
    def active(self) -> bool:
        return self.lease.active

    def release(self, latency_ms: int | None = None, **outcome: Any) -> bool:
        is_abandoned = outcome.pop("abandoned", False)
        return self.lease.release(latency_ms, **({"failed": True} if is_abandoned else outcome))


class AbandonedFails(Registry):
    """An abandoned request is a failed one."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Any:
        return FailingLease(super().acquire(model_id, **arguments))


class ShortensCoolDowns(Registry):
    """A deadline moves earlier."""

    def cool_down(self, backend_id: str, seconds: float, /, **named: Any) -> None:
        view = self.get_backend(backend_id)
        super().cool_down(backend_id, seconds, **named)
        if view is not None and view.unavailable is Reason.COOLING_DOWN:
            self.restore(backend_id)
            super().cool_down(backend_id, seconds, **named)


class PanicEndsCoolDowns(Registry):
    """Where nobody is left, cool-downs are ignored as well."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        try:
            return super().acquire(model_id, **arguments)
        except NoBackendAvailableError as error:
            cooling = [id for id, kind in error.kinds.items() if kind is Reason.COOLING_DOWN]
            if not cooling:
                raise
            self.restore(cooling[0])
            return super().acquire(model_id, **arguments)


class HealthRestores(Registry):
    """A healthy status ends an ejection."""

    def update_status(
        self, backend_id: str, /, status: Any, error: str | None = None, **named: Any
    ) -> None:
        super().update_status(backend_id, status, error, **named)
        view = self.get_backend(backend_id)
        assert view is not None
        if status is BackendStatus.HEALTHY and view.unavailable is Reason.EJECTED:
            self.restore(backend_id, **named)


class UpdatesRestore(Registry):
    """A new definition of the same server ends whatever keeps requests away."""

    def update_backend(self, backend: Backend, /) -> None:
        super().update_backend(backend)
        self.restore(backend.id)


class LateRestLease:
    """A lease of RestsLate."""

    def __init__(self, registry: Registry, lease: Lease) -> None:
        self.registry, self.lease, self.backend = registry, lease, lease.backend
        self.set_tokens = lease.set_tokens

    def release(self, latency_ms: int | None = None, **outcome: Any) -> bool:
        seconds = outcome.get("retry_after")
        if seconds is None:
            return self.lease.release(latency_ms, **outcome)
        is_released = self.lease.release(latency_ms, retry_after=0)
        time.sleep(LONG)
        with suppress(BackendNotFoundError):
            self.registry.cool_down(self.backend.id, seconds)
        return is_released


class RestsLate(Registry):
    """A request leaves the count in flight before its outcome is in force. For many threads."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Any:
        return LateRestLease(self, super().acquire(model_id, **arguments))


# ---- Contracts with one rule changed.


class OldOutcomesCount(OracleRegistry):
    """Requests from before an ejection count for what follows it."""

    def count_outcome(self, entry: Availability, ticket: Ticket, outcome: Outcome) -> Due | None:
        return super().count_outcome(entry, replace(ticket, era=entry.era), outcome)

    def settle(self, entry: Availability, ticket: Ticket, due: Due | None, rest: int = 0) -> None:
        super().settle(entry, replace(ticket, era=entry.era), due, rest)


class TwoTrials(OracleRegistry):
    """A trial that is out does not keep others away."""

    def begin_request(self, entry: Availability, *, ignores_ejection: bool) -> Ticket:
        ticket = super().begin_request(entry, ignores_ejection=ignores_ejection)
        entry.trial_is_out = False
        return ticket


class LosesThePlace(OracleRegistry):
    """A trial that decides nothing keeps its place."""

    def free_place(self, entry: Availability, ticket: Ticket) -> None:
        pass


class AbandonedEjects(OracleRegistry):
    """An abandoned request counts in a row of failures."""

    def count_outcome(self, entry: Availability, ticket: Ticket, outcome: Outcome) -> Due | None:
        counted: Outcome = "failed" if outcome == "abandoned" else outcome
        return super().count_outcome(entry, ticket, counted)


class RestEndsRows(OracleRegistry):
    """A request that asks for rest ends a row of failures."""

    def count_outcome(self, entry: Availability, ticket: Ticket, outcome: Outcome) -> Due | None:
        if outcome == "asked" and not entry.is_ejected:
            entry.row = 0
        return super().count_outcome(entry, ticket, outcome)


class NeverForgives(OracleRegistry):
    """The number of ejections in a row never returns to 0."""

    def _bring_back(self, entry: Availability) -> None:
        super()._bring_back(entry)
        entry.restored_at = None


class RestoreForgives(OracleRegistry):
    """Restoring by hand sets the number of ejections in a row to 0."""

    def bring_back_by_hand(self, entry: Availability) -> None:
        super().bring_back_by_hand(entry)
        entry.ejections = 0


class AveragesGoOn(OracleRegistry):
    """A sample is mixed into an average that is too old."""

    def add_sample(self, entry: Availability, latency_ms: int) -> int:
        average = mixed(entry.average, latency_ms)
        super().add_sample(entry, latency_ms)
        entry.average = average
        return average


REGISTRIES = (
    ejects_late,
    needs_more_requests,
    remembers_longer,
    never_doubles,
    restores_late,
    starts_at_once,
    never_panics,
    trusts_old_averages,
    AbandonedFails,
    ShortensCoolDowns,
    PanicEndsCoolDowns,
    HealthRestores,
    UpdatesRestore,
)
CONTRACTS = (
    OldOutcomesCount,
    TwoTrials,
    LosesThePlace,
    AbandonedEjects,
    RestEndsRows,
    NeverForgives,
    RestoreForgives,
    AveragesGoOn,
)
