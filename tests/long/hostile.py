"""Hostile input: a call does what it would do for the plain value, or raises and changes nothing.

The error is in the contract, or comes from the caller's own code. Inputs are values of wrong types
for every argument, str subclasses that lie or raise, containers that change or raise while they are
read, ids of 64 MiB, lone surrogates, NUL, and every edge of an integer range.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import logging
import random
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from support.calls import OF_LEASES, OPERATIONS, call, filled

from registry import (
    Backend,
    BackendType,
    DiscoverySource,
    Model,
    Registry,
    RegistryError,
    Requirements,
)
from registry.metadata import Metadata
from registry.settings import Settings

UNIT = "calls"
GOAL = 10**5

LONG = 64 << 20  # Characters.
INTEGERS = sorted(
    {
        edge + step
        for bits in (0, 8, 16, 31, 32, 33, 53, 63, 64, 65)
        for edge in (2**bits, -(2**bits))
        for step in (-1, 0, 1)
    }
)
INTEGERS += [10**5000, -(10**5000)]
TEXTS = ("", "\0", "x\0", "\ud800", "x\udfff", "ü", "\U0010ffff", "x" * 1001, " ", "X")


class OwnError(Exception):
    """Raised by hostile objects. The registry lets it through."""


def lies(*_: Any) -> Any:
    """A method that returns a wrong value."""
    return "lie"


def raises(*_: Any) -> Any:
    """A method that raises."""
    raise OwnError


NAMES = (
    "__hash__",
    "__eq__",
    "__str__",
    "__repr__",
    "__len__",
    "__iter__",
    "__getitem__",
    "encode",
    "lower",
    "strip",
    "__format__",
)
LiarText = type(
    "LiarText",
    (str,),
    {**dict.fromkeys(NAMES, lies), "__hash__": lambda _: 0, "__len__": lambda _: 0},
)
RaiserText = type("RaiserText", (str,), dict.fromkeys(NAMES, raises))
NUMBER_NAMES = (
    "__index__",
    "__int__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__eq__",
    "__bool__",
    "__float__",
)
RaiserInt = type(
    "RaiserInt", (int,), {**dict.fromkeys(NUMBER_NAMES, raises), "__hash__": int.__hash__}
)


class LateText(str):
    """A dict key whose second lookup fails."""

    __slots__ = ("was_hashed",)

    def __hash__(self) -> int:
        if hasattr(self, "was_hashed"):
            raise OwnError
        self.was_hashed = True
        return 0


# An object whose methods all raise.
METHODS = "__iter__ __len__ __getitem__ __hash__ __eq__ __bool__ __index__ __int__ keys items"
Raiser = type("Raiser", (), dict.fromkeys(METHODS.split(), raises))


class Liar:
    """An object that claims to be of another class."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    # Unlike `object.__class__`, this attribute is read-only.
    __class__ = property(  # pyright: ignore[reportIncompatibleMethodOverride]
        lambda self: self.kind
    )


def raising_after(values: list[Any]) -> Iterator[Any]:
    """Yields the values, and then raises."""
    yield from values
    raise OwnError


class Shrinking(list[Any]):
    """A list that shrinks while it is read, and lies about its length."""

    def __iter__(self) -> Iterator[Any]:
        while list.__len__(self):
            yield self.pop(0)
            del self[1::2]

    def __len__(self) -> int:
        return 10**6


def growing(values: list[Any]) -> Iterator[Any]:
    """Yields from a list that grows meanwhile."""
    for value in values:
        if len(values) < 100:
            values.append(value)
        yield value


class Changing(dict[Any, Any]):
    """A mapping that grows while it is read."""

    def items(self) -> Any:
        for item in list(super().items()):
            self[f"more{len(self)}"] = "v"
            yield item

    def __iter__(self) -> Iterator[Any]:
        for key in list(super().keys()):
            self[f"more{len(self)}"] = "v"
            yield key

    keys = __iter__  # type: ignore[assignment]


def recursive() -> list[Any]:
    """A list that contains itself."""
    made: list[Any] = []
    made.append(made)
    return made


WRONG: tuple[Callable[[], Any], ...] = (
    *(lambda value=value: value for value in (None, 5, 1.5, float("nan"), b"x", bytearray(b"x"))),
    *(lambda value=value: value for value in (1j, ..., True, NotImplemented)),
    *(lambda value=value: value for value in (*INTEGERS, *TEXTS)),
    object, list, dict, Raiser, lambda: type, lambda: raises,
    lambda: {"x": 1}, lambda: ["x", 5], lambda: [None],
    *(lambda kind=kind: Liar(kind) for kind in (str, int, list, Backend, Model, Requirements)),
    lambda: LiarText("x"), lambda: RaiserText("x"), lambda: RaiserInt(5), lambda: RaiserInt(2**40),
    lambda: raising_after(["x", "x"]), lambda: raising_after([Model("o")]),
    lambda: raising_after([]), lambda: raising_after([1]),
    lambda: growing(["x"]), lambda: growing([Model("o")]),
    lambda: Shrinking(["x"] * 9), lambda: Shrinking([Model(n) for n in "opqrs"]),
    lambda: recursive(),
)  # fmt: skip

# The types that each argument accepts. For other types, a TypeError must name the argument.
TYPES: Mapping[str, tuple[type, ...]] = {
    "backend": (Backend,),
    "model": (Model,),
    **dict.fromkeys(("backend_id", "model_id", "status", "url"), (str,)),
    **dict.fromkeys(("error", "instance"), (str, type(None))),
    "serial": (int, type(None)),
    "source": (str, type(None)),
    "latency_ms": (int,),
    "require": (Requirements, type(None)),
    **dict.fromkeys(("allow_unknown", "failed"), (bool,)),
    "policy": (str,),
}


def state(registry: Registry) -> tuple[Any, ...]:
    """The state that a refused call must not change."""
    stats = registry.stats()
    return (
        registry.to_json(),
        stats.backends,
        stats.models,
        stats.index_entries,
        registry.find_by_mdns_instance("i"),
    )


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, length: int = LONG
) -> Iterator[int]:
    """Runs all cases in a random order, round after round."""
    with quiet():
        for seed in itertools.count():
            cases = [
                (operation, name, value)
                for operation, names in OPERATIONS.items()
                for name in names
                for value in WRONG
            ]
            random.Random(seed).shuffle(cases)
            for operation, name, value in cases:
                offer(make, operation, name, value)
            texts(make)
            definitions(make)
            long_ids(make, length)
            yield len(cases)
            if until():
                return


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings about long ids and counts below 0."""
    logging.getLogger("registry").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
    logging.getLogger("registry").setLevel(logging.NOTSET)


def outcome(registry: Registry, operation: str, **given: Any) -> Any:
    """The result, or the error, which must be in the contract or come from the argument itself."""
    try:
        result = call(registry, operation, **given)
    except (RegistryError, TypeError, ValueError, OverflowError, OwnError) as error:
        return error
    except Exception as error:
        raise AssertionError(
            f"{operation}: neither the contract's error nor the caller's: {type(error).__name__}"
        ) from error
    makes_another_each_time = operation in ("acquire", "acquire_wait", "acquire_async", "__iter__")
    return type(result).__name__ if makes_another_each_time else result


def offer(
    make: Callable[[], Registry], operation: str, name: str, value: Callable[[], Any]
) -> None:
    """Calls the operation with one hostile argument."""
    registry = filled(make)
    before, given = state(registry), value()
    result = outcome(registry, operation, **{name: given})
    place = f"{operation}({name}={type(given).__name__})"
    # For these, `call` first acquires a lease, which changes the state.
    if isinstance(result, Exception) and operation not in OF_LEASES:
        assert state(registry) == before, f"{place} raised, and something has changed"
    if isinstance(result, OwnError):
        assert not isinstance(given, (str, int)), f"{place}: a method of the argument was called"
    elif not is_of(given, operation, name):
        assert isinstance(result, TypeError), f"{place}: a wrong type was accepted: {result!r}"
        assert str(result).startswith(name), f"{place}: the error names no argument: {result}"
    elif isinstance(given, (LiarText, RaiserText)):
        expected = outcome(filled(make), operation, **{name: "x"})
        assert comparable(result) == comparable(expected), (
            f"{place}: {result!r} is not {expected!r}"
        )


def comparable(result: Any) -> Any:
    """The part of a result that depends neither on times nor on names of types."""
    if isinstance(result, Exception):
        return type(result)
    if isinstance(result, list):
        return [getattr(item, "id", item) for item in result]
    return getattr(result, "id", result)


def is_of(given: Any, operation: str, name: str) -> bool:
    """Whether the argument accepts the type, whatever the value claims to be.

    Lists and other containers have more specific messages, which other tests check.
    """
    kinds = {
        ("find_by_mdns_instance", "instance"): (str,),
        ("release", "latency_ms"): (int, float, type(None)),
    }.get((operation, name), TYPES.get(name))
    return kinds is None or (
        issubclass(type(given), kinds) and (type(given) is not bool or bool in kinds)
    )


def texts(make: Callable[[], Registry]) -> None:
    """Each hostile text in each text field of a backend is refused or kept exactly."""
    registry = make()
    accepted = []
    for text in TEXTS:
        before = state(registry)
        try:
            backend = Backend(
                text,
                text,
                "http://h",
                models=[Model(text)],
                metadata={"mdns_instance": text, text: text},
            )
            registry.add_backend(backend)
        except ValueError:
            assert state(registry) == before, f"{text!r:.20} was refused, and something has changed"
            assert text == "" or not text.isprintable() or "\ud800" <= max(text) <= "\udfff", (
                f"{text!r:.20} is refused"
            )
            assert text not in registry, f"{text!r:.20} was refused, and is there"
            continue
        accepted.append(text)
    assert list(registry) == accepted, "ids are not kept as they are"
    assert accepted == [
        text for text in TEXTS if text and not any("\ud800" <= one <= "\udfff" for one in text)
    ]
    for text in accepted:
        assert [view.id for view in registry.get_backends_for_model(text)] == [text]
        assert registry.find_by_mdns_instance(text) == text
        assert registry.increment_pending(text) == 1
        assert registry.explain(text)[0].backend_id == text
        assert registry.remove_backend(text).metadata == {"mdns_instance": text, text: text}


METADATA: tuple[Callable[[], Any], ...] = (
    lambda: Changing({"a": "b"}),
    lambda: {LiarText("a"): RaiserText("b")},
    lambda: {LateText("a"): "b"},
    lambda: types.MappingProxyType(Changing({"a": "b"})),
    lambda: collections.ChainMap({"a": "b"}, Changing({"c": "d"})),
    lambda: collections.UserDict({"a": LiarText("b")}),
    lambda: collections.defaultdict(raises, {"a": "b"}),
    lambda: {"mdns_instance": LiarText("j")},
    *WRONG,
)
EXACT = (str, int, bool, type(None), tuple, Metadata, Settings, BackendType, DiscoverySource)


def definitions(make: Callable[[], Registry]) -> None:
    """Each hostile value in each field is refused, or kept as an immutable plain value."""
    for kind, given in (
        (Model, {"id": "m"}),
        (Backend, {"id": "y", "name": "n", "url": "http://h"}),
        (Requirements, {}),
    ):
        for field in dataclasses.fields(kind):
            for value in METADATA:
                offered = value()
                place = f"{kind.__name__}({field.name}={type(offered).__name__})"
                try:
                    definition = kind(**{**given, field.name: offered})
                except (TypeError, ValueError, OwnError):
                    continue
                kept = {name: getattr(definition, name) for name in given.keys() | {field.name}}
                assert all(type(one) in EXACT for one in kept.values()), f"{place} is kept as it is"
                if isinstance(offered, dict):
                    assert isinstance(definition, Backend), place
                    mapping = getattr(definition, field.name)
                    assert all(type(key) is str for key in mapping), place
                    assert all(
                        type(text) is str for item in definition.metadata.items() for text in item
                    ), place
                    offered["later"] = "v"
                    assert "later" not in mapping, f"{place} is not a copy"
                if isinstance(definition, Backend):
                    registry = make()
                    registry.add_backend(definition)
                    assert json.loads(registry.to_json())["backends"][0]["id"] == definition.id


def long_ids(make: Callable[[], Registry], length: int) -> None:
    """Very long ids are kept whole, even if they differ only in the last character."""
    registry, start = make(), "x" * length
    for end in "ab":
        text = start + end
        registry.add_backend(
            Backend(text, end, "http://h", models=[Model(text)], metadata={"mdns_instance": text})
        )
        registry.update_status(text, "healthy", None)
        assert registry.increment_pending(text) == 1
    for end in "ab":
        text = start + end
        view = registry.get_backend(text)
        assert view is not None, "a long id is not kept whole"
        assert (view.id, view.name) == (text, end)
        assert registry.find_by_mdns_instance(text) == text
        with registry.acquire(text) as lease:
            assert lease.backend.name == end
        assert registry.increment_pending_many([text, text]) == [2, 3]
    assert registry.get_backend(start) is None
    assert start + "c" not in registry
    assert registry.remove_backend(start + "a").name == "a"
    assert [view.name for view in registry.get_all_backends()] == ["b"]
