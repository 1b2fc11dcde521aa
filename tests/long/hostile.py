"""Hostile input: wrong types for every argument of every operation, str subclasses that lie or raise, sequences and mappings that change or
raise while they are read, ids of 64 MiB, lone surrogates, NUL, every integer edge.

A call either does what it would do for the plain value, or raises the contract's error, or the caller's own, and then has changed nothing.
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

from support.calls import OPERATIONS, call, filled

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

UNIT = "calls"
GOAL = 10**5

LONG = 64 << 20  # characters
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
    """What hostile objects raise; the registry lets it through."""


def lies(*_: Any) -> Any:
    """A method that gives something else."""
    return "lie"


def raises(*_: Any) -> Any:
    """A method that doesn't answer."""
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
    """A key that is found no more once it is in a dict."""

    __slots__ = ("asked",)

    def __hash__(self) -> int:
        if hasattr(self, "asked"):
            raise OwnError
        self.asked = True
        return 0


# Whatever it is asked, it raises; it says that it is long, too.
ASKED = "__iter__ __len__ __getitem__ __hash__ __eq__ __bool__ __index__ __int__ keys items"
Raiser = type("Raiser", (), dict.fromkeys(ASKED.split(), raises))


class Liar:
    """An object that says it is of another class."""

    def __init__(self, kind: type) -> None:
        self.kind = kind

    # Other than object's, it can't be written.
    __class__ = property(lambda self: self.kind)  # pyright: ignore[reportIncompatibleMethodOverride]


def raising_after(values: list[Any]) -> Iterator[Any]:
    """All of them, and then it raises."""
    yield from values
    raise OwnError


class Shrinking(list[Any]):
    """Loses what it holds while it is read, and lies about its length."""

    def __iter__(self) -> Iterator[Any]:
        while list.__len__(self):
            yield self.pop(0)
            del self[1::2]

    def __len__(self) -> int:
        return 10**6


def growing(values: list[Any]) -> Iterator[Any]:
    """A list that is added to while it is read."""
    for value in values:
        if len(values) < 100:
            values.append(value)
        yield value


class Changing(dict[Any, Any]):
    """A mapping that changes while it is read."""

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
    """A list that holds itself."""
    made: list[Any] = []
    made.append(made)
    return made


WRONG: tuple[Callable[[], Any], ...] = (
    *(lambda value=value: value for value in (None, 5, 1.5, float("nan"), b"x", bytearray(b"x"), 1j, ..., True, NotImplemented)),
    *(lambda value=value: value for value in (*INTEGERS, *TEXTS)),
    object, list, dict, Raiser, lambda: type, lambda: raises, lambda: {"x": 1}, lambda: ["x", 5], lambda: [None],
    *(lambda kind=kind: Liar(kind) for kind in (str, int, list, Backend, Model, Requirements)),
    lambda: LiarText("x"), lambda: RaiserText("x"), lambda: RaiserInt(5), lambda: RaiserInt(2**40),
    lambda: raising_after(["x", "x"]), lambda: raising_after([Model("o")]), lambda: raising_after([]), lambda: raising_after([1]),
    lambda: growing(["x"]), lambda: growing([Model("o")]), lambda: Shrinking(["x"] * 9), lambda: Shrinking([Model(n) for n in "opqrs"]),
    lambda: recursive(),
)  # fmt: skip

# What each argument may be; for anything else a TypeError has to name it.
TYPES: Mapping[str, tuple[type, ...]] = {
    "backend": (Backend,),
    "model": (Model,),
    **dict.fromkeys(("backend_id", "model_id", "status", "url"), (str,)),
    **dict.fromkeys(("error", "instance"), (str, type(None))),
    "latency_ms": (int,),
    "require": (Requirements, type(None)),
    **dict.fromkeys(("allow_unknown", "failed"), (bool,)),
    "policy": (str,),
}


def state(registry: Registry) -> tuple[Any, ...]:
    """All that a refused call must leave as it was."""
    told = registry.stats()
    return (
        registry.to_json(),
        told.backends,
        told.models,
        told.index_entries,
        registry.find_by_mdns_instance("i"),
    )


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, length: int = LONG
) -> Iterator[int]:
    """Round after round of all of it, in another order each time, on registries that earlier calls have left behind."""
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
    """Without the warnings that long ids and counts below 0 are owed."""
    logging.getLogger("registry").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
    logging.getLogger("registry").setLevel(logging.NOTSET)


def outcome(registry: Registry, operation: str, **given: Any) -> Any:
    """What it returns, or the error, which has to be one of the contract's or the caller's own."""
    try:
        told = call(registry, operation, **given)
    except (RegistryError, TypeError, ValueError, OverflowError, OwnError) as error:
        return error
    except Exception as error:
        raise AssertionError(
            f"{operation}: neither the contract's error nor the caller's: {error!r}"
        ) from error
    return type(told).__name__ if operation in ("acquire", "__iter__") else told


def offer(
    make: Callable[[], Registry], operation: str, name: str, value: Callable[[], Any]
) -> None:
    """One odd value in the place of one argument."""
    registry = filled(make)
    before, given = state(registry), value()
    told = outcome(registry, operation, **{name: given})
    place = f"{operation}({name}={type(given).__name__})"
    if (
        isinstance(told, Exception) and operation != "release"
    ):  # where the lease that it belongs to was counted
        assert state(registry) == before, f"{place} raised, and something has changed"
    if isinstance(told, OwnError):
        assert not isinstance(given, (str, int)), f"{place}: a method of the argument was asked"
    elif not is_of(given, operation, name):
        assert isinstance(told, TypeError), f"{place}: a wrong type is taken: {told!r}"
        assert str(told).startswith(name), f"{place}: the error names no argument: {told}"
    elif isinstance(given, (LiarText, RaiserText)):
        expected = outcome(filled(make), operation, **{name: "x"})
        assert comparable(told) == comparable(expected), f"{place}: {told!r} is not {expected!r}"


def comparable(told: Any) -> Any:
    """Without times, and without the names of types."""
    if isinstance(told, Exception):
        return type(told)
    return [view.id for view in told] if isinstance(told, list) else getattr(told, "id", told)


def is_of(given: Any, operation: str, name: str) -> bool:
    """Whether it is of a type that the argument may have, whatever it says that it is. Lists say more in their own words."""
    kinds = {
        ("find_by_mdns_instance", "instance"): (str,),
        ("release", "latency_ms"): (int, type(None)),
    }.get((operation, name), TYPES.get(name))
    return kinds is None or (
        issubclass(type(given), kinds) and (type(given) is not bool or bool in kinds)
    )


def texts(make: Callable[[], Registry]) -> None:
    """Each odd text as id, name, model id, instance and metadata: it is refused, or it is an ordinary, distinct one."""
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
EXACT = (str, int, bool, type(None), tuple, Metadata, BackendType, DiscoverySource)


def definitions(make: Callable[[], Registry]) -> None:
    """Each odd value as each field of what a registry is given: refused, or kept as a plain value that does not change any more."""
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
                    assert all(
                        type(text) is str for item in definition.metadata.items() for text in item
                    ), place
                    offered["later"] = "v"
                    assert "later" not in definition.metadata, f"{place} is no copy"
                if isinstance(definition, Backend):
                    registry = make()
                    registry.add_backend(definition)
                    assert json.loads(registry.to_json())["backends"][0]["id"] == definition.id


def long_ids(make: Callable[[], Registry], length: int) -> None:
    """As long as ids may get: each is kept whole, and distinct from one that differs at its end alone."""
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
