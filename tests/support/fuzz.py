"""Targets for the fuzzer: bytes as a sequence of calls, as a JSON document, or as a fleet file.

A target raises if a promise is broken. Documents are the bytes themselves, or one of `DOCUMENTS`
with values replaced, keys removed and keys added; the bytes choose the changes. `long.fuzz` drives
the targets by coverage; the tests replay the inputs it kept in tests/support/corpus.
"""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from registry import (
    Backend,
    BackendStatus,
    BackendView,
    DiscoverySource,
    FleetFileError,
    Model,
    Policy,
    Registry,
    Requirements,
    load_fleet,
)
from support.machine import RegistryMachine, definition, with_make
from support.oracle import Request

T = TypeVar("T")

CORPUS = Path(__file__).parent / "corpus"

IDS = ("h0", "h1", "h2", "ü", "d\0", "d")
MODELS = tuple(
    Model(f"m{n}", context_length=4096 * (1 + n % 2), supports_tools=n % 3 == 0)
    for n in range(1, 5)
)
URLS = ("http://h1", "HTTP://H1:80/", "http://h2:8000", "https://h1")
SOURCES = (None, DiscoverySource.STATIC, DiscoverySource.MDNS)
WHICH = (None, "own", "other")
SAMPLES = (0, 1, 7, 1000, 2**30, 2**32 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1000, 1001, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64,
    -(2**63), 2**70, 0.5, 1e400, -0.0, float("nan"),
    "", "a", "m", "ü", "\0", "\ud800", "'\"\n\\", "] must be [", "x" * 1001,
    "http://h", "HTTPS://[::1]:8/", "http://", "vllm", "static", "healthy",
    "2026-01-01T00:00:00Z", "2026-01-01", "0001-01-01T00:00:00+14:00",
    "mdns_instance", "m must be n", [], {},
)  # fmt: skip
MODEL = {
    "id": "m",
    "name": "n",
    "context_length": 1,
    "supports_tools": True,
    "max_output_tokens": None,
}
BACKEND = {
    "id": "b", "name": "n", "url": "http://h", "backend_type": "vllm", "models": [MODEL],
    "discovery_source": "static", "metadata": {"mdns_instance": "i"}, "priority": 0,
    "max_pending": None, "weight": 1, "max_pending_tokens": 1,
}  # fmt: skip
VIEW = {
    **BACKEND, "status": "healthy", "last_health_check": "2026-01-01T00:00:00Z",
    "last_error": None, "pending_requests": 1, "total_requests": 2, "avg_latency_ms": 3,
    "serial": 1, "draining": False,
}  # fmt: skip
TABLE = {
    "name": "n", "url": "http://h", "type": "vllm", "id": "b",
    "models": ["m", {"id": "o", "context_length": 1}],
    "metadata": {"mdns_instance": "i"}, "priority": 0, "max_pending": 1, "weight": 1,
    "max_pending_tokens": 1,
    "settings": {"timeouts": {"read": 0.5}, "retries": [1, "a", {"b": True}]},
}  # fmt: skip
DOCUMENTS: tuple[tuple[type[Any], Any], ...] = (
    (Model, MODEL),
    (Backend, BACKEND),
    (BackendView, VIEW),
)
REQUIREMENTS = (None, Requirements(), Requirements(tools=True), Requirements(min_context=5000))


class Source:
    """Makes choices, one byte each, until the bytes are used up."""

    def __init__(self, data: bytes) -> None:
        self.data = iter(data)

    def one(self, choices: tuple[T, ...]) -> T:
        return choices[next(self.data) % len(choices)]

    def some(self, choices: tuple[T, ...]) -> list[T]:
        return [self.one(choices) for _ in range(self.one((0, 1, 2, 4)))]

    def distinct(self, choices: tuple[T, ...]) -> list[T]:
        return list(dict.fromkeys(self.some(choices)))

    def request(self) -> Request:
        model_id, policy, require = (
            self.one(("m1", "m2", "m3", "m5")),
            self.one(tuple(Policy)),
            self.one(REQUIREMENTS),
        )
        excluded = self.distinct(IDS)
        keys: tuple[str | bytes | int, ...] = ("a", b"b", 7)
        return Request(
            model_id,
            policy,
            require,
            excluded,
            self.one((None, None, self.some(IDS))),
            allow_unknown=self.one((False, True)),
            affinity=self.one(keys),
            tokens=3 * len(excluded),  # needs no byte, so kept inputs keep their meaning
        )

    def limits(self) -> dict[str, Any]:
        priority, cap = self.one((0, -1, 1)), self.one((None, 1, 2))
        return {
            "priority": priority,
            "max_pending": cap,
            "max_pending_tokens": 5 if priority == 1 else None,  # likewise
            "weight": self.one((1, 2, 1000)),
        }

    def definition(self) -> Backend:
        return definition(
            self.one(IDS),
            self.distinct(MODELS),
            self.one(URLS),
            self.one((None, "i1", "i2", "")),
            self.limits(),
            self.one((DiscoverySource.STATIC, DiscoverySource.MDNS)),
        )

    def definitions(self) -> list[Backend]:
        return [self.definition() for _ in range(self.one((0, 1, 2, 4)))]

    def changes(self) -> dict[str, Any]:
        """Parts of a definition that a reconcile changes."""
        return self.one(
            (
                {},
                {"name": "x"},
                {"url": self.one(URLS)},
                {"models": self.distinct(MODELS)},
                {"metadata": self.one(({}, {"mdns_instance": "i1"}, {"zone": "eu"}))},
                self.limits(),
            )
        )

    def changed(self, document: Any) -> Any:
        """A copy of the document with a few changes, until the bytes are used up."""
        document = copy.deepcopy(document)
        with suppress(StopIteration):
            while document:
                place = document
                while isinstance(place, (dict, list)) and place:
                    inside = tuple(place) if isinstance(place, dict) else tuple(range(len(place)))
                    key = self.one(inside)
                    if not isinstance(place[key], (dict, list)) or self.one((True, False)):
                        self.change(place, key)
                        break
                    place = place[key]
        return document

    def change(self, place: Any, key: Any) -> None:
        """Replaces, deletes or duplicates one value."""
        match self.one((0, 1, 2, 3)):
            case 0:
                place[key] = copy.deepcopy(self.one(VALUES))
            case 1:
                del place[key]
            case 2 if isinstance(place, list):
                place.append(copy.deepcopy(place[key]))
            case _ if isinstance(place, dict):
                place[str(self.one(VALUES))[:2000]] = copy.deepcopy(self.one((place[key], *VALUES)))


def toml(value: Any) -> str:
    """The value in TOML; numbers and strings are written as in JSON."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")


# Rules of the machine, and how their arguments are read.
RULES: tuple[tuple[str, Callable[[Source], tuple[Any, ...]]], ...] = (
    ("add", lambda s: (
        s.one(IDS), s.distinct(MODELS), s.one(URLS), s.one((None, "i1", "i2", "")), s.limits(),
    )),
    ("remove", lambda s: (s.one(IDS), s.one(WHICH))),
    ("update_status", lambda s: (
        s.one(IDS), s.one(tuple(BackendStatus)), s.one((None, "boom", "ü")), s.one(WHICH),
    )),
    ("update_models", lambda s: (s.one(IDS), s.distinct(MODELS))),
    ("add_model", lambda s: (s.one(IDS), s.one(MODELS))),
    ("remove_model", lambda s: (s.one(IDS), s.one(MODELS).id)),
    ("count", lambda s: (
        s.one(IDS), s.one(("increment_pending", "decrement_pending", "increment_total_requests")),
    )),
    ("update_latency", lambda s: (s.one(IDS), s.one(SAMPLES))),
    ("count_many", lambda s: (
        s.some(IDS), s.one(("increment_pending_many", "decrement_pending_many")),
    )),
    ("update_latency_many", lambda s: (list(zip(s.some(IDS), itertools.repeat(s.one(SAMPLES)))),)),
    ("set_mdns_instance", lambda s: (s.one(IDS), s.one((None, "i1", "i2", "")))),
    ("acquire", lambda s: (s.request(),)),
    ("select", lambda s: (s.request(),)),
    ("explain", lambda s: (s.request(),)),
    ("release", lambda s: (
        s.one(tuple(range(8))), s.one(SAMPLES), s.one(("succeeded", "failed")), 0,
    )),
    ("same_state", lambda _: ()),
    ("update_backend", lambda s: (s.definition(),)),
    ("edit", lambda s: (s.one(tuple(range(6))), s.changes())),
    ("reconcile", lambda s: (s.definitions(), s.one(SOURCES))),
    ("reload", lambda s: (
        [s.changes() for _ in range(s.one((0, 1, 2, 4)))], s.one(tuple(range(1, 64))),
        s.one(SOURCES),
    )),
    ("drain", lambda s: (s.one(IDS), s.one(WHICH), s.one(("drain", "resume")))),
)  # fmt: skip


def steps(data: bytes) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The calls that the bytes stand for."""
    source = Source(data)
    while True:
        try:
            name, read = source.one(RULES)
            arguments = read(source)
        except StopIteration:
            return
        yield name, arguments


def calls(data: bytes, make: Callable[..., Registry] = Registry) -> None:
    """Makes a sequence of calls on the registry and on the oracle."""
    machine = with_make(RegistryMachine, make)()
    machine.start()
    for name, arguments in steps(data):
        if {"release": machine.leases, "edit": machine.oracle.entries}.get(name, True):
            getattr(machine, name)(*arguments)
    machine.same_state()
    machine.teardown()


def check_place(error: Exception, place: str) -> None:
    """Checks that the error begins with the place."""
    assert str(error).startswith(place), f"the error names no place: {error}"


def documents(data: bytes) -> None:
    """A JSON document of each kind is refused with an error's place, or survives a round trip."""
    if not data:
        return None
    kind, document = DOCUMENTS[data[0] % len(DOCUMENTS)]
    text = data[1:]
    if data[0] >= 128:
        text = json.dumps(Source(text).changed(document)).encode()
    try:
        read = kind.from_json(text)
    except ValueError as error:
        return check_place(error, "$")
    assert kind.from_json(read.to_json()) == read
    hash(read)
    return None


def fleets(data: bytes) -> None:
    """A fleet file is refused with its name, or a registry accepts all of it."""
    text = data[1:]
    if data[:1] >= b"\x80":
        text = f"backends = {toml(Source(text).changed([TABLE]))}".encode()
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(text)
        file.flush()
        try:
            read = load_fleet(file.name)
            registry = Registry.from_fleet(file.name)
        except FleetFileError as error:
            return check_place(error, file.name)
    assert list(registry) == [backend.id for backend in read]
    for backend in read:
        assert Backend.from_json(backend.to_json()) == replace(backend, settings={})
        assert pickle.loads(pickle.dumps(backend)).settings.keys() == backend.settings.keys()
    return None


TARGETS: Mapping[str, Callable[..., None]] = {
    "calls": calls,
    "documents": documents,
    "fleets": fleets,
}
