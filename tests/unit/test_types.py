"""The dataclasses behave as dataclasses do; their JSON round-trips, and errors name the place."""

from __future__ import annotations

import copy
import dataclasses
import gc
import json
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fleets import make_backend

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendType,
    BackendView,
    DiscoverySource,
    DuplicateBackendError,
    FleetFileError,
    Model,
    Reason,
    Registry,
    RegistryError,
)
from registry.metadata import Metadata

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
UINT32 = st.integers(0, 2**32 - 1)
MODELS = st.builds(
    Model, TEXTS, TEXTS, UINT32, st.booleans(), st.booleans(), st.booleans(), st.none() | UINT32
)
BACKENDS = st.builds(
    Backend,
    TEXTS,
    TEXTS,
    st.sampled_from(["http://h", "https://H:1/x?q#f", "http://[::1]:8000"]),
    st.sampled_from(BackendType),
    st.lists(MODELS, max_size=3, unique_by=lambda model: model.id),
    st.sampled_from(DiscoverySource),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(1, 2**32 - 1),
    st.integers(1, 1000),
    max_pending_tokens=st.none() | st.integers(1, 2**64 - 1),
)
TIMES = st.datetimes(
    min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC)
)
UNAVAILABLE = (Reason.EJECTED, Reason.COOLING_DOWN, Reason.ON_TRIAL)


@st.composite
def views(draw: st.DrawFn) -> BackendView:
    """Draws any valid view."""
    backend = draw(BACKENDS)
    fields = {name: getattr(backend, name) for name in PUBLIC}
    return BackendView(
        **fields,
        status=draw(st.sampled_from(BackendStatus)),
        last_health_check=draw(TIMES),
        last_error=draw(st.none() | TEXTS),
        pending_requests=draw(UINT32),
        total_requests=draw(st.integers(0, 2**64 - 1)),
        avg_latency_ms=draw(UINT32),
        serial=draw(st.integers(0, 2**64 - 1)),
        draining=draw(st.booleans()),
        failed_requests=draw(st.integers(0, 2**64 - 1)),
        avg_ttft_ms=draw(st.none() | UINT32),
        unavailable=draw(st.none() | st.sampled_from(UNAVAILABLE)),
        unavailable_until=draw(st.none() | TIMES),
        pending_tokens=draw(st.integers(0, 2**64 - 1)),
    )


@pytest.fixture
def view(registry: Registry) -> BackendView:
    """A view from a registry."""
    registry.add_backend(make_backend("a", "m", metadata={"k": "v"}, priority=3))
    registry.update_status("a", "unhealthy", "boom")
    registry.increment_pending("a")
    (found,) = registry.get_all_backends()
    return found


FIRST = [
    "id",
    "name",
    "url",
    "backend_type",
    "status",
    "last_health_check",
    "last_error",
    "models",
    "priority",
    "pending_requests",
    "total_requests",
    "avg_latency_ms",
    "discovery_source",
    "metadata",
]
# The fields of `Backend` that a view has, too.
PUBLIC = [name for name in Backend.__dataclass_fields__ if name != "settings"]
# Fields added after the first fourteen. Older documents lack them.
LATER = [
    *("max_pending", "weight", "serial", "draining"),
    *("failed_requests", "avg_ttft_ms", "unavailable", "unavailable_until"),
    *("pending_tokens", "max_pending_tokens"),
]
FIELDS = [*FIRST, *LATER]


def test_a_view_is_a_dataclass(view: BackendView) -> None:
    assert dataclasses.is_dataclass(view)
    assert (
        [field.name for field in dataclasses.fields(view)]
        == FIELDS
        == list(BackendView.__match_args__)
    )
    as_dict = dataclasses.asdict(view)
    assert list(as_dict) == FIELDS
    assert as_dict["models"][0]["id"] == "m"
    assert dataclasses.astuple(view)[0] == "a"
    assert dataclasses.replace(view, pending_requests=7).pending_requests == 7
    assert repr(view).startswith("BackendView(id='a', name='a', url=")
    assert not hasattr(view, "__dict__")
    assert type(view) is BackendView


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_a_copy_equals_its_original(view: BackendView, clone: Any) -> None:
    twin = clone(view)
    assert (twin, hash(twin)) == (view, hash(view))
    assert dataclasses.replace(view, total_requests=5) != view
    for thing in (Model("m"), make_backend("b", "m", metadata={"k": "v"})):
        assert (clone(thing), hash(clone(thing))) == (thing, hash(thing))
    assert clone(view.metadata) == view.metadata


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_can_be_assigned_or_deleted(view: BackendView, name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(view, name, getattr(view, name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(view, name)


def test_metadata_is_copied_and_read_only() -> None:
    given_one = {"k": "v"}
    backend = make_backend(metadata=given_one)
    given_one["k"] = "changed"
    assert backend.metadata == {"k": "v"}
    changes: list[Callable[[Any], Any]] = [
        lambda m: m.update(a="b"),
        lambda m: m.setdefault("a", "b"),
        lambda m: m.pop("k"),
        lambda m: m.popitem(),
        lambda m: m.clear(),
        lambda m: m.__setitem__("a", "b"),
        lambda m: m.__delitem__("k"),
        lambda m: m.__ior__({"a": "b"}),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="read-only"):
            change(backend.metadata)
    assert repr(backend.metadata) == "{'k': 'v'}"
    assert make_backend().metadata is make_backend("other").metadata


def test_empty_metadata_is_shared_and_stays_empty() -> None:
    shared = make_backend().metadata
    shared.__init__({"a": "b"})  # type: ignore[misc]
    assert (shared, make_backend().metadata) == ({}, {})


@pytest.mark.parametrize("wrong", [{1: "a"}, {"a": 1}, {"a": None}])
def test_keys_and_values_of_metadata_must_be_str(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"metadata.* must be a str"):
        Metadata(wrong)


@pytest.mark.parametrize("hours", [5, -5])
def test_a_time_that_utc_can_not_represent_is_a_value_error(view: BackendView, hours: int) -> None:
    edge = datetime.min if hours > 0 else datetime.max
    time = edge.replace(tzinfo=timezone(timedelta(hours=hours)))
    with pytest.raises(ValueError, match="^last_health_check must be"):
        dataclasses.replace(view, last_health_check=time)
    with pytest.raises(ValueError, match=r"^\$\.last_health_check: "):
        BackendView.from_json(
            json.dumps({**json.loads(view.to_json()), "last_health_check": time.isoformat()})
        )


def test_the_error_for_a_huge_int_names_the_range() -> None:
    with pytest.raises(ValueError, match="^context_length must be from 0 to 4294967295"):
        Model("m", context_length=10**5000)


def test_errors_have_messages_and_can_be_pickled() -> None:
    for error in (
        DuplicateBackendError("a"),
        BackendNotFoundError("a"),
        FleetFileError("f", "p", "q"),
    ):
        assert isinstance(error, RegistryError)
        twin = pickle.loads(pickle.dumps(error))
        assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))
    assert isinstance(DuplicateBackendError("a"), ValueError)
    assert isinstance(BackendNotFoundError("a"), KeyError)
    assert (
        str(FleetFileError("f.toml", "backends[2].url", "expected a url"))
        == "f.toml: backends[2].url: expected a url"
    )


# ---- JSON


@given(MODELS)
def test_a_model_round_trips(model: Model) -> None:
    assert Model.from_json(model.to_json()) == model


@given(BACKENDS)
def test_a_backend_round_trips(backend: Backend) -> None:
    assert Backend.from_json(backend.to_json().encode()) == backend


@given(views())
def test_a_view_round_trips(view: BackendView) -> None:
    assert BackendView.from_json(view.to_json()) == view


def test_the_json_of_a_registry_contains_its_views(registry: Registry, view: BackendView) -> None:
    document = json.loads(registry.to_json())
    assert list(document) == ["backends"]
    assert [BackendView.from_json(json.dumps(entry)) for entry in document["backends"]] == [view]
    assert list(document["backends"][0]) == FIELDS
    assert document["backends"][0]["last_health_check"].endswith("Z")


def test_fields_with_a_default_may_be_missing() -> None:
    assert Model.from_json('{"id": "m", "unknown": 1}') == Model("m")
    text = '{"id": "b", "name": "B", "url": "http://h", "models": [{"id": "m"}]}'
    assert Backend.from_json(text) == Backend("b", "B", "http://h", models=[Model("m")])


def test_times_are_converted_to_utc_and_must_be_aware(view: BackendView) -> None:
    document = json.loads(view.to_json())
    document["last_health_check"] = "2026-01-02T03:04:05.123456+02:00"
    read = BackendView.from_json(json.dumps(document))
    assert read.last_health_check == datetime(2026, 1, 2, 1, 4, 5, 123456, tzinfo=UTC)
    assert read.last_health_check.utcoffset() == UTC.utcoffset(None)
    document["last_health_check"] = "2026-01-02T03:04:05"
    with pytest.raises(ValueError, match=r"^\$\.last_health_check: "):
        BackendView.from_json(json.dumps(document))


@pytest.mark.parametrize("name", FIRST)
def test_the_first_fields_of_a_view_are_required(view: BackendView, name: str) -> None:
    document = json.loads(view.to_json())
    del document[name]
    with pytest.raises(ValueError, match=rf"^\$.*{name}"):
        BackendView.from_json(json.dumps(document))


def test_fields_missing_from_an_older_view_get_their_defaults(view: BackendView) -> None:
    document = {name: value for name, value in json.loads(view.to_json()).items() if name in FIRST}
    read = BackendView.from_json(json.dumps(document))
    assert read == dataclasses.replace(view, serial=0)
    assert (read.max_pending, read.weight, read.serial, read.draining) == (None, 1, 0, False)
    assert (read.failed_requests, read.avg_ttft_ms) == (0, None)
    assert (read.unavailable, read.unavailable_until) == (None, None)
    assert (read.pending_tokens, read.max_pending_tokens) == (0, None)


MODEL = '{"id": "m", "context_length": %s}'


@pytest.mark.parametrize(
    ("read", "text", "place"),
    [
        (Model, "", r"\$: "),
        (Model, "{", r"\$: "),
        (Model, "[]", r"\$: "),
        (Model, b"\xff", r"\$: "),
        (Model, '"\udcff"', r"\$: "),
        (Model, '{"id": "\\ud800"}', r"\$: "),
        (Model, "{}", r"\$: .*id"),
        (Model, '{"id": ""}', r"\$\.id: "),
        (Model, MODEL % '"5"', r"\$\.context_length: "),
        (Model, MODEL % "1.0", r"\$\.context_length: "),
        (Model, MODEL % "true", r"\$\.context_length: "),
        (Model, MODEL % "-1", r"\$\.context_length: "),
        (Model, MODEL % "4294967296", r"\$\.context_length: "),
        (Model, MODEL % "1e99", r"\$\.context_length: "),
        (Backend, '{"id": "b", "name": "b", "url": "nope"}', r"\$\.url: "),
        (
            Backend,
            '{"id": "b", "name": "b", "url": "http://h", "backend_type": "x"}',
            r"\$\.backend_type: ",
        ),
        (
            Backend,
            '{"id": "b", "name": "b", "url": "http://h", "metadata": {"a": 1}}',
            r"\$\.metadata",
        ),
        (
            Backend,
            '{"id": "b", "name": "b", "url": "http://h", "models": [{"id": "m"}, {"id": "m"}]}',
            r"\$\.models\[1\]",
        ),
        (
            Backend,
            '{"id": "b", "name": "b", "url": "http://h", "models": '
            '[{"id": "m"}, {"id": "n"}, {"id": "o", "context_length": "x"}]}',
            r"\$\.models\[2\]\.context_length: ",
        ),
    ],
)
def test_malformed_json_is_a_value_error_that_names_the_place(
    read: Any, text: str | bytes, place: str
) -> None:
    with pytest.raises(ValueError, match=f"^{place}"):
        read.from_json(text)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("total_requests", 2**64),
        ("total_requests", -1),
        ("pending_requests", 2**32),
        ("status", "x"),
        ("last_error", 5),
        ("serial", 2**64),
        ("serial", -1),
        ("serial", None),
        ("draining", 1),
        ("draining", None),
        ("failed_requests", 2**64),
        ("failed_requests", -1),
        ("failed_requests", None),
        ("avg_ttft_ms", 2**32),
        ("avg_ttft_ms", -1),
        ("avg_ttft_ms", 1.5),
        ("unavailable", "x"),
        ("unavailable", "full"),
        ("unavailable", 5),
        ("unavailable_until", "2026-01-02T03:04:05"),
        ("unavailable_until", 5),
    ],
)
def test_a_bad_field_of_a_view_is_a_value_error_that_names_it(
    view: BackendView, name: str, wrong: Any
) -> None:
    with pytest.raises(ValueError, match=rf"^\$\.{name}: "):
        BackendView.from_json(json.dumps({**json.loads(view.to_json()), name: wrong}))


BAD_UTF8 = [
    (b'{"id": "m", "later": "\xff"}', 22),
    (b'{"id": "m", "\xc3(": 1}', 13),
    ('{"id": "m", "later": {"deep": ["\u00e4", "'.encode() + b'\xed\xa0\x80"]}}', 38),
    (b'{"id": "a\xe2\x82"}', 9),
    (b'{"id": "m"}\xff', 11),
    (b"\xff\xfe", 0),
]


@pytest.mark.parametrize(("text", "offset"), BAD_UTF8)
@pytest.mark.parametrize("read", [Model, Backend, BackendView])
def test_bytes_that_are_not_utf8_are_refused_anywhere(read: Any, text: bytes, offset: int) -> None:
    """Also in values that are ignored. The error has the offset in the document."""
    with pytest.raises(ValueError, match=rf"^\$: not UTF-8: .* at byte {offset}$"):
        read.from_json(text)


def test_a_str_with_a_lone_surrogate_is_refused_anywhere() -> None:
    with pytest.raises(ValueError, match=r"^\$: not UTF-8: .* at character 23$"):
        Model.from_json('{"id": "m", "later": "\u00e4\ud800"}')


def test_utf8_in_ignored_values_is_accepted() -> None:
    assert Model.from_json('{"id": "\u00e4", "later": "\u65e5\U0001d51e"}'.encode()) == Model(
        "\u00e4"
    )


def test_json_nested_too_deeply_is_a_value_error() -> None:
    # If the interpreter's stack is deep enough, the error is the missing id.
    with pytest.raises(ValueError, match=r"^\$: "):
        Model.from_json('{"unknown": ' + "[" * 100_000 + "]" * 100_000 + "}")


def test_json_in_a_str_subclass_is_read_without_calling_its_methods() -> None:
    class Own(str):
        def encode(self, *_args: Any, **_kwargs: Any) -> bytes:
            return b"lie"

    assert Model.from_json(Own('{"id": "m"}')) == Model("m")


@pytest.mark.parametrize("wrong", [5, None, ["{}"]])
def test_json_must_be_str_or_bytes(wrong: Any) -> None:
    for read in (Model, Backend, BackendView):
        with pytest.raises(TypeError, match="^text"):
            read.from_json(wrong)


def test_a_half_made_view_can_not_be_found(view: BackendView) -> None:
    class Mine(BackendView):
        """The garbage collector tracks views of subclasses."""

    class Odd(datetime):
        """A subtraction runs this class's code while a view is made."""

        def astimezone(self, tz: Any = None) -> Any:
            assert tz is UTC
            return self

        def __sub__(self, other: Any) -> Any:
            found.extend(type(thing) for thing in gc.get_objects() if type(thing) is Mine)
            return datetime(2026, 1, 1, tzinfo=UTC) - other

    found: list[type] = []
    given = {field.name: getattr(view, field.name) for field in dataclasses.fields(view)}
    assert Mine(**{**given, "last_health_check": Odd(2026, 1, 1, tzinfo=UTC)}).id == view.id
    assert not found
