"""Backends and fleets for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from registry import Backend, Model, Registry

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
