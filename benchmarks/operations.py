"""The one table of measured operations; everything else in this folder reads it.

An operation is set up once for a fleet size and gives a function to call again and again: it leaves the registry as it was, or
changes only its counters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from registry import Backend, BackendStatus, Model, Policy, Registry

MODELS = tuple(Model(f"model-{number}") for number in range(10))
BULK = 1000

Call = Callable[[], object]


@dataclass(frozen=True)
class Operation:
    """One row: `prepare` takes a filled registry and the ids of its backends."""

    name: str
    prepare: Callable[[Registry, list[str]], Call]
    sizes: tuple[int, ...] = (1000,)
    calls: int = 1  # how many registry operations one call makes


def backend(number: int, models: tuple[Model, ...] = MODELS) -> Backend:
    """A backend as fleets have them; ids are made at run time, so no two are one object."""
    return Backend(
        f"backend-{number}", f"backend-{number}", f"http://10.0.{number >> 8}.{number & 255}:8000", models=models
    )


def filled(size: int) -> tuple[Registry, list[str]]:
    """A registry of healthy backends with ten shared models each, and their ids."""
    registry = Registry()
    for number in range(size):
        registry.add_backend(backend(number))
        registry.update_status(f"backend-{number}", BackendStatus.HEALTHY)
    return registry, list(registry)


def on_one(name: str, *arguments: object) -> Callable[[Registry, list[str]], Call]:
    """The method called with one id and further arguments."""

    def prepare(registry: Registry, ids: list[str]) -> Call:
        method, backend_id = getattr(registry, name), ids[len(ids) // 2]
        return lambda: method(backend_id, *arguments)

    return prepare


def on_all(name: str, *arguments: object) -> Callable[[Registry, list[str]], Call]:
    """The method called without an id."""

    def prepare(registry: Registry, _ids: list[str]) -> Call:
        method = getattr(registry, name)
        return lambda: method(*arguments)

    return prepare


def add_and_remove(registry: Registry, ids: list[str]) -> Call:
    """A backend comes and goes."""
    extra = backend(len(ids))

    def call() -> None:
        registry.add_backend(extra)
        registry.remove_backend(extra.id)

    return call


def add_and_remove_model(registry: Registry, ids: list[str]) -> Call:
    """A model comes and goes on one backend."""
    model, backend_id = Model("another"), ids[0]

    def call() -> None:
        registry.add_model(backend_id, model)
        registry.remove_model(backend_id, model.id)

    return call


def update_models(registry: Registry, ids: list[str]) -> Call:
    """One backend's list alternates between two that share nine models."""
    lists = cycle([MODELS[:9], MODELS])
    return lambda: registry.update_models(ids[0], next(lists))


def set_mdns_instance(registry: Registry, ids: list[str]) -> Call:
    """One backend's instance alternates: the same again would be no change."""
    instances = cycle(["instance-a", "instance-b"])
    return lambda: registry.set_mdns_instance(ids[0], next(instances))


def find_by_mdns_instance(registry: Registry, ids: list[str]) -> Call:
    """An instance that a backend has."""
    registry.set_mdns_instance(ids[-1], "instance-c")
    find = registry.find_by_mdns_instance
    return lambda: find("instance-c")


def acquire_and_release(registry: Registry, _ids: list[str]) -> Call:
    """A request begins and ends, by LEAST_PENDING; without a latency, so that the clock is read twice."""
    acquire = registry.acquire
    return lambda: acquire("model-3").release()


def acquire_and_release_by(policy: Policy) -> Callable[[Registry, list[str]], Call]:
    """The same by another policy."""

    def prepare(registry: Registry, _ids: list[str]) -> Call:
        acquire = registry.acquire
        return lambda: acquire("model-3", policy=policy).release()

    return prepare


def bulk(name: str, *arguments: object) -> Callable[[Registry, list[str]], Call]:
    """The bulk form over 1,000 ids."""

    def prepare(registry: Registry, ids: list[str]) -> Call:
        method, chosen = getattr(registry, name), (ids * BULK)[:BULK]
        return lambda: method(chosen, *arguments)

    return prepare


def increment_and_decrement_many(registry: Registry, ids: list[str]) -> Call:
    """1,000 up and down again."""
    chosen = (ids * BULK)[:BULK]

    def call() -> None:
        registry.increment_pending_many(chosen)
        registry.decrement_pending_many(chosen)

    return call


SIZES = (10, 1000, 100_000)

OPERATIONS = (
    Operation("hash(id)", lambda _registry, ids: lambda: hash(ids[0])),
    Operation("get_backend", on_one("get_backend"), SIZES),
    Operation("id in registry", on_one("__contains__")),
    Operation("get_backends_for_model", on_all("get_backends_for_model", "model-3"), SIZES),
    Operation("get_all_backends", on_all("get_all_backends")),
    Operation("get_healthy_backends", on_all("get_healthy_backends")),
    Operation("backend_count", on_all("backend_count")),
    Operation("model_count", on_all("model_count")),
    Operation("has_backend_url", on_all("has_backend_url", "http://10.0.0.7:8000")),
    Operation("find_by_mdns_instance", find_by_mdns_instance),
    Operation("to_json", on_all("to_json")),
    Operation("increment_pending", on_one("increment_pending"), SIZES),
    Operation("decrement_pending", lambda registry, ids: _paired_decrement(registry, ids[0]), calls=2),
    Operation("increment_total_requests", on_one("increment_total_requests")),
    Operation("update_latency", on_one("update_latency", 150)),
    Operation("increment and decrement_pending_many", increment_and_decrement_many, calls=2 * BULK),
    Operation("update_latency_many", bulk("update_latency_many", [150] * BULK), calls=BULK),
    Operation("update_status", on_one("update_status", BackendStatus.HEALTHY)),
    Operation("update_models", update_models),
    Operation("add_model and remove_model", add_and_remove_model, calls=2),
    Operation("set_mdns_instance", set_mdns_instance),
    Operation("add_backend and remove_backend", add_and_remove, SIZES, calls=2),
    Operation("acquire and release", acquire_and_release, SIZES, calls=2),
    *(
        Operation(
            f"acquire and release, {policy.name}",
            acquire_and_release_by(policy),
            SIZES if policy is Policy.POWER_OF_TWO else (1000,),
            calls=2,
        )
        for policy in Policy
        if policy is not Policy.LEAST_PENDING
    ),
    Operation("select", on_all("select", "model-3")),
    Operation("explain", on_all("explain", "model-3")),
)


def _paired_decrement(registry: Registry, backend_id: str) -> Call:
    increment, decrement = registry.increment_pending, registry.decrement_pending

    def call() -> int:
        increment(backend_id)
        return decrement(backend_id)

    return call
