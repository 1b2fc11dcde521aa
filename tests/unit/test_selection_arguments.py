"""Arguments of `acquire`, `select` and `explain`, fields of `Requirements`, limits of a backend."""

from __future__ import annotations

import dataclasses
import functools
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet

from registry import Backend, BackendStatus, Model, NoBackendAvailableError, Registry, Requirements


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"policy": "fastest"},
            ValueError,
            "policy must be one of 'least_pending', 'power_of_two'",
        ),
        ({"policy": None}, TypeError, "policy must be a Policy or its value, not NoneType"),
        (
            {"policy": BackendStatus.HEALTHY},
            TypeError,
            "policy must be a Policy or its value, not BackendStatus",
        ),
        ({"policy": 1}, TypeError, "policy must be"),
        ({"require": "tools"}, TypeError, "require must be a Requirements or None, not str"),
        (
            {"require": {"tools": True}},
            TypeError,
            "require must be a Requirements or None, not dict",
        ),
        ({"exclude": "b0"}, TypeError, "exclude must be an iterable"),
        ({"exclude": b"b0"}, TypeError, "exclude must be an iterable"),
        ({"exclude": None}, TypeError, "exclude must be an iterable"),
        ({"exclude": ["b0", 7]}, TypeError, r"exclude\[1\] must be a str, not int"),
        ({"only": "b0"}, TypeError, "only must be an iterable of str, not str"),
        ({"only": b"b0"}, TypeError, "only must be an iterable"),
        ({"only": ["b0", 7]}, TypeError, r"only\[1\] must be a str, not int"),
        ({"allow_unknown": 1}, TypeError, "allow_unknown must be a bool, not int"),
        ({"allow_unknown": None}, TypeError, "allow_unknown must be a bool"),
        ({"model_id": "m"}, TypeError, "model_id"),
        ({"polcy": "random"}, TypeError, "polcy"),
    ],
)
def test_bad_arguments_are_refused(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    registry = make_fleet({})
    for method in (registry.acquire, registry.select, registry.explain):
        with pytest.raises(error, match=message):
            method("m", **arguments)
    assert registry.get_all_backends()[0].pending_requests == 0


@pytest.mark.parametrize("model_id", [None, 7, b"m", ["m"]])
def test_a_model_id_must_be_a_str(model_id: Any) -> None:
    registry = make_fleet({})
    for method in (registry.acquire, registry.select, registry.explain):
        with pytest.raises(TypeError, match="model_id must be a str"):
            method(model_id)


def test_unusual_but_valid_arguments_are_accepted() -> None:
    class Text(str):
        """A str subclass that cannot be hashed or compared."""

        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise AssertionError

    class Needs(Requirements):
        """A subclass of Requirements."""

    registry = make_fleet({}, {})
    assert (
        registry.select(Text("m"), exclude=(name for name in [Text("b0"), "\ud800", ""])).id == "b1"
    )
    policy: Any = Text("least_pending")
    assert registry.select("m", policy=policy, require=Needs(), exclude={"b0": 1}).id == "b1"
    assert (
        registry.select("m", exclude=[f"x{number}" for number in range(1000)] + ["b1"]).id == "b0"
    )


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"vision": 1}, TypeError, "vision must be a bool"),
        ({"tools": None}, TypeError, "tools must be a bool"),
        ({"json_mode": "yes"}, TypeError, "json_mode must be a bool"),
        ({"min_context": -1}, ValueError, "min_context must be from 0 to 4294967295, not -1"),
        ({"min_context": 2**32}, ValueError, "min_context"),
        ({"min_context": 1.0}, TypeError, "min_context must be an int, not float"),
        ({"min_context": True}, TypeError, "min_context"),
    ],
)
def test_bad_requirements_are_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Requirements(**fields)


def test_requirements_and_candidates_are_frozen_values() -> None:
    require = Requirements(True, False, True, 7)
    assert require == Requirements(vision=True, json_mode=True, min_context=7)
    candidate = make_fleet({}).explain("m")[0]
    for value in (require, candidate):
        assert (pickle.loads(pickle.dumps(value)), hash(value)) == (value, hash(value))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, True)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"max_pending": 0}, ValueError, "max_pending must be from 1 to 4294967295, not 0"),
        ({"max_pending": 2**32}, ValueError, "max_pending must be from 1"),
        ({"max_pending": 1.5}, TypeError, "max_pending must be an int"),
        ({"max_pending": True}, TypeError, "max_pending must be an int"),
        ({"weight": 0}, ValueError, "weight must be from 1 to 1000, not 0"),
        ({"weight": 1001}, ValueError, "weight must be from 1 to 1000, not 1001"),
        ({"weight": None}, TypeError, "weight must be an int"),
    ],
)
def test_bad_limits_of_a_backend_are_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_backend("b", **fields)


def test_limits_are_kept_in_views_and_json_and_by_updates(registry: Registry) -> None:
    registry.add_backend(make_backend("b", "m", max_pending=2**32 - 1, weight=1000))
    registry.update_models("b", [Model("n")])
    registry.set_mdns_instance("b", "i")
    view = registry.get_backend("b")
    assert view is not None
    assert (view.max_pending, view.weight) == (2**32 - 1, 1000)
    plain = '{"id": "a", "name": "a", "url": "http://a", "max_pending": %s, "weight": %s}'
    read = Backend.from_json(plain % (5, 6))
    assert (read.max_pending, read.weight) == (5, 6)
    assert Backend.from_json(read.to_json()) == read
    for bad, place in (
        ((0, 1), "max_pending"),
        ((1, 0), "weight"),
        ((1, 1001), "weight"),
        (('"1"', 1), "max_pending"),
    ):
        with pytest.raises(ValueError, match=rf"^\$\.{place}: "):
            Backend.from_json(plain % bad)


@pytest.mark.parametrize("call", ["exclude", "policy"])
def test_an_argument_that_its_caller_drops_during_the_call_stays_valid(
    registry: Registry, call: str
) -> None:
    """A partial can be changed while it is called, and then releases the arguments it passed."""
    model_id = "".join(["llama3", ":70b"])

    class Meddles:
        """Makes the partial drop the model id while another argument is read."""

        def __iter__(self) -> Iterator[str]:
            partial.__setstate__((registry.acquire, (), {}, {}))
            return iter(["x" * len(model_id)] * 100)

        def __str__(self) -> str:
            return str([*self])

        __repr__ = __str__

    partial: Any = functools.partial(registry.acquire, "".join(list(model_id)))
    with pytest.raises((NoBackendAvailableError, ValueError, TypeError)) as caught:
        partial(**{call: Meddles()})
    assert call == "policy" or "'llama3:70b'" in str(caught.value)
