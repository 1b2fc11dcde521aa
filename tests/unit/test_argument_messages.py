"""All errors for a wrong type have one form: `model_id must be a str, not Wrong`.

The tests try every argument of every public method, and every field of every dataclass.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.fleets import make_backend

from registry import (
    Backend,
    BackendView,
    Ejection,
    Lease,
    Model,
    Registry,
    Requirements,
    load_fleet,
)

GIVEN: dict[str, Any] = {
    "backend": make_backend("new"),
    "backend_id": "a",
    "backends": [make_backend("new")],
    "error": "boom",
    "exclude": ["x"],
    "ids": ["a"],
    "instance": "i",
    "latency_ms": 1,
    "model": Model("n"),
    "model_id": "m",
    "models": [Model("m")],
    "only": ["a"],
    "path": "fleet.toml",
    "samples": [1],
    "seconds": 1,
    "status": "unhealthy",
    "url": "http://h",
}
EXPECTED = r"(a|an|exactly a) .+"


class Wrong:
    """An object that is wrong for every argument."""


def methods(cls: type[Any]) -> Iterator[tuple[str, str]]:
    """Each argument of each public method of a class: method, argument."""
    for name in dir(cls):
        if name.startswith("_") or not callable(getattr(cls, name)):
            continue
        parameters = [*inspect.signature(getattr(cls, name)).parameters.values()]
        is_bound = isinstance(inspect.getattr_static(cls, name), classmethod)
        yield from ((name, parameter.name) for parameter in parameters[not is_bound :])


def call(made: Any, name: str, argument: str, value: Any) -> Any:
    """Calls a method with `value` as one argument, and valid values for other required ones."""
    method = getattr(made, name)
    positional, named = [], {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.name == argument:
            given = value
        elif parameter.default is inspect.Parameter.empty:
            given = GIVEN[parameter.name]
        else:
            continue
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            positional.append(given)
        else:
            named[parameter.name] = given
    result = method(*positional, **named)
    return result.send(None) if inspect.iscoroutine(result) else result


@pytest.fixture
def filled(registry: Registry) -> Registry:
    """A registry with a backend that can be chosen."""
    registry.add_backend(make_backend("a", "m"))
    registry.update_status("a", "healthy")
    return registry


@pytest.mark.parametrize(("name", "argument"), [*methods(Registry)])
def test_the_error_names_a_wrong_argument_of_a_method(
    filled: Registry, name: str, argument: str
) -> None:
    before = filled.to_json()
    with pytest.raises(TypeError, match=rf"^{argument} must be {EXPECTED}, not Wrong$"):
        call(filled, name, argument, Wrong())
    assert filled.to_json() == before


@pytest.mark.parametrize(
    ("name", "argument"),
    [one for one in methods(Registry) if one[1] in ("ids", "samples", "exclude", "only", "models")],
)
def test_the_error_names_a_wrong_item_of_an_iterable(
    filled: Registry, name: str, argument: str
) -> None:
    with pytest.raises(TypeError, match=rf"^{argument}\[0\] must be {EXPECTED}, not Wrong$"):
        call(filled, name, argument, [Wrong()])
    for text in ("a", b"a"):
        with pytest.raises(
            TypeError, match=rf"^{argument} must be an iterable of \w+, not {type(text).__name__}$"
        ):
            call(filled, name, argument, text)


def test_an_object_whose_iter_is_none_is_not_an_iterable(filled: Registry) -> None:
    class No:
        __iter__ = None

    with pytest.raises(TypeError, match="^ids must be an iterable of str, not No$"):
        filled.increment_pending_many(No())  # type: ignore[arg-type]


@pytest.mark.parametrize("argument", ["latency_ms", "failed", "abandoned", "retry_after"])
def test_the_error_names_a_wrong_argument_of_a_lease(filled: Registry, argument: str) -> None:
    assert ("release", argument) in [*methods(Lease)]
    lease = filled.acquire("m")
    with pytest.raises(TypeError, match=rf"^{argument} must be {EXPECTED}, not Wrong$"):
        lease.release(**{argument: Wrong()})  # type: ignore[arg-type]
    assert not lease.active


@pytest.mark.parametrize("cls", [Model, Backend, BackendView])
def test_the_error_names_a_wrong_document(cls: type[Any]) -> None:
    with pytest.raises(TypeError, match=rf"^text must be {EXPECTED}, not Wrong$"):
        cls.from_json(Wrong())


def test_the_error_names_a_wrong_path() -> None:
    for read in (load_fleet, Registry.from_fleet):
        with pytest.raises(TypeError, match=rf"^path must be {EXPECTED}, not Wrong$"):
            read(Wrong())  # type: ignore[arg-type]


def constructors() -> Iterator[tuple[Any, str]]:
    """Each field of each dataclass: a valid instance, field."""
    registry = Registry()
    registry.add_backend(make_backend("a", "m"))
    view = registry.get_backend("a")
    for made in (Model("m"), make_backend("a"), view, Requirements(), Ejection()):
        for field in inspect.signature(type(made)).parameters:
            yield made, field


@pytest.mark.parametrize(("made", "field"), [*constructors()])
def test_the_error_names_a_wrong_field_of_a_dataclass(made: Any, field: str) -> None:
    given = {name: getattr(made, name) for name in inspect.signature(type(made)).parameters}
    with pytest.raises(TypeError, match=rf"^{field} must be {EXPECTED}, not Wrong$"):
        type(made)(**{**given, field: Wrong()})


@pytest.mark.parametrize("number", [-1, 2**32, 10**5000], ids=["negative", "too large", "huge"])
def test_errors_for_a_number_out_of_range_have_one_form_too(filled: Registry, number: int) -> None:
    lease = filled.acquire("m")
    calls: dict[str, tuple[Callable[[], object], ...]] = {
        "latency_ms": (lambda: filled.update_latency("a", number), lambda: lease.release(number)),
        "samples[0]": (lambda: filled.update_latency_many(["a"], [number]),),
        "context_length": (lambda: Model("m", context_length=number),),
        "min_context": (lambda: Requirements(min_context=number),),
    }
    for argument, tries in calls.items():
        for attempt in tries:
            expected = f"{re.escape(argument)} must be from 0 to 4294967295"
            given = r"(-?\d+|an int of \d+ bits)"
            with pytest.raises(ValueError, match=f"^{expected}, not {given}$"):
                attempt()
    lease.release()
