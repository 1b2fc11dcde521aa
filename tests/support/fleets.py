"""Backends and fleets for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from registry import Backend, BackendView, Model, Registry

MakeBackend = Callable[..., Backend]


def make_backend(backend_id: str = "b", *models: str, **fields: object) -> Backend:
    """A backend whose name and URL follow from its id."""
    given: dict[str, Any] = {
        "name": backend_id,
        "url": f"http://host-{abs(hash(backend_id))}:8000",
        **fields,
    }
    return Backend(id=backend_id, models=[Model(model) for model in models], **given)


def make_fleet(*shapes: dict[str, Any]) -> Registry:
    """A registry with healthy backends b0, b1, ... that serve m.

    A shape may give `pending`, `latency`, `status`, `model`, and fields of `Backend`.
    """
    registry = Registry()
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
