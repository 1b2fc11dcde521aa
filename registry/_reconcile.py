"""Plans a reconcile: the changes that lead from one fleet to another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from registry import _checks
from registry._core import binding
from registry._field_checks import exact_instance
from registry._single_import import refuse_second_import
from registry._url import normalize_url
from registry.backend import INSTANCE_KEY, Backend, DiscoverySource

refuse_second_import()


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What `Registry.reconcile` did: the ids, in the order of the list.

    `removed` is in the order of registration. Immutable; thread safety: atomic.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    """Something differs, such as the spelling of the url, but not the server."""
    replaced: tuple[str, ...] = ()
    """The url is that of another server, so this is a new registration."""
    removed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.added or self.updated or self.replaced or self.removed)


# A change for `RegistryCore._apply`.
Change = tuple[int, Backend | str, str | None, str | None]


def url_key(backend: Backend) -> str:
    """The normal form of the url, which identifies the server."""
    key = normalize_url(backend.url)
    assert key is not None  # `Backend` has checked the url
    return key


def instance_of(backend: Backend) -> str | None:
    """The mDNS instance. Raises ValueError if it is empty."""
    instance = backend.metadata.get(INSTANCE_KEY)
    if instance == "":
        raise ValueError(
            f"metadata[{INSTANCE_KEY!r}] of {backend.id!r} must not be empty: leave it out instead"
        )
    return instance


def is_same_server(a: Backend, b: Backend) -> bool:
    """Whether the urls of both definitions have the same normal form."""
    return a.url == b.url or url_key(a) == url_key(b)


def check_fleet(backends: object, source: DiscoverySource | None) -> dict[str, Backend]:
    """The backends by id, in their order. Raises TypeError or ValueError, which names the place."""
    items = _checks.items(backends, "backends", "Backend")
    if (plain := binding.plain_fleet(items, source, INSTANCE_KEY)) is not None:
        return plain
    checked: dict[str, Backend] = {}
    instances: dict[str, int] = {}
    for index, given in enumerate(items):
        place = f"backends[{index}]"
        backend = given if type(given) is Backend else exact_instance(Backend, given, place)
        if backend.id in checked:
            first = list(checked).index(backend.id)
            raise ValueError(
                f"{place}.id must be unique in the list, but backends[{first}] is {backend.id!r} "
                "too"
            )
        if source is not None and backend.discovery_source is not source:
            raise ValueError(
                f"{place} must come from source {source.value!r}, but discovery_source of "
                f"{backend.id!r} is {backend.discovery_source.value!r}"
            )
        if backend.metadata and (instance := instance_of(backend)) is not None:
            if instance in instances:
                raise ValueError(
                    f"{place}.metadata[{INSTANCE_KEY!r}] must be unique in the list, but "
                    f"backends[{instances[instance]}] has {instance!r} too"
                )
            instances[instance] = index
        checked[backend.id] = backend
    return checked


def _refuse_conflicts(
    kept: list[Backend], wanted: dict[str, Backend], source: DiscoverySource
) -> None:
    """Backends of other sources are not touched, so nothing in the list may need their place."""
    if not kept:
        return
    held = {backend.metadata.get(INSTANCE_KEY): backend for backend in kept if backend.metadata}
    for index, backend in enumerate(wanted.values()):
        instance = backend.metadata.get(INSTANCE_KEY)
        if instance is not None and instance in held:
            raise ValueError(
                f"backends[{index}].metadata[{INSTANCE_KEY!r}] must not be {instance!r}: "
                f"{held[instance].id!r} from source {held[instance].discovery_source.value!r} "
                "holds it"
            )
    for backend in kept:
        if backend.id in wanted:
            index = list(wanted).index(backend.id)
            raise ValueError(
                f"backends[{index}].id must not be {backend.id!r}: it is registered from source "
                f"{backend.discovery_source.value!r}, not {source.value!r}"
            )


def plan(
    fleet: list[Backend], wanted: dict[str, Backend], source: DiscoverySource | None
) -> tuple[list[Change], Reconciliation]:
    """The changes that make the fleet equal to `wanted`, and what they amount to. O(backends).

    With a source, only its backends may change; a conflict with another one is a ValueError.
    """
    if source is not None:
        _refuse_conflicts(
            [backend for backend in fleet if backend.discovery_source is not source],
            wanted,
            source,
        )
        fleet = [backend for backend in fleet if backend.discovery_source is source]
    done: dict[str, list[str]] = {field.name: [] for field in fields(Reconciliation)}
    changes: list[Change] = []
    done["unchanged"], different = binding.compare_fleets(fleet, list(wanted.values()))

    def note(kind: int, what: str, backend: Backend, url: str | None) -> None:
        done[what].append(backend.id)
        changes.append((kind, backend, url, instance_of(backend)))

    for old, backend in different:
        if old is None:
            note(binding.ADDED, "added", backend, url_key(backend))
        elif is_same_server(old, backend):
            note(binding.UPDATED, "updated", backend, None)
        else:
            note(binding.REPLACED, "replaced", backend, url_key(backend))
    found = sum(len(done[what]) for what in ("unchanged", "updated", "replaced"))
    if found < len(fleet):
        for backend in fleet:
            if backend.id not in wanted:
                done["removed"].append(backend.id)
                changes.append((binding.REMOVED, backend.id, None, None))
    return changes, Reconciliation(**{name: tuple(ids) for name, ids in done.items()})


def entering(changes: Iterable[Change]) -> Iterable[Any]:
    """The definitions that enter the registry."""
    return (what for _, what, _, _ in changes if type(what) is Backend)
