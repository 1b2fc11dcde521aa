"""`python -m registry show`: a fleet's backends and models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from registry._json import encode
from registry._messages import printable
from registry.backend import Backend, Model
from registry.cli.table import Column, Kind, left_out, print_table

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
    numbers = _numbers(fleet)
    columns = [
        Column("id", Kind.NAME),
        Column("type", Kind.TEXT),
        Column("url", Kind.TEXT),
        *(Column(heading, Kind.NUMBER) for heading in numbers),
    ]
    rows = [
        (printable(backend.id), backend.backend_type, printable(backend.url), *cells)
        for backend, *cells in zip(fleet[:ROWS], *numbers.values(), strict=False)
    ]
    print_table(console, _counted(len(fleet), "backend"), columns, rows)
    if len(fleet) > ROWS:
        console.print(left_out(len(fleet), ROWS, "backends"))


def _numbers(fleet: list[Backend]) -> dict[str, list[str]]:
    """The cells below each heading; a limit and a weight are shown if some backend sets them."""
    numbers = {"priority": [f"{backend.priority:,}" for backend in fleet]}
    if any(backend.max_pending is not None for backend in fleet):
        limits = [backend.max_pending for backend in fleet]
        numbers["max_pending"] = ["-" if limit is None else f"{limit:,}" for limit in limits]
    if any(backend.weight != 1 for backend in fleet):
        numbers["weight"] = [f"{backend.weight:,}" for backend in fleet]
    return numbers | {"models": [f"{len(backend.models):,}" for backend in fleet]}


def _print_models(console: Console, serving: dict[str, Places]) -> None:
    columns = [
        Column("id", Kind.NAME),
        Column("context\n(tokens)", Kind.NUMBER),
        Column("can", Kind.TEXT),
        Column("on", Kind.TEXT),
    ]
    rows = [
        (printable(model_id), _contexts(places), _abilities(places), _ids(places))
        for model_id, places in list(serving.items())[:ROWS]
    ]
    print_table(console, _counted(len(serving), "model"), columns, rows)
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
