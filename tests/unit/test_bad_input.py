"""Bad arguments: each raises the right error, which names the argument, and changes nothing."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from support.children import run_clean_child
from support.fleets import make_backend

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendView,
    Model,
    Registry,
    Requirements,
)
from registry._core import binding

UINT32 = 2**32 - 1

# For calls that type checkers refuse.
AnyModel: Any = Model
AnyBackend: Any = Backend
AnyRegistry: Any = Registry
any_core: Any = binding


@pytest.fixture
def filled(registry: Registry) -> Iterator[Registry]:
    """A registry with one backend. The fixture fails if the test changes the registry."""
    registry.add_backend(make_backend("a", "m", metadata={"mdns_instance": "i"}))
    registry.update_status("a", "unhealthy", "boom")
    before = registry.to_json()
    yield registry
    assert registry.to_json() == before


WRONG_TYPES: list[tuple[str, Callable[[Any], Any]]] = [
    ("backend", lambda r: r.add_backend({"id": "a"})),
    ("backend", lambda r: r.add_backend(None)),
    *(
        ("backend_id", lambda r, wrong=wrong, name=name, rest=rest: getattr(r, name)(wrong, *rest))
        for wrong in (5, None, b"a", ["a"])
        for name, rest in (
            ("get_backend", ()),
            ("remove_backend", ()),
            ("update_status", ("healthy",)),
            ("update_models", ([],)),
            ("add_model", (Model("n"),)),
            ("remove_model", ("m",)),
            ("increment_pending", ()),
            ("decrement_pending", ()),
            ("increment_total_requests", ()),
            ("update_latency", (1,)),
            ("set_mdns_instance", ("j",)),
        )
    ),
    ("model_id", lambda r: r.get_backends_for_model(5)),
    ("model_id", lambda r: r.remove_model("a", 5)),
    ("status", lambda r: r.update_status("a", 5)),
    ("status", lambda r: r.update_status("a", None)),
    ("error", lambda r: r.update_status("a", "unhealthy", 5)),
    ("models", lambda r: r.update_models("a", "m")),
    ("models", lambda r: r.update_models("a", b"m")),
    ("models", lambda r: r.update_models("a", Model("m"))),
    ("models", lambda r: r.update_models("a", None)),
    ("models", lambda r: r.update_models("a", {"m": 1})),
    (r"models\[0\]", lambda r: r.update_models("a", ["m"])),
    ("model", lambda r: r.add_model("a", "m")),
    ("latency_ms", lambda r: r.update_latency("a", 1.0)),
    ("latency_ms", lambda r: r.update_latency("a", float("nan"))),
    ("latency_ms", lambda r: r.update_latency("a", True)),
    ("latency_ms", lambda r: r.update_latency("a", "1")),
    ("latency_ms", lambda r: r.update_latency("a", None)),
    ("url", lambda r: r.has_backend_url(5)),
    ("instance", lambda r: r.set_mdns_instance("a", 5)),
    ("instance", lambda r: r.find_by_mdns_instance(5)),
    ("ids", lambda r: r.increment_pending_many("a")),
    ("ids", lambda r: r.decrement_pending_many(5)),
    (r"ids\[1\]", lambda r: r.increment_pending_many(["a", 5])),
    (r"samples\[1\]", lambda r: r.update_latency_many(["a", "a"], [1, 1.5])),
    ("samples", lambda r: r.update_latency_many(["a"], 5)),
]


@pytest.mark.parametrize(("argument", "call"), WRONG_TYPES)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(
    filled: Registry, argument: str, call: Callable[[Registry], Any]
) -> None:
    with pytest.raises(TypeError, match=f"^{argument}"):
        call(filled)


@pytest.mark.parametrize("wrong", [True, 1.0, float("nan"), "1", None])
@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("context_length", lambda value: Model("m", context_length=value)),
        ("priority", lambda value: make_backend(priority=value)),
    ],
)
def test_a_float_or_a_bool_is_not_an_int(
    field: str, make: Callable[[Any], Any], wrong: Any
) -> None:
    with pytest.raises(TypeError, match=f"^{field}"):
        make(wrong)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AnyModel(5),
        lambda: AnyModel("m", 5),
        lambda: AnyModel("m", supports_tools=1),
        lambda: Model("m", max_output_tokens=True),
        lambda: AnyBackend(5, "n", "http://h"),
        lambda: AnyBackend("a", None, "http://h"),
        lambda: AnyBackend("a", "n", 5),
        lambda: make_backend(backend_type=5),
        lambda: make_backend(metadata=[("a", "b")]),
        lambda: make_backend(metadata={"a": 1}),
        lambda: make_backend(metadata={1: "a"}),
        lambda: AnyBackend("a", "n", "http://h", models="m"),
    ],
)
def test_a_field_of_a_wrong_type_is_a_type_error(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="must be"):
        make()


OUT_OF_RANGE: list[tuple[str, Callable[[Any], Any]]] = [
    ("latency_ms.* 4294967295", lambda r: r.update_latency("a", -1)),
    ("latency_ms.* 4294967295", lambda r: r.update_latency("a", 2**32)),
    ("latency_ms.* 4294967295", lambda r: r.update_latency("a", 10**40)),
    ("latency_ms.* 4294967295", lambda r: r.update_latency("a", 10**5000)),
    (r"samples\[0\].* 4294967295", lambda r: r.update_latency_many(["a"], [-1])),
    ("samples", lambda r: r.update_latency_many(["a"], [])),
    ("context_length.* 4294967295", lambda _: Model("m", context_length=-1)),
    ("context_length.* 4294967295", lambda _: Model("m", context_length=2**32)),
    ("max_output_tokens.* 4294967295", lambda _: Model("m", max_output_tokens=2**32)),
    ("priority.* -2147483648 to 2147483647", lambda _: make_backend(priority=2**31)),
    ("priority.* -2147483648 to 2147483647", lambda _: make_backend(priority=-(2**31) - 1)),
]


@pytest.mark.parametrize(("message", "call"), OUT_OF_RANGE)
def test_an_int_out_of_range_is_a_value_error_that_names_the_range(
    filled: Registry, message: str, call: Callable[[Registry], Any]
) -> None:
    with pytest.raises(ValueError, match=message):
        call(filled)


def test_the_limits_of_every_range_are_accepted(registry: Registry) -> None:
    models = [
        Model("0", context_length=0, max_output_tokens=0),
        Model("1", None, UINT32, max_output_tokens=UINT32),
    ]
    for number, priority in enumerate((-(2**31), 2**31 - 1)):
        registry.add_backend(
            Backend(str(number), "n", "http://h", models=models, priority=priority)
        )
    assert [view.priority for view in registry.get_all_backends()] == [-(2**31), 2**31 - 1]
    assert registry.update_latency("0", UINT32) == UINT32
    assert registry.get_all_backends()[0].models == tuple(models)


class Hostile(str):
    """A str whose own methods lie or raise."""

    def __hash__(self) -> int:
        raise RuntimeError("hash")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("eq")

    def __str__(self) -> str:
        return "lie"

    def __len__(self) -> int:
        return 0

    def encode(self, *_args: Any, **_kwargs: Any) -> bytes:
        return b"lie"


def test_a_str_subclass_is_copied_to_an_exact_str(registry: Registry) -> None:
    backend = Backend(Hostile("a"), Hostile("n"), Hostile("http://h"), metadata={"k": Hostile("v")})
    assert [
        type(text) for text in (backend.id, backend.name, backend.url, backend.metadata["k"])
    ] == [str] * 4
    registry.add_backend(backend)
    assert (backend.id, backend.url, backend.metadata) == ("a", "http://h", {"k": "v"})
    hostile = Hostile("a")
    assert registry.increment_pending(hostile) == 1
    assert registry.decrement_pending(hostile) == 0
    assert registry.increment_total_requests(hostile) == 1
    assert registry.update_latency(hostile, 5) == 5
    assert registry.increment_pending_many([hostile, "a"]) == [1, 2]
    assert hostile in registry
    status: Any = Hostile("unhealthy")
    registry.update_status(hostile, status, Hostile("boom"))
    assert registry.add_model(hostile, Model(Hostile("m")))
    view = registry.get_backend(hostile)
    assert view is not None
    assert (type(view.last_error), view.last_error, view.models) == (str, "boom", (Model("m"),))
    assert registry.get_backends_for_model(Hostile("m")) == [view]
    registry.set_mdns_instance(hostile, Hostile("i"))
    assert registry.find_by_mdns_instance(Hostile("i")) == "a"
    assert registry.has_backend_url(Hostile("http://h"))
    assert registry.remove_model(hostile, Hostile("m"))
    assert registry.remove_backend(hostile).id == "a"


def test_the_copy_of_a_str_subclass_outlives_its_lookup() -> None:
    """The child overwrites freed memory, so a lookup that read freed memory would find nothing."""
    found = run_clean_child(
        """
from registry import Backend, Registry

class Text(str):
    pass

registry = Registry()
registry.add_backend(Backend("a", "n", "http://h", metadata={"mdns_instance": "i"}))
print(Text("a") in registry, registry.find_by_mdns_instance(Text("i")))
""",
        PYTHONMALLOC="debug",
    )
    assert found == "True a\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Model(""),
        lambda: Model("m", ""),
        lambda: Backend("", "n", "http://h"),
        lambda: Backend("a", "", "http://h"),
        lambda: Backend("a", "n", ""),
    ],
)
def test_empty_texts_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="not empty"):
        make()


@pytest.mark.parametrize(
    "url",
    [
        "h:8000",
        "ftp://h",
        "http:",
        "http://",
        "http:///x",
        "//h",
        "http://:80",
        "http://h:99999",
        "http://h:x",
        "http://a b",
        "http://[::1",
    ],
)
def test_a_url_that_is_not_http_with_a_host_is_refused(registry: Registry, url: str) -> None:
    with pytest.raises(ValueError, match="^url must be an http"):
        make_backend(url=url)
    assert registry.has_backend_url(url) is False


def test_two_models_with_one_id_are_refused(filled: Registry) -> None:
    for call in (
        lambda: make_backend("x", "m", "m"),
        lambda: filled.update_models("a", [Model("n"), Model("n", "N")]),
    ):
        with pytest.raises(ValueError, match=r"models\[1\]"):
            call()


@pytest.mark.parametrize(
    "make",
    [
        lambda r: Model("\ud800"),
        lambda r: Model("m", "\udfff"),
        lambda r: Backend("a\ud800", "n", "http://h"),
        lambda r: Backend("a", "\ud800", "http://h"),
        lambda r: Backend("a", "n", "http://h/\ud800"),
        lambda r: make_backend(metadata={"\ud800": ""}),
        lambda r: make_backend(metadata={"k": "\ud800"}),
        lambda r: r.update_status("a", "unhealthy", "\ud800"),
        lambda r: r.set_mdns_instance("a", "\ud800"),
    ],
)
def test_lone_surrogates_are_refused(filled: Registry, make: Callable[[Registry], Any]) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        make(filled)


@pytest.mark.parametrize("impossible", ["", "\ud800", "a\udfff", "nope"])
def test_looking_up_an_impossible_id_finds_nothing(filled: Registry, impossible: str) -> None:
    assert filled.get_backend(impossible) is None
    assert filled.get_backends_for_model(impossible) == []
    assert filled.find_by_mdns_instance(impossible) is None
    assert filled.has_backend_url(impossible) is False
    assert impossible not in filled
    assert filled.remove_model("a", impossible) is False
    calls: list[Callable[[], Any]] = [
        lambda: filled.increment_pending(impossible),
        lambda: filled.decrement_pending(impossible),
        lambda: filled.increment_total_requests(impossible),
        lambda: filled.update_latency(impossible, 1),
        lambda: filled.increment_pending_many(["a", impossible]),
        lambda: filled.remove_backend(impossible),
        lambda: filled.update_status(impossible, "healthy"),
        lambda: filled.update_models(impossible, []),
        lambda: filled.set_mdns_instance(impossible, "j"),
    ]
    for call in calls:
        with pytest.raises(BackendNotFoundError) as caught:
            call()
        assert caught.value.backend_id == impossible


@pytest.mark.parametrize("other", [None, 5, b"a", ("a",), object()])
def test_only_a_registered_id_is_in_a_registry(filled: Registry, other: object) -> None:
    assert other not in filled
    assert "a" in filled


def test_ids_may_contain_any_character_and_are_distinct(registry: Registry) -> None:
    ids = [
        "a",
        "a\0",
        "a\0b",
        "\0",
        "ä",
        "a\u0308",
        "𝔞",
        "日本",
        " ",
        "\n",
        "a" * 1000,
        "'",
        "\x7f",
    ]
    for backend_id in ids:
        registry.add_backend(Backend(backend_id, "n", "http://h", models=[Model(backend_id)]))
    assert list(registry) == ids
    for backend_id in ids:
        assert registry.increment_pending(backend_id) == 1
        assert [view.id for view in registry.get_backends_for_model(backend_id)] == [backend_id]


def test_a_long_model_id_is_accepted_with_a_warning_each_time(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    long, short = Model("x" * 1001), Model("y" * 1000)
    with caplog.at_level(logging.WARNING, "registry"):
        registry.add_backend(Backend("a", "n", "http://h", models=[long, short]))
        assert len(caplog.records) == 1
        registry.add_backend(Backend("b", "n", "http://h"))
        registry.update_models("b", [long])
        assert len(caplog.records) == 2
        registry.update_models("b", [])
        registry.add_model("b", long)
        assert len(caplog.records) == 3
        registry.set_mdns_instance("b", "i")
        assert len(caplog.records) == 3
    assert {record.name for record in caplog.records} == {"registry"}
    assert len(registry.get_backends_for_model("x" * 1001)) == 2


def test_an_unknown_enum_value_lists_the_choices(filled: Registry) -> None:
    with pytest.raises(ValueError, match="'healthy', 'unhealthy', 'unknown', 'draining'"):
        filled.update_status("a", "fine")  # type: ignore[arg-type]  # as it should
    with pytest.raises(ValueError, match="'ollama'"):
        make_backend(backend_type="gpt")


def test_an_exception_of_an_iterable_propagates(filled: Registry) -> None:
    def failing() -> Iterator[Any]:
        yield Model("n")
        raise ZeroDivisionError

    def failing_ids() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError

    for call in (
        lambda: filled.update_models("a", failing()),
        lambda: Backend("b", "b", "http://h", models=failing()),
        lambda: filled.increment_pending_many(failing_ids()),
    ):
        with pytest.raises(ZeroDivisionError):
            call()


def test_positional_only_arguments_can_not_be_named(filled: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: filled.increment_pending(backend_id="a"),
        lambda: filled.decrement_pending(backend_id="a"),
        lambda: filled.increment_total_requests(backend_id="a"),
        lambda: filled.update_latency("a", latency_ms=1),
        lambda: filled.update_latency_many(["a"], samples=[1]),
        lambda: filled.get_backend(backend_id="a"),
        lambda: filled.remove_backend(backend_id="a"),
        lambda: filled.add_backend(backend=make_backend("z")),
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


def test_a_registry_takes_no_argument() -> None:
    with pytest.raises(TypeError):
        AnyRegistry(5)


def test_an_mdns_instance_that_is_empty_or_taken_is_refused(filled: Registry) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: filled.set_mdns_instance("a", ""),
        lambda: filled.add_backend(make_backend("b", metadata={"mdns_instance": ""})),
        lambda: filled.add_backend(make_backend("b", "new", metadata={"mdns_instance": "i"})),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="instance"):
            call()
    assert filled.get_backends_for_model("new") == []


VIEW: dict[str, Any] = {
    "id": "a",
    "name": "n",
    "url": "http://h",
    "backend_type": "vllm",
    "status": "healthy",
    "last_health_check": datetime(2026, 1, 2, tzinfo=UTC),
    "last_error": None,
    "models": (),
    "priority": 0,
    "pending_requests": 0,
    "total_requests": 0,
    "avg_latency_ms": 0,
    "discovery_source": "static",
    "metadata": {},
}


@pytest.mark.parametrize(
    ("field", "wrong", "error"),
    [
        ("last_health_check", datetime(2026, 1, 2), ValueError),
        ("last_health_check", "2026-01-02", TypeError),
        ("pending_requests", 2**32, ValueError),
        ("pending_requests", -1, ValueError),
        ("total_requests", 2**64, ValueError),
        ("avg_latency_ms", 1.5, TypeError),
        ("status", "fine", ValueError),
        ("last_error", 5, TypeError),
        ("serial", -1, ValueError),
        ("serial", 2**64, ValueError),
        ("serial", True, TypeError),
        ("draining", 1, TypeError),
    ],
)
def test_the_constructor_of_a_view_checks_its_arguments(
    field: str, wrong: Any, error: type[Exception]
) -> None:
    assert BackendView(**VIEW).status is BackendStatus.HEALTHY
    with pytest.raises(error, match=field):
        BackendView(**{**VIEW, field: wrong})


@pytest.mark.parametrize(
    ("argument", "pretended", "call"),
    [
        ("require", Requirements, lambda r, liar: r.acquire("m", require=liar)),
        ("backend_id", str, lambda r, liar: r.remove_backend(liar)),
        ("latency_ms", int, lambda r, liar: r.update_latency("a", liar)),
        ("context_length", int, lambda r, liar: Model("m", context_length=liar)),
        ("status", str, lambda r, liar: r.update_status("a", liar)),
        ("error", str, lambda r, liar: r.update_status("a", "unhealthy", liar)),
        ("model", Model, lambda r, liar: r.add_model("a", liar)),
        ("backend", Backend, lambda r, liar: r.add_backend(liar)),
    ],
)
def test_an_object_that_lies_about_its_class_is_a_type_error(
    filled: Registry, argument: str, pretended: type, call: Callable[[Registry, Any], Any]
) -> None:
    class Liar:
        __slots__ = ()
        # Read-only, unlike the attribute of `object`.
        __class__ = property(  # pyright: ignore[reportIncompatibleMethodOverride]
            lambda _: pretended
        )

    with pytest.raises(TypeError, match=f"^{argument}"):
        call(filled, Liar())


def forced(made: Any, field: str, value: Any) -> Any:
    """A frozen instance whose field is set without any check."""
    object.__setattr__(made, field, value)
    return made


@pytest.mark.parametrize(
    "field",
    ["id", "name", "url", "models", "metadata", "priority", "max_pending", "weight", "settings"],
)
@pytest.mark.parametrize("value", [None, b"", (5,), {5: {"a": object()}}, -1, object()])
def test_a_forced_field_never_makes_the_core_read_wrong_memory(
    registry: Registry, field: str, value: Any
) -> None:
    """The registry may accept or refuse such a definition, but must not crash."""
    with contextlib.suppress(TypeError, ValueError, AttributeError, OverflowError):
        registry.add_backend(forced(make_backend("b", "m"), field, value))
    registry.get_backends_for_model("m")
    registry.explain("m")


def test_a_forced_or_half_made_model_is_refused(filled: Any) -> None:
    calls: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: filled.add_backend(forced(make_backend("b", "m"), "models", (5,))), TypeError),
        (lambda: filled.add_backend(forced(make_backend("b"), "id", 5)), TypeError),
        (lambda: filled.add_backend(Backend.__new__(Backend)), AttributeError),
        (lambda: filled.add_model("a", forced(Model("n"), "id", b"n")), TypeError),
        (lambda: filled.add_model("a", forced(Model("n"), "name", None)), TypeError),
        (lambda: filled.add_model("a", Model.__new__(Model)), AttributeError),
        (lambda: filled.add_model("a", forced(Model("n"), "context_length", -1)), OverflowError),
        (lambda: filled.acquire("m", require=Requirements.__new__(Requirements)), AttributeError),
        (lambda: filled._add(5, "http://h", None), TypeError),
        (lambda: filled._add(make_backend("b"), None, None), TypeError),
        (lambda: filled._add(make_backend("b"), "http://h", 5), TypeError),
        (lambda: filled._remove(None), TypeError),
        (lambda: filled._redefine(5, 0, 5, None), TypeError),
        (lambda: any_core.with_models(5, ()), TypeError),
        (lambda: any_core.with_models(make_backend("b"), []), TypeError),
        (lambda: any_core.with_metadata(5, {}), TypeError),
        (lambda: any_core.longest_id((5,)), TypeError),
        (lambda: any_core.longest_id((forced(Model("n"), "id", 5),)), TypeError),
    ]
    for call, error in calls:
        with pytest.raises(error):
            call()


def test_a_view_can_not_be_made_without_a_definition(filled: Registry) -> None:
    view = filled.get_backend("a")
    assert view is not None
    rest = (view.status, view.last_health_check, None, 0, 0, 0, 1, False, 0, None, None, None)
    for call in (
        binding.ViewBase,
        lambda: binding.ViewBase.__new__(BackendView),
        lambda: any_core.new_view(BackendView, 5, *rest),
        lambda: any_core.new_view(int, make_backend("b"), *rest),
    ):
        with pytest.raises(TypeError):
            call()
