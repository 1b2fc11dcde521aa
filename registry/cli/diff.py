"""`show --diff`: what a reload of a fleet file would do, without doing it.

A reload is a `Registry.reconcile`. So the command reconciles a registry of its own, first with the
old file and then with the new one, and reports what the second call did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from registry import Backend, Reconciliation, Registry, load_fleet
from registry.cli.texts import differences, line, summary

Fleet = dict[str, Backend]


def run(files: Sequence[str], as_json: bool) -> tuple[str, int]:
    """Returns the output, and the exit status 0, or 1 if a reload would change the fleet."""
    old, new = (load_fleet(file) for file in files)
    registry = Registry()
    registry.reconcile(old)
    result = registry.reconcile(new)
    fleets = ({backend.id: backend for backend in fleet} for fleet in (old, new))
    text = (_document if as_json else _lines)(result, *fleets)
    is_equal = not (result.added or result.updated or result.replaced or result.removed)
    return text + "\n", 0 if is_equal else 1


def _lines(result: Reconciliation, old: Fleet, new: Fleet) -> str:
    """A line for each backend that differs, and one with the numbers."""

    def changed(backend_id: str) -> list[str]:
        return differences(old[backend_id], new[backend_id])

    details: dict[str, Callable[[str], list[str]]] = {
        "added": lambda backend_id: summary(new[backend_id]),
        "updated": changed,
        "replaced": changed,
        "removed": lambda backend_id: summary(old[backend_id]),
    }
    lines, numbers = [], []
    for kind, details_of in details.items():
        ids: tuple[str, ...] = getattr(result, kind)
        lines += [line(kind, backend_id, details_of(backend_id)) for backend_id in ids]
        if ids:
            numbers.append(f"{len(ids):,} {kind}")
    numbers.append(f"{len(result.unchanged):,} unchanged")
    return "\n".join([*lines, ", ".join(numbers)])


def _document(result: Reconciliation, old: Fleet, new: Fleet) -> str:
    """The ids of each kind, and for those that differ, the fields from what to what."""

    def changed(backend_id: str) -> dict[str, Any]:
        return {"id": backend_id, **_changes(old[backend_id], new[backend_id])}

    document = {
        "added": result.added,
        "updated": [changed(backend_id) for backend_id in result.updated],
        "replaced": [changed(backend_id) for backend_id in result.replaced],
        "removed": result.removed,
        "unchanged": result.unchanged,
    }
    return json.dumps(document, indent=2)


def _changes(before: Backend, after: Backend) -> dict[str, Any]:
    """The fields that differ, with both values as in `Backend.to_json`, which has no settings."""
    old, new = (json.loads(backend.to_json()) for backend in (before, after))
    fields = {key: {"from": old[key], "to": new[key]} for key in old if old[key] != new[key]}
    return {"changes": fields, "settings_differ": before.settings != after.settings}
