"""`Ejection` and the settings of a registry: what is accepted, and what is told.

What they do is tested elsewhere; `test_argument_messages` has the errors for wrong types.
"""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from support.fleets import make_backend, the

from registry import (
    Ejection,
    Reason,
    Registry,
)
from registry.ejection import DEFAULT_EJECTION, for_core, ttl_for_core
from registry.testing import ManualClock

YEAR = 86_400 * 365
NAN, INFINITY = float("nan"), float("inf")
HUGE = 10**400  # more than a float can hold


class OwnInt(int):
    """A subclass, which must not stay in a field."""


class OwnFloat(float):
    """A subclass, which must not stay in a field."""


# ---- Ejection


def test_an_ejection_has_the_defaults_of_the_page() -> None:
    assert dataclasses.asdict(Ejection()) == {
        "consecutive_failures": 5,
        "failure_rate": 0.5,
        "min_requests": 20,
        "window_s": 10.0,
        "base_s": 30.0,
        "max_s": 300.0,
        "trials": 1,
        "slow_start_s": 30.0,
        "panic": 0.0,
    }


GOOD: list[tuple[str, Any]] = [
    *(("consecutive_failures", value) for value in (1, 2**32 - 1, None, OwnInt(3))),
    *(("failure_rate", value) for value in (5e-324, 1, 1.0, None, OwnFloat(0.5))),
    *(("min_requests", value) for value in (1, 2**32 - 1)),
    *((name, value) for name in ("window_s", "base_s", "max_s") for value in (31, 30.5, YEAR)),
    *((name, value) for name in ("window_s", "base_s") for value in (5e-324, OwnInt(1))),
    *(("trials", value) for value in (1, 65_535)),
    *(("slow_start_s", value) for value in (0, 0.0, 5e-324, YEAR, OwnFloat(2.5))),
    *(("panic", value) for value in (0, 1, 0.5, None, OwnFloat(0.5))),
]
BAD: list[tuple[str, Any, str]] = [
    *(
        (name, value, "from 1 to 4294967295")
        for name in ("consecutive_failures", "min_requests")
        for value in (0, -1, 2**32, HUGE)
    ),
    *(("trials", value, "from 1 to 65535") for value in (0, 65_536)),
    *(
        ("failure_rate", value, "above 0 and at most 1")
        for value in (0, 0.0, -0.1, 1.1, 2, NAN, INFINITY)
    ),
    *(("panic", value, "from 0 to 1") for value in (-1, -0.1, 1.1, 2, NAN)),
    *(
        (name, value, "above 0 and at most 31536000")
        for name in ("window_s", "base_s", "max_s")
        for value in (0, 0.0, -1, YEAR + 1, INFINITY, NAN, HUGE)
    ),
    *(("slow_start_s", value, "from 0 to 31536000") for value in (-1, -0.1, YEAR + 1, NAN)),
    ("max_s", 29, "at least base_s, 30.0, not 29.0"),
]


def test_the_tables_have_every_field() -> None:
    names = {field.name for field in dataclasses.fields(Ejection)}
    assert {name for name, _ in GOOD} == names == {name for name, _, _ in BAD}


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_field_takes_its_whole_range(name: str, value: Any) -> None:
    highest = {"max_s": YEAR} if name == "base_s" else {}
    ejection = Ejection(**{**highest, name: value})
    found = getattr(ejection, name)
    assert found == value
    assert type(found) in (int, float, type(None))
    assert Registry(ejection=ejection).backend_count() == 0


@pytest.mark.parametrize(("name", "value", "range_"), BAD)
def test_a_field_out_of_range_is_a_value_error(name: str, value: Any, range_: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {range_}"):
        Ejection(**{name: value})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Ejection)])
@pytest.mark.parametrize("value", [True, "5", 5j, []])
def test_a_field_of_a_wrong_type_is_a_type_error(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be an "):
        Ejection(**{name: value})


def test_a_base_above_the_default_maximum_is_refused_with_the_fix() -> None:
    with pytest.raises(ValueError, match=r"^max_s must be at least base_s, 301\.0, not 300\.0$"):
        Ejection(base_s=301)
    assert Ejection(base_s=301, max_s=301).max_s == 301


def test_an_ejection_is_an_immutable_value() -> None:
    one = Ejection(base_s=1, panic=None)
    assert one == Ejection(base_s=1.0, panic=None) != Ejection()
    assert hash(one) == hash(copy.copy(one))
    assert pickle.loads(pickle.dumps(one)) == one == dataclasses.replace(one)
    assert not hasattr(one, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.base_s = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="max_s"):
        dataclasses.replace(one, max_s=0.5)


def test_the_core_gets_nanoseconds() -> None:
    assert for_core(DEFAULT_EJECTION) == (
        5, 0.5, 20, 10**10, 3 * 10**10, 3 * 10**11, 1, 3 * 10**10, 0.0
    )  # fmt: skip
    never = Ejection(
        consecutive_failures=None, failure_rate=None, panic=None, window_s=1e-300, slow_start_s=0
    )
    assert for_core(never) == (0, -1.0, 20, 1, 3 * 10**10, 3 * 10**11, 1, 0, -1.0)
    assert for_core(None) is None
    assert (ttl_for_core(None), ttl_for_core(0.1), ttl_for_core(7)) == (None, 10**8, 7 * 10**9)


# ---- settings of a registry


def test_a_registry_takes_its_settings_by_name_only() -> None:
    settings: dict[str, Any]
    for settings in (
        {},
        {"ejection": None},
        {"ejection": Ejection(), "latency_ttl_s": None, "clock": None},
        {"ejection": Ejection(trials=2), "latency_ttl_s": 5, "clock": ManualClock()},
        {"latency_ttl_s": 1e-12},
        {"latency_ttl_s": YEAR},
    ):
        assert len(Registry(**settings)) == 0
    with pytest.raises(TypeError):
        Registry(Ejection())  # type: ignore[call-arg]


@pytest.mark.parametrize("make", [Registry, lambda **given: Registry.from_fleet("no", **given)])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"ejection": 5}, TypeError, "ejection must be an Ejection or None, not int"),
        ({"ejection": Ejection}, TypeError, "ejection must be an Ejection or None, not type"),
        ({"clock": 5}, TypeError, "clock must be a ManualClock or None, not int"),
        ({"latency_ttl_s": "5"}, TypeError, "latency_ttl_s must be an int, a float or None"),
        ({"latency_ttl_s": True}, TypeError, "latency_ttl_s must be an int, a float or None"),
        ({"latency_ttl_s": 0}, ValueError, "latency_ttl_s must be above 0 and at most 31536000"),
        ({"latency_ttl_s": -1}, ValueError, "latency_ttl_s must be above 0"),
        ({"latency_ttl_s": NAN}, ValueError, "latency_ttl_s must be above 0"),
        ({"latency_ttl_s": INFINITY}, ValueError, "latency_ttl_s must be above 0"),
    ],
)
def test_a_bad_setting_is_refused(
    make: Callable[..., Registry], given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make(**given)


def test_fields_that_were_forced_are_checked_again() -> None:
    for name, value, error in (("base_s", 1e9, ValueError), ("trials", "x", TypeError)):
        forced = Ejection()
        object.__setattr__(forced, name, value)
        with pytest.raises(error, match=f"^{name} must be"):
            Registry(ejection=forced)


def test_a_subclass_passes_settings_on() -> None:
    class Named(Registry):
        def __init__(self, name: str, clock: ManualClock) -> None:
            super().__init__(ejection=None, clock=clock)
            self.name = name

    class Bare(Registry):
        def __init__(self, *_: Any) -> None:
            """Calls no other constructor."""

    clock = ManualClock()
    named = Named("n", clock)
    named.add_backend(make_backend("a", "m"))
    named.cool_down("a", 5)
    assert the(named, "a").unavailable is Reason.COOLING_DOWN
    clock.advance(5)
    assert (named.name, the(named, "a").unavailable) == ("n", None)
    assert Bare(5, "x").backend_count() == Registry.__new__(Registry).backend_count() == 0


def test_a_fleet_file_and_settings(tmp_path: Any) -> None:
    class Plain(Registry):
        def __init__(self) -> None:
            super().__init__()

    path = tmp_path / "fleet.toml"
    path.write_text('[[backends]]\nid = "a"\nname = "a"\nurl = "http://a"\n')
    clock = ManualClock()
    read = Registry.from_fleet(path, ejection=None, latency_ttl_s=5, clock=clock)
    read.cool_down("a", 5)
    clock.advance(5)
    assert the(read, "a").unavailable is None
    assert [*Plain.from_fleet(path)] == ["a"]


def test_settings_can_not_be_changed(made: Registry) -> None:
    made.__init__()  # type: ignore[misc]
    assert made.backend_count() == 1
    unused = Registry(ejection=None)
    for registry in (made, unused):
        with pytest.raises(RuntimeError, match="make another one$"):
            registry.__init__(ejection=None)  # type: ignore[misc]
    assert [*made] == ["a"]
