"""The fleets that are measured: healthy backends with ten models each, in a registry of ours or of a peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

from registry import Backend, BackendStatus, Model, Registry

MODELS = tuple(Model(f"model-{number}") for number in range(10))


def backend(number: int, models: tuple[Model, ...] = MODELS) -> Backend:
    """A backend as fleets have them; ids are made at run time, so no two are one object."""
    return Backend(
        f"backend-{number}",
        f"backend-{number}",
        f"http://10.0.{number >> 8}.{number & 255}:8000",
        models=models,
    )


def filled(size: int, make: Callable[[], Any] = Registry) -> tuple[Any, list[str]]:
    """A registry of so many healthy backends that share ten models, and their ids."""
    registry, ids = make(), [f"backend-{number}" for number in range(size)]
    for number, backend_id in enumerate(ids):
        registry.add_backend(backend(number))
        registry.update_status(backend_id, BackendStatus.HEALTHY)
    return registry, ids


def busy(size: int) -> Registry:
    """The same with one request in flight on every backend: LEAST_PENDING can't stop early at one that is idle."""
    registry: Registry
    registry, ids = filled(size)
    registry.increment_pending_many(ids)
    return registry


def full(size: int) -> Registry:
    """The same where nobody may take a second request."""
    registry, ids = Registry(), [f"backend-{number}" for number in range(size)]
    for number, backend_id in enumerate(ids):
        registry.add_backend(replace(backend(number), max_pending=1))
        registry.update_status(backend_id, BackendStatus.HEALTHY)
    registry.increment_pending_many(ids)
    return registry


def changes(registry: Any, number: int) -> Iterator[None]:
    """What writers do: each step adds, updates or removes a backend of one's own, which the model queries have to see."""
    for extra in cycle([backend(number + index) for index in range(16)]):
        registry.add_backend(extra)
        yield
        registry.update_status(extra.id, BackendStatus.HEALTHY)
        yield
        registry.remove_backend(extra.id)
        yield
