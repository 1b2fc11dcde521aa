"""A consumer of a watch: keeps a copy of the fleet, and checks that each change continues it."""

from __future__ import annotations

import random
from collections.abc import Callable

from registry import (
    Backend,
    BackendNotFoundError,
    BackendView,
    Change,
    ChangeKind,
    DuplicateBackendError,
    Model,
    Registry,
    Watch,
)

IDS = tuple("abcdef")
DIFFERS = "snapshot and changes are not the registry"

# What a change says of a backend; the counters are those of the moment.
State = tuple[object, ...]


def state_of(view: BackendView) -> State:
    """Everything in the view that only writes change."""
    return (
        view.url,
        view.models,
        dict(view.metadata),
        view.status,
        view.last_error,
        view.last_health_check,
    )


def fleet_of(views: tuple[BackendView, ...] | list[BackendView]) -> dict[str, State]:
    """The states by id, in the order of registration."""
    return {view.id: state_of(view) for view in views}


class Mirror:
    """A copy of a registry, made of a watch's snapshot and of its changes."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.fleet = fleet_of(watch.snapshot)
        self.version = 0
        self.changes = 0
        self.overflows = 0

    def apply(self, change: Change) -> None:
        """Applies a change. Raises AssertionError if it does not follow from what is known."""
        self.changes += 1
        if change.kind is ChangeKind.OVERFLOWED:
            assert change.version >= self.version, "a version went back"
            assert (change.backend_id, change.before, change.after) == (None, None, None)
            self.fleet = fleet_of(self.watch.snapshot)
            self.overflows += 1
        else:
            assert change.version >= self.version, "a version went back"
            self.follow(change)
        self.version = change.version

    def follow(self, change: Change) -> None:
        """Applies a change of one backend."""
        backend_id = change.backend_id
        assert backend_id is not None
        known = self.fleet.get(backend_id)
        before = None if change.before is None else state_of(change.before)
        assert known == before, f"{change.kind} of {backend_id}: {known} is not {before}"
        if change.after is None:
            assert change.kind is ChangeKind.REMOVED
            del self.fleet[backend_id]
        else:
            assert (change.kind is ChangeKind.ADDED) == (change.before is None)
            self.fleet[backend_id] = state_of(change.after)

    def check(self, registry: Registry) -> None:
        """Raises AssertionError unless the copy is the registry, in the same order."""
        now = fleet_of(registry.get_all_backends())
        assert list(self.fleet.items()) == list(now.items()), DIFFERS


def write_randomly(registry: Registry, seed: int, writes: int) -> None:
    """Adds, removes and changes backends at random."""
    rng = random.Random(seed)
    for number in range(writes):
        backend_id = rng.choice(IDS)
        write = rng.choice(WRITES)
        try:
            write(registry, backend_id, f"{seed}-{number}")
        except (BackendNotFoundError, DuplicateBackendError):
            continue


WRITES: tuple[Callable[[Registry, str, str], object], ...] = (
    lambda registry, backend_id, name: registry.add_backend(
        Backend(backend_id, name, f"http://{name}", models=[Model("m")])
    ),
    lambda registry, backend_id, _name: registry.remove_backend(backend_id),
    lambda registry, backend_id, name: registry.update_status(backend_id, "unhealthy", name),
    lambda registry, backend_id, name: registry.update_models(
        backend_id, [Model("m"), Model(name)]
    ),
    lambda registry, backend_id, name: registry.set_mdns_instance(backend_id, name),
    lambda registry, backend_id, _name: registry.increment_pending(backend_id),
)
