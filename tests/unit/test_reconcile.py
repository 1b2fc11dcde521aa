"""`reconcile`: the fleet becomes equal to a list.

test_reconcile_refusals.py has the lists that are refused, and test_reconcile_instances.py mDNS
instances that move. That it is one instant is checked by tests/long/swaps.py.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import UserList
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.fleets import ids_for, make_backend, make_fleet, state, the

import registry as package
from registry import (
    Backend,
    BackendStatus,
    DiscoverySource,
    Model,
    NoBackendAvailableError,
    Reconciliation,
    Registry,
)

MDNS = DiscoverySource.MDNS


def definitions(registry: Registry) -> list[Backend]:
    """What is registered, in the order of registration."""
    return [view.backend for view in registry.get_all_backends()]


@pytest.fixture
def used(registry: Registry) -> Registry:
    """Backends a to e, each with requests, a status and an error of its own."""
    for place, backend_id in enumerate("abcde"):
        registry.add_backend(make_backend(backend_id, "m", backend_id))
        registry.update_status(backend_id, "unhealthy", f"error of {backend_id}")
        registry.increment_pending_many([backend_id] * (place + 1))
        registry.increment_total_requests(backend_id)
        registry.update_latency(backend_id, 100 * place)
    registry.drain("b")
    return registry


# ---- The result.


def test_each_backend_is_in_one_list(used: Registry) -> None:
    done = used.reconcile(
        [
            make_backend("x"),
            make_backend("d", "m", "d"),
            make_backend("c", url="http://new"),
            make_backend("w"),
            make_backend("b", "m", "b", weight=2),
        ]
    )
    assert done == Reconciliation(
        added=("x", "w"),
        updated=("b",),
        replaced=("c",),
        removed=("a", "e"),
        unchanged=("d",),
    )
    assert list(used) == ["b", "c", "d", "x", "w"]


def test_the_lists_are_in_the_order_of_the_list_or_of_registration(used: Registry) -> None:
    used.remove_backend("a")
    used.add_backend(make_backend("a", "m", "a"))
    wanted = [make_backend(name, "m", name) for name in "eadcb"]
    assert used.reconcile(wanted).unchanged == tuple("eadcb")
    renamed = [replace(backend, name="new") for backend in wanted]
    assert used.reconcile(renamed[::-1]).updated == tuple("bcdae")
    moved = [replace(backend, url=f"http://{backend.id}") for backend in renamed]
    assert used.reconcile(moved).replaced == tuple("eadcb")
    assert list(used) == list("bcdea")
    added = used.reconcile([make_backend("z"), make_backend("y")])
    assert (added.added, added.removed) == (("z", "y"), tuple("bcdea"))


def test_the_result_is_a_frozen_dataclass_of_tuples(used: Registry) -> None:
    done = used.reconcile([make_backend("a", "m", "a"), make_backend("z")])
    assert dataclasses.is_dataclass(done)
    assert [field.name for field in dataclasses.fields(done)] == [
        "added",
        "updated",
        "replaced",
        "removed",
        "unchanged",
    ]
    values = dataclasses.astuple(done)
    assert all(type(ids) is tuple for ids in values)
    assert all(type(one) is str for ids in values for one in ids)
    assert done == Reconciliation(*values)
    assert hash(done) == hash(Reconciliation(*values))
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.added = ()  # type: ignore[misc]
    assert "Reconciliation" in package.__all__


def test_an_empty_list_empties_the_fleet(used: Registry) -> None:
    assert used.reconcile([]) == Reconciliation((), (), (), tuple("abcde"), ())
    assert (len(used), used.model_count(), used.models()) == (0, 0, [])
    assert used.reconcile([]) == Reconciliation((), (), (), (), ())


def test_an_empty_registry_is_filled_in_order(registry: Registry) -> None:
    wanted = [make_backend(f"b{number}", "m") for number in (3, 1, 2)]
    assert registry.reconcile(wanted).added == ("b3", "b1", "b2")
    assert definitions(registry) == wanted
    assert ids_for(registry, "m") == ["b3", "b1", "b2"]
    assert all(view.status is BackendStatus.UNKNOWN for view in registry.get_all_backends())
    serials = [view.serial for view in registry.get_all_backends()]
    assert len(set(serials)) == 3


# ---- What is unchanged keeps its very registration; the others are as after `update_backend`.


def test_an_equal_list_changes_nothing(used: Registry) -> None:
    before = state(used)
    wanted = [make_backend(name, "m", name) for name in "edcba"]
    assert used.reconcile(wanted) == Reconciliation((), (), (), (), tuple("edcba"))
    assert state(used) == before


def test_unchanged_backends_keep_their_very_registration(used: Registry) -> None:
    before = {view.id: view for view in used.get_all_backends()}
    used.reconcile(
        [
            make_backend("a", "m", "a"),
            make_backend("b", "m", "b"),
            make_backend("d", "o", url="http://new"),
            make_backend("z", "m", "o"),
        ]
    )
    for name in "ab":
        assert the(used, name) == before[name]
    assert the(used, "b").draining
    assert used.decrement_pending("b") == 1
    assert used.update_latency("b", 0) == 80


def test_an_updated_backend_keeps_its_registration(used: Registry) -> None:
    before = the(used, "b")
    done = used.reconcile([make_backend("b", "n", weight=3, name="new")])
    assert done.updated == ("b",)
    model = Model("n")
    assert the(used, "b") == replace(before, models=(model,), weight=3, name="new")


def test_a_replaced_backend_has_a_new_registration(used: Registry) -> None:
    latest = the(used, "e").serial
    used.reconcile([make_backend("b", "m", "b", url="http://new"), make_backend("e", "m", "e")])
    view = the(used, "b")
    assert view.serial > latest
    assert (view.status, view.last_error, view.draining) == (BackendStatus.UNKNOWN, None, False)
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 0, 0)
    assert list(used) == ["b", "e"]


CHANGES: dict[str, dict[str, Any]] = {
    "name": {"name": "new"},
    "url's spelling": {"url": "HTTP://H:80/v1/"},
    "type": {"backend_type": "vllm"},
    "models": {"models": [Model("n")]},
    "order of models": {"models": [Model("o"), Model("m")]},
    "part of a model": {"models": [Model("m", context_length=9), Model("o")]},
    "source": {"discovery_source": "mdns"},
    "metadata": {"metadata": {"zone": "eu"}},
    "instance": {"metadata": {"mdns_instance": "i"}},
    "priority": {"priority": 1},
    "cap": {"max_pending": 9},
    "weight": {"weight": 2},
    "settings": {"settings": {"timeout": 5}},
}


@pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES)
def test_any_difference_but_the_server_is_an_update(
    registry: Registry, fields: dict[str, Any]
) -> None:
    old = make_backend("a", "m", "o", url="http://h/v1")
    registry.add_backend(old)
    new = replace(old, **fields)
    assert registry.reconcile([new]).updated == ("a",)
    assert definitions(registry) == [new]
    assert the(registry, "a").serial == 1
    assert registry.reconcile([new]).unchanged == ("a",)
    assert registry.reconcile([old]).updated == ("a",)
    assert definitions(registry) == [old]


def test_settings_alone_are_a_difference(registry: Registry) -> None:
    """They take no part in a view's JSON, `repr` or `hash`, but in `==`."""
    for settings in ({}, {"key": "ONE"}, {"key": "TWO"}, {"key": "TWO", "more": [1, {"a": 2}]}):
        registry.reconcile([make_backend("a", settings=settings)])
        assert the(registry, "a").backend.settings == settings
        again = registry.reconcile([make_backend("a", settings=settings)])
        assert again.unchanged == ("a",)


@pytest.mark.parametrize("url", ["https://h/v1", "http://h:81/v1", "http://h/V1", "http://h"])
def test_another_url_is_a_replacement_even_if_all_else_is_equal(
    registry: Registry, url: str
) -> None:
    registry.add_backend(make_backend("a", url="http://h/v1"))
    assert registry.reconcile([make_backend("a", url=url)]).replaced == ("a",)
    assert registry.has_backend_url(url)
    assert not registry.has_backend_url("http://h/v1")


def test_the_indexes_follow(used: Registry) -> None:
    used.reconcile(
        [
            make_backend("z", "m", "z"),
            make_backend("c", "z", "m", url="http://new"),
            make_backend("a", "z", "q"),
        ]
    )
    assert list(used) == ["a", "c", "z"]
    assert [ids_for(used, name) for name in ("m", "z", "q", "a", "b")] == [
        ["c", "z"],
        ["a", "c", "z"],
        ["a"],
        [],
        [],
    ]
    assert (used.model_count(), used.stats().index_entries) == (3, 6)
    assert used.has_backend_url("http://new")
    assert not used.has_backend_url(make_backend("b").url)


# ---- Requests in flight.


def test_requests_in_flight_are_not_disturbed() -> None:
    registry = make_fleet({}, {}, {})
    leases = {lease.backend.id: lease for lease in (registry.acquire("m") for _ in range(3))}
    registry.reconcile(
        [
            make_backend("b0", "m", url="http://new"),
            make_backend("b2", "m", weight=5, max_pending=1),
        ]
    )
    assert all(lease.active for lease in leases.values())
    assert [view.pending_requests for view in registry.get_all_backends()] == [0, 1]
    with pytest.raises(NoBackendAvailableError, match="'b0' unknown, 'b2' full"):
        registry.acquire("m")
    assert [lease.backend.url for lease in leases.values()].count("http://new") == 0
    assert all(lease.release(7) for lease in leases.values())
    assert [
        (view.pending_requests, view.total_requests) for view in registry.get_all_backends()
    ] == [(0, 0), (0, 1)]


# ---- The list.


class OwnBackend(Backend):
    """A subclass of a caller."""


class OwnList(UserList[Backend]):
    """A sequence of a caller."""


KINDS: dict[str, Callable[[list[Backend]], Iterable[Backend]]] = {
    "tuple": tuple,
    "generator": lambda wanted: (backend for backend in wanted),
    "iterator": iter,
    "dict's values": lambda wanted: {backend.id: backend for backend in wanted}.values(),
    "own sequence": OwnList,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_any_iterable_will_do(
    used: Registry, kind: Callable[[list[Backend]], Iterable[Backend]]
) -> None:
    wanted = [make_backend("b", "m", "b"), make_backend("z")]
    done = used.reconcile(kind(wanted))
    assert (done.unchanged, done.added) == (("b",), ("z",))
    assert definitions(used) == wanted


def test_a_subclass_is_compared_and_stored_as_the_plain_class(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    plain = make_backend("a", "m")
    own = OwnBackend(plain.id, plain.name, plain.url, models=plain.models)
    assert registry.reconcile([own]).unchanged == ("a",)
    registry.reconcile([replace(own, weight=2), OwnBackend("b", "b", "http://b")])
    assert [type(backend) for backend in definitions(registry)] == [Backend, Backend]


def test_what_the_list_does_while_it_is_read_comes_first(used: Registry) -> None:
    """The iterable is read without a lock; the new fleet is compared with what is there then."""

    def meddling() -> Iterator[Backend]:
        used.add_backend(make_backend("y"))
        used.remove_backend("a")
        yield make_backend("a", "m", "a")
        used.update_status("b", "healthy")
        yield make_backend("b", "m", "b")

    done = used.reconcile(meddling())
    assert done == Reconciliation(("a",), (), (), ("c", "d", "e", "y"), ("b",))
    assert list(used) == ["b", "a"]
    assert the(used, "b").status is BackendStatus.HEALTHY


def test_definitions_of_views_can_be_reconciled(used: Registry) -> None:
    wanted = definitions(used)
    assert used.reconcile(wanted).unchanged == tuple("abcde")
    other = Registry()
    assert other.reconcile(wanted).added == tuple("abcde")


def test_a_long_model_id_is_logged_when_it_enters(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    long = "x" * 1001
    registry.add_backend(make_backend("a"))
    with caplog.at_level(logging.WARNING, "registry"):
        registry.reconcile([make_backend("a", long), make_backend("b", long)])
        assert len(caplog.records) == 2
        registry.reconcile([make_backend("a", long, weight=2), make_backend("b", long)])
        assert len(caplog.records) == 2


def test_the_first_argument_is_positional_and_the_source_a_keyword(used: Registry) -> None:
    any_registry: Any = used
    with pytest.raises(TypeError):
        any_registry.reconcile(backends=[])
    with pytest.raises(TypeError):
        any_registry.reconcile([], MDNS)
    assert len(used) == 5


def test_a_large_fleet_with_a_few_changes(registry: Registry) -> None:
    fleet = [make_backend(f"b{number}", "m", f"m{number % 7}") for number in range(3000)]
    registry.reconcile(fleet)
    serials = {view.id: view.serial for view in registry.get_all_backends()}
    fleet[10] = replace(fleet[10], weight=2)
    fleet[20] = replace(fleet[20], url="http://new")
    del fleet[30]
    fleet.append(make_backend("z", "m"))
    done = registry.reconcile(fleet)
    assert (done.updated, done.replaced, done.removed, done.added) == (
        ("b10",),
        ("b20",),
        ("b30",),
        ("z",),
    )
    assert len(done.unchanged) == 2997
    assert definitions(registry) == fleet
    assert ids_for(registry, "m") == [backend.id for backend in fleet]
    assert {
        view.id for view in registry.get_all_backends() if serials.get(view.id) != view.serial
    } == {"b20", "z"}
