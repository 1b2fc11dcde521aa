"""`python -m registry show`: a fleet's backends and models."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from registry._json import encode
from registry.backend import Backend, Model

if TYPE_CHECKING:
    from rich.console import Console


def as_json(fleet: list[Backend]) -> str:
    """`{"backends": [...]}` with the definitions."""
    return encode({"backends": fleet})


def print_tables(console: Console, fleet: list[Backend]) -> None:
    """One table of the backends, one of the models with the backends that serve them."""
    from rich.table import Table

    backends = Table(title=f"{len(fleet)} backends", title_justify="left")
    for heading in ("id", "type", "url"):
        backends.add_column(heading, overflow="fold")
    backends.add_column("priority", justify="right")
    backends.add_column("models", justify="right")
    for backend in fleet:
        backends.add_row(backend.id, backend.backend_type, backend.url, str(backend.priority), str(len(backend.models)))
    console.print(backends, markup=False)

    serving: dict[str, list[tuple[Backend, Model]]] = defaultdict(list)
    for backend in fleet:
        for model in backend.models:
            serving[model.id].append((backend, model))
    models = Table(title=f"{len(serving)} models", title_justify="left")
    models.add_column("id", overflow="fold")
    models.add_column("context (tokens)", justify="right")
    models.add_column("can", overflow="fold")
    models.add_column("on", overflow="fold")
    for model_id, places in serving.items():
        contexts = sorted({model.context_length for _, model in places})
        context = " to ".join(f"{length:,}" for length in dict.fromkeys((contexts[0], contexts[-1])))
        models.add_row(model_id, context, _abilities(places), ", ".join(backend.id for backend, _ in places))
    console.print(models, markup=False)


def _abilities(places: list[tuple[Backend, Model]]) -> str:
    """What the model can do on at least one of its backends."""
    found = {
        "vision": any(model.supports_vision for _, model in places),
        "tools": any(model.supports_tools for _, model in places),
        "json": any(model.supports_json_mode for _, model in places),
    }
    return " ".join(name for name, there in found.items() if there)
