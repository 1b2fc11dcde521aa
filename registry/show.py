"""`python -m registry show`: a fleet's backends and models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from registry._json import encode
from registry._terminal import left_out, new_table
from registry._text import printable
from registry.backend import Backend, Model

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 100
IDS = 3

Places = list[tuple[Backend, Model]]


def as_json(fleet: list[Backend]) -> str:
    """`{"backends": [...]}` with the definitions, as ASCII, so that any stdout can take it."""
    return json.dumps(json.loads(encode({"backends": fleet})), indent=2)


def print_tables(console: Console, fleet: list[Backend]) -> None:
    """One table of the backends, one of the models with the backends that serve them; `ROWS` of each at most."""
    serving: dict[str, Places] = {}
    for backend in fleet:
        for model in backend.models:
            serving.setdefault(model.id, []).append((backend, model))
    _print_backends(console, fleet)
    _print_models(console, serving)


def _print_backends(console: Console, fleet: list[Backend]) -> None:
    table = new_table(_counted(len(fleet), "backend"))
    for heading in ("id", "type", "url"):
        table.add_column(heading, overflow="fold")
    for heading in ("priority", "models"):
        table.add_column(heading, justify="right")
    for backend in fleet[:ROWS]:
        numbers = (f"{backend.priority:,}", f"{len(backend.models):,}")
        table.add_row(printable(backend.id), backend.backend_type, printable(backend.url), *numbers)
    console.print(table)
    if len(fleet) > ROWS:
        console.print(left_out(len(fleet), ROWS, "backends"))


def _print_models(console: Console, serving: dict[str, Places]) -> None:
    table = new_table(_counted(len(serving), "model"))
    table.add_column("id", overflow="fold")
    table.add_column("context\n(tokens)", justify="right", no_wrap=True)
    table.add_column("can", no_wrap=True)
    table.add_column("on", overflow="fold", min_width=10)
    for model_id, places in list(serving.items())[:ROWS]:
        table.add_row(printable(model_id), _contexts(places), _abilities(places), _ids(places))
    console.print(table)
    if len(serving) > ROWS:
        console.print(left_out(len(serving), ROWS, "models"))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _contexts(places: Places) -> str:
    """The context length; where the backends differ, the range of it, on two lines."""
    lengths = [model.context_length for _, model in places]
    return " to\n".join(f"{length:,}" for length in dict.fromkeys((min(lengths), max(lengths))))


def _abilities(places: Places) -> str:
    """What the model can do on at least one of its backends."""
    found = {
        "vision": any(model.supports_vision for _, model in places),
        "tools": any(model.supports_tools for _, model in places),
        "json": any(model.supports_json_mode for _, model in places),
    }
    return " ".join(name for name, there in found.items() if there)


def _ids(places: Places) -> str:
    """The first of the backends, and how many more there are."""
    first = ", ".join(printable(backend.id) for backend, _ in places[:IDS])
    return first if len(places) <= IDS else f"{first} +{len(places) - IDS:,}"
