"""Settings: read-only at any depth, compared but never shown, and refused with a place."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fleets import make_backend

from registry import Backend, BackendView, Registry
from registry.settings import DEPTH_MAX, Settings

SECRET = "hunter2"
TABLE: dict[str, Any] = {
    "api_key_env": SECRET,
    "timeouts": {"read": 5, "connect": 0.5},
    "hosts": ["a", ["b", {"c": True}]],
    "times": [datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2), date(2026, 1, 2), time(3)],
    "big": 2**100,
    "": {},
}
SETTINGS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.text(max_size=3)
        | st.integers()
        | st.floats(allow_nan=False)
        | st.booleans()
        | st.times()
        | st.dates()
        | st.datetimes()
        | st.datetimes(timezones=st.just(UTC)),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=3,
)


def make(settings: Any) -> Backend:
    """A backend with these settings."""
    return make_backend("b", "m", settings=settings)


def test_settings_read_as_the_table_that_was_given() -> None:
    settings = make(TABLE).settings
    assert settings == TABLE
    assert settings["timeouts"]["read"] == 5
    assert settings["hosts"][1][1]["c"] is True
    assert [type(one) for one in settings["times"]] == [datetime, datetime, date, time]
    assert list(settings) == list(TABLE)
    assert isinstance(settings, Mapping)
    assert isinstance(settings["timeouts"], Mapping)
    assert isinstance(settings["hosts"], tuple)
    assert json.loads(json.dumps(settings["timeouts"])) == TABLE["timeouts"]


def test_the_default_is_empty_and_shared() -> None:
    assert make_backend().settings == {}
    assert make_backend().settings is make({}).settings
    assert make(make({}).settings).settings is make({}).settings


def test_settings_are_a_copy_that_is_read_only_at_any_depth() -> None:
    given_one = copy.deepcopy(TABLE)
    settings: Any = make(given_one).settings
    given_one["timeouts"]["read"] = given_one["hosts"][1][1]["c"] = "changed"
    given_one["hosts"].append("changed")
    assert settings == TABLE
    for table in (settings, settings["timeouts"], settings["hosts"][1][1]):
        changes: list[Callable[[Any], Any]] = [
            lambda t: t.update(a="b"),
            lambda t: t.setdefault("a", "b"),
            lambda t: t.pop("a", None),
            lambda t: t.popitem(),
            lambda t: t.clear(),
            lambda t: t.__setitem__("a", "b"),
            lambda t: t.__delitem__("a"),
            lambda t: t.__ior__({"a": "b"}),
        ]
        for change in changes:
            with pytest.raises(TypeError, match="settings is read-only"):
                change(table)
        table.__init__({"a": "b"})
    with pytest.raises(TypeError):
        settings["hosts"][0] = "changed"
    assert settings == TABLE


def test_settings_take_part_in_equality_but_not_in_hash_and_repr() -> None:
    one, other = make(TABLE), make({**TABLE, "big": 0})
    assert one == make(copy.deepcopy(TABLE))
    assert one != other
    assert hash(one) == hash(other) == hash(make({}))
    assert "settings" not in repr(one)
    assert SECRET not in repr(one)
    nested = copy.deepcopy(TABLE)
    nested["hosts"][1][1]["c"] = False
    assert one != make(nested)


def test_an_array_equals_lists_and_tuples_with_equal_items() -> None:
    array = make({"a": [1, [2]]}).settings["a"]
    assert array == [1, [2]]
    assert array == [1, [2]]
    assert array == (1, (2,))
    assert array[1] == [2]
    assert array != [1, [3]]
    assert array != (1,)
    assert array != {1, 2}
    assert (array == [1, [2], 3]) is False
    assert (array != [1, [2]]) is False
    assert hash(array) == hash((1, (2,)))


@given(SETTINGS)
def test_settings_survive_every_copy(table: dict[str, Any]) -> None:
    backend = make(table)
    assert backend.settings == table
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(backend, protocol))
        assert twin == backend
        assert type(twin.settings) is type(backend.settings)
    assert copy.copy(backend) == copy.deepcopy(backend) == backend
    assert copy.deepcopy(list(backend.settings.values())) == list(backend.settings.values())
    assert dataclasses.replace(backend, name="other").settings is backend.settings
    assert dataclasses.asdict(backend)["settings"] == table
    assert Backend(**dataclasses.asdict(dataclasses.replace(backend, models=()))) == (
        dataclasses.replace(backend, models=())
    )
    hash(backend.settings)


def test_no_json_has_settings(registry: Registry) -> None:
    registry.add_backend(make(TABLE))
    view = registry.get_backend("b")
    assert view is not None
    for text in (view.to_json(), view.backend.to_json(), registry.to_json()):
        assert "settings" not in text
        assert SECRET not in text
    assert msgspec.json.encode(view).decode() == view.to_json()
    assert Backend.from_json(make(TABLE).to_json()) == make({})


@pytest.mark.parametrize("value", [5, None, {"a": 1}, {"a": None}, []])
def test_settings_in_json_are_ignored_as_any_unknown_key(value: Any) -> None:
    document = {**json.loads(make({}).to_json()), "settings": value}
    assert Backend.from_json(json.dumps(document)) == make({})


def test_a_subclass_reads_and_writes_its_own_fields() -> None:
    @dataclasses.dataclass(frozen=True)
    class Own(Backend):
        color: str = "red"
        tags: list[str] = dataclasses.field(default_factory=list)

    own = Own("a", "a", "http://a", settings={"a": 1}, color="blue", tags=["x"])
    assert Own.from_json(own.to_json()) == dataclasses.replace(own, settings={})
    assert Own.from_json(make({}).to_json()).tags == []


# ---- the definition of a view


def test_a_view_has_the_definition_that_is_registered(registry: Registry) -> None:
    backend = make(TABLE)
    registry.add_backend(backend)
    view = registry.get_backend("b")
    assert view is not None
    assert view.backend is backend
    assert not hasattr(view, "settings")
    registry.update_models("b", [])
    (changed,) = registry.get_all_backends()
    assert changed.backend == dataclasses.replace(backend, models=())
    assert changed.backend.settings is backend.settings
    assert view.backend is backend
    assert registry.remove_backend("b").backend is changed.backend
    assert changed.backend.settings == TABLE
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.backend = backend  # type: ignore[misc]


def test_a_view_that_was_made_in_python_has_empty_settings(registry: Registry) -> None:
    registry.add_backend(make(TABLE))
    view = registry.get_backend("b")
    assert view is not None
    for twin in (
        pickle.loads(pickle.dumps(view)),
        BackendView.from_json(view.to_json()),
        dataclasses.replace(view),
        copy.copy(view),
        copy.deepcopy(view),
    ):
        assert (twin, hash(twin), twin.serial) == (view, hash(view), 1)
        assert twin.backend == make({})


def test_the_serial_of_a_registration_grows(registry: Registry) -> None:
    serials = []
    for backend_id in ("a", "b", "a"):
        if backend_id in registry:
            registry.remove_backend(backend_id)
        registry.add_backend(make_backend(backend_id))
        view = registry.get_backend(backend_id)
        assert view is not None
        assert not view.draining
        serials.append(view.serial)
    assert serials == sorted(set(serials))
    assert serials[0] == 1
    views = registry.get_all_backends()
    assert len({view.serial for view in views}) == 2
    assert dataclasses.replace(views[0], serial=9) != views[0]
    assert dataclasses.replace(views[0], draining=True) != views[0]


# ---- what is accepted


class Color(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    def __eq__(self, other: object) -> bool:
        raise AssertionError("foreign code ran")

    __hash__ = str.__hash__


class Real(float):
    pass


class Table(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> Any:
        return {"a": [1]}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def test_values_and_keys_of_a_subclass_become_exact() -> None:
    settings = make(
        {Text("a"): Color.RED, "b": Number.ONE, "c": Text("x"), "d": Real(0.5), "e": True}
    ).settings
    assert [type(key) for key in settings] == [str] * 5
    assert [type(value) for value in settings.values()] == [str, int, str, float, bool]
    assert settings == {"a": "red", "b": 1, "c": "x", "d": 0.5, "e": True}


@pytest.mark.parametrize(
    "table", [Table(), MappingProxyType({"a": [1]}), OrderedDict(a=(1,)), Settings({"a": [1]})]
)
def test_any_mapping_is_a_table(table: Any) -> None:
    for settings in (make(table).settings, make({"in": table}).settings["in"]):
        assert type(settings) is Settings
        assert settings == {"a": [1]}


class Day(date):
    pass


class Moment(datetime):
    pass


@pytest.mark.parametrize(
    ("table", "place", "given_type"),
    [
        (5, "settings", "int"),
        (None, "settings", "NoneType"),
        ([("a", 1)], "settings", "list"),
        ("a", "settings", "str"),
        ({"a": None}, "settings['a']", "NoneType"),
        ({"a": b"x"}, "settings['a']", "bytes"),
        ({"a": {"b": [1, 2, {3}]}}, "settings['a']['b'][2]", "set"),
        ({"a": [[{"b c": 1j}]]}, "settings['a'][0][0]['b c']", "complex"),
        ({"a": Day(2026, 1, 2)}, "settings['a']", "Day"),
        ({"a": Moment(2026, 1, 2)}, "settings['a']", "Moment"),
        ({5: "a"}, "settings[5]", "int"),
        ({"a": [{None: 1}]}, "settings['a'][0][None]", "NoneType"),
        ({"a": {b"x": 1}}, "settings['a'][b'x']", "bytes"),
        ({10**5000: 1}, "settings[", "int"),
    ],
)
def test_anything_else_is_a_type_error_that_names_the_key(
    table: Any, place: str, given_type: str
) -> None:
    with pytest.raises(TypeError) as caught:
        make(table)
    assert str(caught.value).startswith(place)
    assert " must " in str(caught.value)
    assert str(caught.value).endswith(f"not {given_type}")


def test_an_error_never_shows_a_value() -> None:
    with pytest.raises(TypeError) as caught:
        make({"key": SECRET.encode()})
    assert SECRET not in str(caught.value)


def test_the_repr_of_a_bad_key_may_fail() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise AssertionError

    with pytest.raises(TypeError, match=r"^settings\['a'\]\[<Odd instance.*, not Odd$"):
        make({"a": {Odd(): 1}})


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    """A value inside that many tables or lists."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS: list[Callable[[Any], Any]] = [
    lambda value: {"a": value},
    lambda value: [value],
    lambda value: (value,),
    lambda value: Settings({"a": value}),
]


@pytest.mark.parametrize("wrap", WRAPS[:3])
@pytest.mark.parametrize("depth", [DEPTH_MAX, 1000, 100_000])
def test_settings_nested_too_deeply_are_a_value_error(wrap: Any, depth: int) -> None:
    with pytest.raises(ValueError, match=rf"^settings\['x'\].* at most {DEPTH_MAX} deep$"):
        make({"x": nested(depth, wrap)})


@pytest.mark.parametrize("wrap", WRAPS)
def test_the_deepest_settings_can_be_used(registry: Registry, wrap: Any) -> None:
    backend = make({"x": nested(DEPTH_MAX - 1, wrap)})
    assert pickle.loads(pickle.dumps(backend)) == backend
    hash(backend.settings)
    repr(backend.settings)
    registry.add_backend(backend)
    with pytest.raises(ValueError, match="at most"):
        make({"more": backend.settings})


def test_settings_that_contain_themselves_are_a_value_error() -> None:
    table: dict[str, Any] = {"a": [1]}
    table["a"].append(table)
    with pytest.raises(ValueError, match=r"^settings\['a'\]\[1\] must not contain itself$"):
        make(table)
    items: list[Any] = []
    items += [items, items]
    with pytest.raises(ValueError, match=r"^settings\['x'\]\[0\] must not contain itself$"):
        make({"x": items})
    shared = [1]
    assert make({"x": shared, "y": [shared, shared]}).settings["y"] == [[1], [1]]


def test_the_size_of_settings_counts(registry: Registry) -> None:
    def grown(settings: Any) -> int:
        """The memory that a removed backend waits with, kept by its view."""
        registry.add_backend(make(settings))
        view = registry.get_backend("b")
        before = registry.stats().bytes
        registry.remove_backend("b")
        after = registry.stats().bytes
        assert view is not None
        return after - before

    assert grown({"a": [{"b": "x" * 100_000}]}) - grown({}) > 100_000
