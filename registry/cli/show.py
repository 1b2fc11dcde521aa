"""The command `show`: prints the backends and models of a fleet file, or compares two files."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from registry import Backend, Model, load_fleet
from registry._messages import printable
from registry.cli import diff
from registry.cli.table import Column, Kind, left_out, print_table
from registry.cli.terminal import new_console
from registry.cli.texts import counted

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 100  # of each table
IDS = 3  # backends named for each model

# A model, as each of its backends defines it.
Places = list[tuple[Backend, Model]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options to its parser."""
    files = parser.add_mutually_exclusive_group(required=True)
    files.add_argument("--fleet", metavar="FILE.toml", help="print the tables of a fleet file")
    files.add_argument(
        "--diff",
        nargs=2,
        metavar=("A.toml", "B.toml"),
        help="print what a reload from A to B would change; exit status 1 if anything",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> tuple[str, int]:
    """Returns the output and the exit status."""
    if arguments.diff is not None:
        return diff.run(arguments.diff, arguments.json)
    fleet = load_fleet(arguments.fleet)
    if arguments.json:
        return as_json(fleet) + "\n", 0
    console = new_console()
    with console.capture() as tables:
        print_tables(console, fleet)
    return tables.get(), 0


def as_json(fleet: list[Backend]) -> str:
    """`{"backends": [...]}` with the definitions, in ASCII, which every encoding of stdout has."""
    backends = [json.loads(backend.to_json()) for backend in fleet]
    return json.dumps({"backends": backends}, indent=2)


def print_tables(console: Console, fleet: list[Backend]) -> None:
    """Prints a table of the backends, and one of the models with the backends that serve them."""
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
    print_table(console, counted(len(fleet), "backend"), columns, rows)
    if len(fleet) > ROWS:
        console.print(left_out(len(fleet), ROWS, "backends"))


def _numbers(fleet: list[Backend]) -> dict[str, list[str]]:
    """The columns of numbers. Limits and weights are shown only if a backend sets them."""
    numbers = {"priority": [f"{backend.priority:,}" for backend in fleet]}
    for name in ("max_pending", "max_pending_tokens"):
        limits = [getattr(backend, name) for backend in fleet]
        if any(limit is not None for limit in limits):
            numbers[name] = ["-" if limit is None else f"{limit:,}" for limit in limits]
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
    print_table(console, counted(len(serving), "model"), columns, rows)
    if len(serving) > ROWS:
        console.print(left_out(len(serving), ROWS, "models"))


def _contexts(places: Places) -> str:
    """The context length. If the backends differ, the range on two lines."""
    lengths = [model.context_length for _, model in places]
    return " to\n".join(f"{length:,}" for length in dict.fromkeys((min(lengths), max(lengths))))


def _abilities(places: Places) -> str:
    """What the model can do on at least one of its backends."""
    abilities = {
        "vision": any(model.supports_vision for _, model in places),
        "tools": any(model.supports_tools for _, model in places),
        "json": any(model.supports_json_mode for _, model in places),
    }
    return " ".join(name for name, supported in abilities.items() if supported)


def _ids(places: Places) -> str:
    """The first backends, and the number of the others."""
    first = ", ".join(printable(backend.id) for backend, _ in places[:IDS])
    return first if len(places) <= IDS else f"{first} +{len(places) - IDS:,}"
