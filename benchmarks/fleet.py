"""The fleets that the suite measures: healthy backends with ten models each.

`registry.Ejection` is looked up when a fleet is made, because `against` also measures older builds,
which have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle
from random import Random
from typing import Any

import registry as package
from registry import Backend, BackendStatus, Model, Registry

MODELS = tuple(Model(f"model-{number}") for number in range(10))
CHANGED = 10  # backends that a reload changes
DAY = 86_400.0  # seconds: longer than any run


def backend(number: int, models: tuple[Model, ...] = MODELS) -> Backend:
    """A typical backend. Each call makes a new id object, as ids from requests are."""
    return Backend(
        f"backend-{number}",
        f"backend-{number}",
        f"http://10.0.{number >> 8}.{number & 255}:8000",
        models=models,
    )


def filled(size: int, make: Callable[[], Any] = Registry) -> tuple[Any, list[str]]:
    """A registry with `size` healthy backends that share ten models, and the backends' ids."""
    registry, ids = make(), [f"backend-{number}" for number in range(size)]
    for number, backend_id in enumerate(ids):
        registry.add_backend(backend(number))
        registry.update_status(backend_id, BackendStatus.HEALTHY)
    return registry, ids


def reloads(size: int, own_models: bool = False) -> tuple[list[Backend], list[Backend]]:
    """What a fleet file may bring when it is loaded again, twice: the backends of a filled registry
    as new objects. In the second list, ten of them, or all of a smaller fleet, have another weight.

    With `own_models`, each backend has Model objects of its own, as if they came from a file.
    """
    before, after = (
        [backend(number, new_models() if own_models else MODELS) for number in range(size)]
        for _ in range(2)
    )
    for number in range(0, size, -(-size // CHANGED)):
        after[number] = replace(after[number], weight=2)
    return before, after


def new_models() -> tuple[Model, ...]:
    """Models that equal the fleet's."""
    return tuple(Model(f"model-{number}") for number in range(len(MODELS)))


def busy(size: int) -> Registry:
    """A filled registry with one request in flight on every backend.

    No backend is idle, so LEAST_PENDING has to compare all of them.
    """
    registry: Registry
    registry, ids = filled(size)
    registry.increment_pending_many(ids)
    return registry


def full(size: int) -> Registry:
    """A busy registry in which every backend is at its limit of one request."""
    registry, ids = Registry(), [f"backend-{number}" for number in range(size)]
    for number, backend_id in enumerate(ids):
        registry.add_backend(replace(backend(number), max_pending=1))
        registry.update_status(backend_id, BackendStatus.HEALTHY)
    registry.increment_pending_many(ids)
    return registry


def prompts(count: int, blocks: int) -> list[list[int]]:
    """Hashes of prompts that have nothing in common, always the same ones."""
    random = Random(blocks)
    return [[random.getrandbits(64) for _ in range(blocks)] for _ in range(count)]


def having_read(size: int, read: list[list[int]]) -> Registry:
    """A filled registry in which every backend has read these prompts, for the model model-3."""
    registry: Registry
    registry, ids = filled(size)
    for prompt in read:
        for backend_id in ids:
            registry.acquire("model-3", only=[backend_id], prefix=prompt).release()
    return registry


def without_ejection(size: int) -> Registry:
    """A filled registry that learns nothing from outcomes."""
    return filled(size, partial(Registry, ejection=None))[0]  # type: ignore[no-any-return]


def patient(size: int) -> Registry:
    """A filled registry that counts failures under both rules, but never ejects."""
    most = 2**32 - 1
    return _with_ejection(size, consecutive_failures=most, min_requests=most)


def strict(size: int) -> Registry:
    """A filled registry that ejects a backend at its first failure, for a day."""
    return _with_ejection(size, consecutive_failures=1, base_s=DAY, max_s=DAY)


def panicking(size: int) -> Registry:
    """A filled registry in which all backends are ejected, so choices ignore that."""
    registry = strict(size)
    for _ in range(size):
        registry.acquire(MODELS[0].id).release(failed=True)
    return registry


def trying(size: int) -> Registry:
    """A busy registry with one idle backend whose ejection is over: the next request is a trial.

    Release it as abandoned, and the one after it is a trial, too.
    """
    registry = _with_ejection(size, consecutive_failures=1, base_s=1e-3, max_s=1e-3)
    with registry.acquire(MODELS[0].id) as lease:
        lease.release(failed=True)
    failed = lease.backend.id
    registry.increment_pending_many([backend_id for backend_id in registry if backend_id != failed])
    while any(view.unavailable for view in registry.get_all_backends()):
        pass  # for a millisecond
    return registry


def starting(size: int) -> Registry:
    """A filled registry in which one backend has just become healthy again, and is given a weight
    that grows for a day."""
    registry = _with_ejection(size, slow_start_s=DAY)
    last = f"backend-{size - 1}"
    registry.update_status(last, BackendStatus.UNHEALTHY)
    registry.update_status(last, BackendStatus.HEALTHY)
    return registry


def _with_ejection(size: int, **rules: Any) -> Registry:
    made = partial(Registry, ejection=package.Ejection(**rules))
    return filled(size, made)[0]  # type: ignore[no-any-return]


def changes(registry: Any, number: int) -> Iterator[None]:
    """What a writer does: each step adds, updates or removes one of its own backends.

    The backends serve the fleet's models, so queries by model have to see each change.
    """
    for extra in cycle([backend(number + index) for index in range(16)]):
        registry.add_backend(extra)
        yield
        registry.update_status(extra.id, BackendStatus.HEALTHY)
        yield
        registry.remove_backend(extra.id)
        yield
