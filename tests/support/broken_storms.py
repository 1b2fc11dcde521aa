"""Registries with one planted bug each, which the storm of failures in tests/long must detect."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from registry import (
    BackendNotFoundError,
    BackendView,
    Lease,
    NoBackendAvailableError,
    Reason,
    Registry,
)
from support.broken import LOST


class TriesAgainAtOnce(Registry):
    """Restores a backend that is on trial when a request would be refused."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        try:
            return super().acquire(model_id, **arguments)
        except NoBackendAvailableError as error:
            for backend_id, kind in error.kinds.items():
                if kind is Reason.ON_TRIAL:
                    with suppress(BackendNotFoundError):
                        self.restore(backend_id)
        return super().acquire(model_id, **arguments)


class KeepsDropped(Registry):
    """Keeps every lease, so one that is dropped is never collected."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Lease:
        lease = super().acquire(model_id, **arguments)
        LOST.append(lease)
        return lease


class CoolsDownInSteps(Registry):
    """Releases a lease as abandoned, and then cools the backend down."""

    def acquire(self, model_id: str, /, **arguments: Any) -> Any:
        return InSteps(self, super().acquire(model_id, **arguments))


class InSteps:
    """A lease of CoolsDownInSteps."""

    def __init__(self, registry: Registry, lease: Lease) -> None:
        self.registry = registry
        self.lease = lease
        self.backend = lease.backend

    def release(self, *, retry_after: int | None = None, **outcome: Any) -> bool:
        if retry_after is None:
            return self.lease.release(**outcome)
        released = self.lease.release(abandoned=True)
        with suppress(BackendNotFoundError):
            self.registry.cool_down(self.backend.id, retry_after)
        return released


class ShowsTheLastViews(Registry):
    """Returns the views that the previous call has made."""

    views: list[BackendView] | None = None

    def get_all_backends(self) -> list[BackendView]:
        views, self.views = self.views, super().get_all_backends()
        return views or self.views


class NeverTriesAgain(Registry):
    """Refuses a backend for ever once it was on trial at the same time as a request."""

    lost: frozenset[str] = frozenset()

    def acquire(self, model_id: str, /, *, exclude: Any = (), **arguments: Any) -> Lease:
        try:
            return super().acquire(model_id, exclude=[*exclude, *self.lost], **arguments)
        except NoBackendAvailableError as error:
            self.lost |= {one for one, kind in error.kinds.items() if kind is Reason.ON_TRIAL}
            raise
