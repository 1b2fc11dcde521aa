"""Serials: which registration a view shows, and calls that act on that registration only."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet, state, the
from support.threads import run_threads

from registry import BackendNotFoundError, BackendStatus, BackendView, Registry

# ---- Serials of registrations.


def test_serials_start_at_1_and_grow(registry: Registry) -> None:
    serials = []
    for number in range(5):
        registry.add_backend(make_backend(f"b{number}"))
        serials.append(the(registry, f"b{number}").serial)
    assert serials[0] == 1
    assert serials == sorted(set(serials))
    assert all(type(serial) is int for serial in serials)


def test_each_registry_has_serials_of_its_own(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    registry.add_backend(make_backend("b"))
    other = Registry()
    other.add_backend(make_backend("c"))
    assert the(other, "c").serial == 1


def test_a_new_registration_of_an_id_has_a_greater_serial(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    registry.add_backend(make_backend("b"))
    last = registry.remove_backend("a")
    registry.add_backend(make_backend("a"))
    assert the(registry, "a").serial > the(registry, "b").serial > last.serial == 1


def test_changes_of_a_registration_keep_its_serial(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    registry.update_status("a", "healthy")
    registry.update_models("a", make_backend("x", "n", "o").models)
    registry.add_model("a", make_backend("x", "p").models[0])
    registry.remove_model("a", "n")
    registry.set_mdns_instance("a", "i")
    registry.drain("a")
    registry.resume("a")
    registry.increment_pending("a")
    assert the(registry, "a").serial == 1


def test_every_query_shows_the_serial(registry: Registry) -> None:
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id, "m"))
        registry.update_status(backend_id, "healthy")
    serial = the(registry, "b").serial
    for views in (
        registry.get_all_backends(),
        registry.get_healthy_backends(),
        registry.get_backends_for_model("m"),
    ):
        assert views[1].serial == serial
    assert json.loads(registry.to_json())["backends"][1]["serial"] == serial
    assert registry.remove_backend("b").serial == serial


def test_concurrent_registrations_have_different_serials(registry: Registry) -> None:
    def work(thread: int) -> list[int]:
        serials = []
        for number in range(200):
            backend_id = f"{thread}-{number % 3}"
            if backend_id in registry:
                registry.update_backend(make_backend(backend_id, url=f"http://h{number}"))
            else:
                registry.add_backend(make_backend(backend_id))
            serials.append(the(registry, backend_id).serial)
            if number % 7 == 0:
                registry.remove_backend(backend_id)
        return serials

    parts = run_threads([lambda t=t: work(t) for t in range(8)])  # type: ignore[misc]
    assert all(part == sorted(part) for part in parts)
    everything = [serial for part in parts for serial in part]
    assert len(set(everything)) == len(everything)


# ---- Serial and draining are fields of a view; `backend` is not.


def test_the_new_fields_come_after_the_weight() -> None:
    names = [field.name for field in dataclasses.fields(BackendView)]
    assert names[names.index("weight") + 1 :][:2] == ["serial", "draining"]
    assert "backend" not in names


@pytest.fixture
def view(registry: Registry) -> BackendView:
    """A view of a backend that drains, and that is not the first registration."""
    registry.add_backend(make_backend("a"))
    registry.add_backend(make_backend("b", "m"))
    registry.drain("b")
    return the(registry, "b")


def test_the_new_fields_round_trip(view: BackendView) -> None:
    assert (view.serial, view.draining) == (2, True)
    assert json.loads(view.to_json())["draining"] is True
    for twin in (
        BackendView.from_json(view.to_json()),
        pickle.loads(pickle.dumps(view)),
        copy.copy(view),
        copy.deepcopy(view),
        replace(view),
        BackendView(*(getattr(view, field.name) for field in dataclasses.fields(view))),
    ):
        assert twin == view
        assert (twin.serial, twin.draining) == (2, True)
    assert dataclasses.asdict(view)["serial"] == 2
    assert "serial=2, draining=True" in repr(view)
    assert replace(view, serial=3) != view
    assert replace(view, draining=False) != view


def test_json_may_lack_the_new_fields(view: BackendView) -> None:
    document = json.loads(view.to_json())
    del document["serial"], document["draining"]
    read = BackendView.from_json(json.dumps(document))
    assert (read.serial, read.draining) == (0, False)
    assert read == replace(view, serial=0, draining=False)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("serial", -1), ("serial", "1"), ("serial", 1.5), ("serial", None), ("draining", 1)],
)
def test_json_with_a_wrong_value_names_the_place(view: BackendView, field: str, wrong: Any) -> None:
    document = {**json.loads(view.to_json()), field: wrong}
    with pytest.raises(ValueError, match=rf"^\$\.{field}"):
        BackendView.from_json(json.dumps(document))


@pytest.mark.parametrize("top", [0, 2**63, 2**64 - 1])
def test_a_serial_has_64_bits(view: BackendView, top: int) -> None:
    made = replace(view, serial=top)
    assert BackendView.from_json(made.to_json()).serial == top
    with pytest.raises(ValueError, match="^serial"):
        replace(view, serial=2**64)


def test_a_view_has_its_definition(registry: Registry) -> None:
    definition = make_backend("a", "m", weight=3, metadata={"k": "v"}, priority=-1, max_pending=7)
    registry.add_backend(definition)
    before = the(registry, "a")
    changed = replace(definition, name="new", url=definition.url.upper().replace("HTTP", "http"))
    registry.update_backend(changed)
    assert before.backend == definition
    assert the(registry, "a").backend == changed
    registry.add_model("a", make_backend("x", "n").models[0])
    assert [model.id for model in the(registry, "a").backend.models] == ["m", "n"]
    for view in (*registry.get_all_backends(), *registry.get_backends_for_model("m")):
        assert view.backend == the(registry, "a").backend
    assert registry.remove_backend("a").backend.name == "new"


def test_a_view_that_was_made_in_python_has_a_definition_too(view: BackendView) -> None:
    for twin in (
        BackendView.from_json(view.to_json()),
        pickle.loads(pickle.dumps(view)),
        replace(view),
    ):
        assert twin.backend == make_backend("b", "m")
    with pytest.raises(AttributeError):
        view.backend = make_backend("c")  # type: ignore[misc]


# ---- Calls that act on one registration.

Call = Callable[[Registry, Any], Any]
CALLS: dict[str, Call] = {
    "update_status": lambda r, serial: r.update_status("a", "unhealthy", "late", serial=serial),
    "remove_backend": lambda r, serial: r.remove_backend("a", serial=serial),
    "drain": lambda r, serial: r.drain("a", serial=serial),
    "resume": lambda r, serial: r.resume("a", serial=serial),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def new_server(registry: Registry) -> None:
    registry.update_backend(make_backend("a", url="http://new"))


def same_id_again(registry: Registry) -> None:
    registry.remove_backend("a")
    registry.add_backend(make_backend("a"))


def reconciled(registry: Registry) -> None:
    registry.reconcile([make_backend("a", url="http://new")])


RENEWALS = {call.__name__: call for call in (new_server, same_id_again, reconciled)}


@pytest.fixture
def one(registry: Registry) -> Registry:
    """A registry with one backend, and another one with a different serial."""
    registry.add_backend(make_backend("a"))
    registry.add_backend(make_backend("z"))
    return registry


def test_a_call_acts_on_the_registration_with_the_serial(one: Registry) -> None:
    CALLS["update_status"](one, 1)
    assert (the(one, "a").status, the(one, "a").last_error) == ("unhealthy", "late")
    CALLS["drain"](one, 1)
    assert the(one, "a").draining
    CALLS["resume"](one, 1)
    assert not the(one, "a").draining
    CALLS["remove_backend"](one, 1)
    assert list(one) == ["z"]


@each_call
@pytest.mark.parametrize("renew", RENEWALS.values(), ids=RENEWALS)
def test_a_call_with_the_serial_of_an_old_registration_fails(
    one: Registry, call: Call, renew: Callable[[Registry], None]
) -> None:
    old = the(one, "a").serial
    renew(one)
    one.drain("a")
    before = state(one)
    with pytest.raises(BackendNotFoundError, match="^backend not found: 'a'$") as caught:
        call(one, old)
    assert caught.value.backend_id == "a"
    assert state(one) == before


@each_call
def test_a_serial_of_another_backend_is_not_found(one: Registry, call: Call) -> None:
    before = state(one)
    for serial in (the(one, "z").serial, 2**64 - 1):
        with pytest.raises(BackendNotFoundError):
            call(one, serial)
    assert state(one) == before
    one.remove_backend("a")
    with pytest.raises(BackendNotFoundError):
        call(one, 1)


@each_call
def test_zero_is_no_serial_of_any_registration(one: Registry, call: Call) -> None:
    """A view that was read from older JSON has the serial 0."""
    before = state(one)
    with pytest.raises((BackendNotFoundError, ValueError)):
        call(one, 0)
    assert state(one) == before


@each_call
def test_without_a_serial_a_call_acts_on_whatever_has_the_id(one: Registry, call: Call) -> None:
    new_server(one)
    call(one, None)


@each_call
@pytest.mark.parametrize("wrong", [True, 1.0, "1", [1]])
def test_a_serial_is_an_int(one: Registry, call: Call, wrong: Any) -> None:
    before = state(one)
    with pytest.raises(TypeError, match="^serial"):
        call(one, wrong)
    assert state(one) == before


@each_call
@pytest.mark.parametrize("wrong", [-1, 2**64])
def test_a_serial_is_in_range(one: Registry, call: Call, wrong: int) -> None:
    before = state(one)
    with pytest.raises(ValueError, match="^serial"):
        call(one, wrong)
    assert state(one) == before


def test_a_serial_is_given_by_keyword(one: Registry) -> None:
    any_registry: Any = one
    for name, arguments in (
        ("update_status", ("a", "healthy", None, 1)),
        ("remove_backend", ("a", 1)),
        ("drain", ("a", 1)),
        ("resume", ("a", 1)),
    ):
        with pytest.raises(TypeError):
            getattr(any_registry, name)(*arguments)


def test_a_late_probe_does_not_mark_the_new_server() -> None:
    registry = make_fleet({}, {})
    probed = the(registry, "b0")
    registry.update_backend(make_backend("b0", "m", url="http://new"))
    with pytest.raises(BackendNotFoundError):
        registry.update_status("b0", "healthy", serial=probed.serial)
    assert the(registry, "b0").status is BackendStatus.UNKNOWN
    registry.update_status("b0", "healthy", serial=the(registry, "b0").serial)
    assert the(registry, "b0").status is BackendStatus.HEALTHY


def test_a_probe_outlives_a_change_of_the_definition() -> None:
    registry = make_fleet({})
    probed = the(registry, "b0")
    registry.update_backend(make_backend("b0", "n", weight=9))
    registry.update_status("b0", "unhealthy", "down", serial=probed.serial)
    assert the(registry, "b0").last_error == "down"


def test_a_removal_with_a_serial_returns_the_last_view(one: Registry) -> None:
    one.increment_pending("a")
    last = one.remove_backend("a", serial=1)
    assert (last.id, last.serial, last.pending_requests) == ("a", 1, 1)
    assert list(one) == ["z"]
