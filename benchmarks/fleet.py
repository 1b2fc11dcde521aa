"""The fleets that the suite measures: healthy backends with ten models each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

from registry import Backend, BackendStatus, Model, Registry

MODELS = tuple(Model(f"model-{number}") for number in range(10))
CHANGED = 10  # backends that a reload changes


def backend(number: int, models: tuple[Model, ...] = MODELS) -> Backend:
    """A typical backend. Each call makes a new id object, as ids from requests are."""
    return Backend(
        f"backend-{number}",
        f"backend-{number}",
        f"http://10.0.{number >> 8}.{number & 255}:8000",
        models=models,
    )


def filled(size: int, make: Callable[[], Any] = Registry) -> tuple[Any, list[str]]:
    """A registry with `size` healthy backends that share ten models, and the backends' ids."""
    registry, ids = make(), [f"backend-{number}" for number in range(size)]
    for number, backend_id in enumerate(ids):
        registry.add_backend(backend(number))
        registry.update_status(backend_id, BackendStatus.HEALTHY)
    return registry, ids


def reloads(size: int, own_models: bool = False) -> tuple[list[Backend], list[Backend]]:
    """What a fleet file may bring when it is loaded again, twice: the backends of a filled registry
    as new objects. In the second list, ten of them, or all of a smaller fleet, have another weight.

    With `own_models`, each backend has Model objects of its own, as if they came from a file.
    """
    before, after = (
        [backend(number, new_models() if own_models else MODELS) for number in range(size)]
        for _ in range(2)
    )
    for number in range(0, size, -(-size // CHANGED)):
        after[number] = replace(after[number], weight=2)
    return before, after


def new_models() -> tuple[Model, ...]:
    """Models that equal the fleet's."""
    return tuple(Model(f"model-{number}") for number in range(len(MODELS)))


def busy(size: int) -> Registry:
    """A filled registry with one request in flight on every backend.

    No backend is idle, so LEAST_PENDING has to compare all of them.
    """
    registry: Registry
    registry, ids = filled(size)
    registry.increment_pending_many(ids)
    return registry


def full(size: int) -> Registry:
    """A busy registry in which every backend is at its limit of one request."""
    registry, ids = Registry(), [f"backend-{number}" for number in range(size)]
    for number, backend_id in enumerate(ids):
        registry.add_backend(replace(backend(number), max_pending=1))
        registry.update_status(backend_id, BackendStatus.HEALTHY)
    registry.increment_pending_many(ids)
    return registry


def changes(registry: Any, number: int) -> Iterator[None]:
    """What a writer does: each step adds, updates or removes one of its own backends.

    The backends serve the fleet's models, so queries by model have to see each change.
    """
    for extra in cycle([backend(number + index) for index in range(16)]):
        registry.add_backend(extra)
        yield
        registry.update_status(extra.id, BackendStatus.HEALTHY)
        yield
        registry.remove_backend(extra.id)
        yield
