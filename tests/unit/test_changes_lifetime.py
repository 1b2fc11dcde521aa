"""Memory: changes of a fleet leave nothing behind, whether they succeed or not."""

from __future__ import annotations

import gc
from contextlib import suppress
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet, the

from registry import Backend, BackendNotFoundError, Registry

# More objects than wait for a batch to be reclaimed.
BOUND = 600


def live_backends() -> int:
    """The number of Backend objects that the garbage collector tracks."""
    return sum(type(thing) is Backend for thing in gc.get_objects())


def update(registry: Registry, number: int) -> None:
    registry.update_backend(make_backend("x", "m", f"m{number}", weight=1 + number % 9))


def replace(registry: Registry, number: int) -> None:
    registry.update_backend(make_backend("x", "m", f"m{number}", url=f"http://{number}"))
    registry.update_status("x", "unhealthy", f"error {number}")


def reconcile(registry: Registry, number: int) -> None:
    registry.reconcile(
        [
            make_backend("x", "m", f"m{number}", url=f"http://{number}"),
            make_backend("y", "m", weight=1 + number % 9, metadata={"mdns_instance": f"{number}"}),
            make_backend(f"z{number}", "m", metadata={"mdns_instance": f"z{number}"}),
        ]
    )


CHANGES = [update, replace, reconcile]
change = pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__)


@change
def test_changes_leak_nothing(registry: Registry, change: Any) -> None:
    reconcile(registry, 0)
    before = live_backends()
    for number in range(3000):
        change(registry, number)
    registry.stats()
    gc.collect()
    assert live_backends() < before + BOUND
    registry.reconcile([])
    stats = registry.stats()
    assert (stats.backends, stats.models, stats.index_entries) == (0, 0, 0)


@change
def test_a_held_view_keeps_only_objects_of_its_time(registry: Registry, change: Any) -> None:
    reconcile(registry, 0)
    view = the(registry, "x")
    before = live_backends()
    for number in range(1, 3000):
        change(registry, number)
    gc.collect()
    assert live_backends() < before + BOUND
    assert (view.url, view.models[1].id) == ("http://0", "m0")


def test_a_held_lease_keeps_its_own_definition_only() -> None:
    registry = make_fleet({})
    lease = registry.acquire("m")
    registry.add_backend(make_backend("x"))
    before = live_backends()
    for number in range(3000):
        replace(registry, number)
        registry.update_backend(make_backend("b0", "m", url=f"http://{number}"))
    gc.collect()
    assert live_backends() < before + BOUND
    assert lease.backend == make_backend("b0", "m")
    assert lease.release()


@pytest.fixture
def full(registry: Registry) -> Registry:
    """A registry whose instance i is taken."""
    registry.add_backend(make_backend("x", "m"))
    registry.add_backend(make_backend("y", "m", metadata={"mdns_instance": "i"}))
    return registry


def refused(registry: Registry, number: int) -> None:
    """Calls that raise at different points."""
    new = make_backend("x", f"n{number}", url="http://new", metadata={"mdns_instance": "i"})
    absent = make_backend(f"z{number}", f"o{number}")
    with suppress(ValueError):
        registry.update_backend(new)
    with suppress(BackendNotFoundError):
        registry.update_backend(absent)
    with suppress(ValueError):
        registry.reconcile([absent, new, make_backend("y", metadata={"mdns_instance": "i"})])
    with suppress(ValueError):
        registry.reconcile([absent, make_backend("x", f"p{number}"), absent])
    with suppress(BackendNotFoundError):
        registry.remove_backend("x", serial=10**9)


def test_calls_that_are_refused_leak_nothing(full: Registry) -> None:
    refused(full, 0)
    full.stats()
    gc.collect()
    before, objects = full.stats(), live_backends()
    for number in range(1000):
        refused(full, number)
    full.stats()
    gc.collect()
    assert full.stats() == before
    assert live_backends() < objects + BOUND


def test_a_registry_is_freed_with_what_was_replaced() -> None:
    before = live_backends()
    registry = Registry()
    for number in range(300):
        reconcile(registry, number)
        replace(registry, number)
    del registry
    gc.collect()
    assert live_backends() <= before + 1
