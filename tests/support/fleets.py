"""Backends and fleets for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from registry import Backend, BackendView, Model, NoBackendAvailableError, Reason, Registry
from registry.testing import ManualClock

MakeBackend = Callable[..., Backend]


def make_backend(backend_id: str = "b", *models: str, **fields: object) -> Backend:
    """A backend whose name and URL follow from its id."""
    given: dict[str, Any] = {
        "name": backend_id,
        "url": f"http://host-{abs(hash(backend_id))}:8000",
        **fields,
    }
    return Backend(id=backend_id, models=[Model(model) for model in models], **given)


def make_fleet(*shapes: dict[str, Any], **settings: Any) -> Registry:
    """A registry with healthy backends b0, b1, ... that serve m.

    A shape may give `pending`, `latency`, `status`, `model`, and fields of `Backend`. `settings`
    are those of the registry.
    """
    registry = Registry(**settings)
    for number, given in enumerate(shapes):
        shape = {"pending": 0, "latency": None, "status": "healthy", "model": Model("m"), **given}
        backend_id = f"b{number}"
        fields = {
            name: shape[name] for name in ("priority", "max_pending", "weight") if name in shape
        }
        registry.add_backend(replace(make_backend(backend_id, **fields), models=(shape["model"],)))
        registry.update_status(backend_id, shape["status"])
        registry.increment_pending_many([backend_id] * shape["pending"])
        if shape["latency"] is not None:
            registry.update_latency(backend_id, shape["latency"])
    return registry


def fill_used(registry: Registry) -> Registry:
    """Adds three backends; b is unhealthy with an error, and serves requests."""
    for backend_id in "abc":
        registry.add_backend(fresh(backend_id))
    registry.update_status("b", "unhealthy", "boom")
    registry.increment_pending_many(["b", "b", "b"])
    registry.increment_total_requests("b")
    registry.update_latency("b", 40)
    return registry


def fresh(backend_id: str = "b", *models: str, **fields: Any) -> Backend:
    """A definition for the registry of `fill_used`."""
    return make_backend(backend_id, *(models or ("m",)), **{"url": "http://h/v1", **fields})


def make_timed(*ids: str, cap: int | None = None, **settings: Any) -> tuple[Registry, ManualClock]:
    """A registry with healthy backends that serve m, and the clock that is its time."""
    clock = ManualClock()
    registry = Registry(clock=clock, **settings)
    for backend_id in ids or ("a",):
        registry.add_backend(make_backend(backend_id, "m", max_pending=cap))
        registry.update_status(backend_id, "healthy")
    return registry, clock


def only(registry: Registry, backend_id: str) -> dict[str, Any]:
    """The argument of `acquire` that leaves this backend alone."""
    return {"exclude": [view.id for view in registry.get_all_backends() if view.id != backend_id]}


def finish(registry: Registry, backend_id: str, count: int = 1, **outcome: Any) -> None:
    """Makes requests to a backend, one after the other, which end in this way."""
    for _ in range(count):
        registry.acquire("m", **only(registry, backend_id)).release(**outcome)


def eject(registry: Registry, backend_id: str = "a") -> None:
    """Ejects a backend by requests that fail."""
    count = 0
    while the(registry, backend_id).unavailable is not Reason.EJECTED:
        finish(registry, backend_id, failed=True)
        count += 1
        assert count <= 100


def kind_of(registry: Registry, backend_id: str = "a", **arguments: Any) -> Reason | None:
    """Why `explain` says that a choice would not take the backend."""
    (kind,) = (c.kind for c in registry.explain("m", **arguments) if c.backend_id == backend_id)
    return kind


def refusal(registry: Registry, **arguments: Any) -> NoBackendAvailableError:
    """The error of a request that is refused."""
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire("m", **arguments)
    return caught.value


def the(registry: Registry, backend_id: str) -> BackendView:
    """The view of a backend that is registered."""
    view = registry.get_backend(backend_id)
    assert view is not None
    return view


def ids_for(registry: Registry, model_id: str) -> list[str]:
    """The ids of the backends that serve a model."""
    return [view.id for view in registry.get_backends_for_model(model_id)]


def state(registry: Registry) -> tuple[object, ...]:
    """All that a call which raises must not change."""
    views = registry.get_all_backends()
    return (
        views,
        [view.backend for view in views],
        registry.models(),
        registry.stats().index_entries,
        [registry.find_by_mdns_instance(instance) for instance in INSTANCES],
        [registry.has_backend_url(url) for url in (*URLS, *(view.url for view in views))],
        [ids_for(registry, model_id) for model_id in registry.models()],
    )


# What tests of changes look for.
INSTANCES = ("i", "j", "k")
URLS = ("http://new", "http://other")
