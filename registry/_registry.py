"""The registry as users see it: the hot operations inherited from the core, the cold ones written here on its primitives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from typing import Self

from registry import _checks
from registry._autospec import AutospecMeta
from registry._core import binding
from registry._field_checks import exactly
from registry._json import encode_views
from registry._literals import BackendStatusValue
from registry._url import normalize_url
from registry.backend import (
    INSTANCE_KEY,
    Backend,
    BackendStatus,
    BackendType,
    BackendView,
    DiscoverySource,
    Model,
    check_models,
)
from registry.fleet import load_fleet
from registry.metadata import EMPTY
from registry.selection import Policy
from registry.stats import RegistryStats

binding.bind(
    Backend,
    Model,
    BackendView,
    (BackendStatus.HEALTHY, BackendStatus.UNHEALTHY, BackendStatus.UNKNOWN, BackendStatus.DRAINING),
)

binding.immortalize(*BackendStatus, *BackendType, *DiscoverySource, *Policy, EMPTY)

LONG_MODEL_ID = 1000

logger = logging.getLogger("registry")


class Registry(binding.RegistryCore, metaclass=AutospecMeta):
    """Which inference servers exist, which models they serve, whether they are healthy, and how busy and fast they are.

    Every method is linearizable and may be called from any thread at any time (thread safety: atomic). Reads and
    counters never wait; writers wait for writers only. A query over many backends is one instant of all of them.

    A registry is always true, even when it is empty. It belongs to its process: it can't be copied
    or pickled. Free-threaded builds count its references lazily, so only the garbage collector
    frees a dropped one: under `gc.disable()`, call `gc.collect()`.
    """

    __slots__ = ()

    def __init__(self) -> None:
        """An empty registry."""

    @classmethod
    def from_fleet(cls, path: str | PathLike[str]) -> Self:
        """A registry with the backends of a fleet file, in its order. Errors as `load_fleet`. O(backends)."""
        registry = cls()
        for backend in load_fleet(path):
            registry.add_backend(backend)
        return registry

    # ---- membership

    def add_backend(self, backend: Backend, /) -> None:
        """Registers a backend, with status UNKNOWN and its counters at 0.

        Raises `DuplicateBackendError` if its id is registered, `ValueError` if another backend holds its mDNS instance.
        Expected O(models of the backend), amortised.
        """
        backend = exactly(Backend, backend, "backend")
        self._add(backend, _url_key(backend), _instance_of(backend))
        _warn_of_long_ids(backend.models, ())

    def remove_backend(self, backend_id: str, /) -> BackendView:
        """Takes a backend out and returns its last view; an increment that runs at the same time may be left out of it.

        Raises `BackendNotFoundError`. Expected O(models of the backend), amortised.
        """
        return self._remove(_checks.exact_text(backend_id, "backend_id"))

    # ---- health

    def update_status(
        self,
        backend_id: str,
        /,
        status: BackendStatus | BackendStatusValue,
        error: str | None = None,
    ) -> None:
        """Sets the status, the time of the last check (now) and the last error; HEALTHY always clears the error.

        `status` is a `BackendStatus` or its value. Raises `BackendNotFoundError`; `ValueError` lists the choices. Expected O(1).
        """
        member = _checks.enum_member(BackendStatus, status, "status")
        if error is not None:
            error = _checks.optional_text(error, "error")
        self._update_health(
            _checks.exact_text(backend_id, "backend_id"),
            member,
            None if member is BackendStatus.HEALTHY else error,
        )

    # ---- models

    def update_models(self, backend_id: str, /, models: Iterable[Model]) -> None:
        """Replaces the whole list of models; a model that stays is found by it at every moment.
        An equal list changes nothing.

        Raises `BackendNotFoundError`; `ValueError` if a model id comes twice. O(models of both lists), amortised.
        """
        fresh = check_models(models, "models")

        def with_models(backend: Backend) -> Backend | None:
            return None if backend.models == fresh else replace(backend, models=fresh)

        self._change(backend_id, with_models)

    def add_model(self, backend_id: str, /, model: Model) -> bool:
        """Adds a model at the end of the list; False, and nothing changes, if its id is there already.

        Raises `BackendNotFoundError`. O(models of the backend).
        """
        added = exactly(Model, model, "model")

        def with_model(backend: Backend) -> Backend | None:
            if any(there.id == added.id for there in backend.models):
                return None
            return replace(backend, models=(*backend.models, added))

        return self._change(backend_id, with_model)

    def remove_model(self, backend_id: str, /, model_id: str) -> bool:
        """Takes a model out of the list; False if it is not there.

        Raises `BackendNotFoundError`. O(models of the backend).
        """
        removed = _checks.exact_text(model_id, "model_id")

        def without_model(backend: Backend) -> Backend | None:
            rest = tuple(model for model in backend.models if model.id != removed)
            return None if len(rest) == len(backend.models) else replace(backend, models=rest)

        return self._change(backend_id, without_model)

    # ---- other names

    def has_backend_url(self, url: str, /) -> bool:
        """Whether a backend has this url: scheme and host are compared without case, default port and trailing slashes
        are ignored; False for a malformed url. Never waits; expected O(1)."""
        key = normalize_url(_checks.exact_text(url, "url"))
        return key is not None and self._has_url(key)

    def set_mdns_instance(self, backend_id: str, /, instance: str | None) -> None:
        """Sets the backend's mDNS instance, kept in `metadata["mdns_instance"]`; None clears it.

        Raises `BackendNotFoundError`; `ValueError` if it is empty or another backend holds it. O(metadata and models).
        """
        checked = None if instance is None else _checks.text(instance, "instance")

        def with_instance(backend: Backend) -> Backend | None:
            if backend.metadata.get(INSTANCE_KEY) == checked:
                return None
            rest = {key: value for key, value in backend.metadata.items() if key != INSTANCE_KEY}
            return replace(
                backend, metadata=rest if checked is None else {**rest, INSTANCE_KEY: checked}
            )

        self._change(backend_id, with_instance)

    # ---- the whole

    def stats(self) -> RegistryStats:
        """How much there is, how much memory it takes, and how much of that waits for reclamation.

        As of one instant; then what waits is reclaimed as far as readers allow it, so that whoever watches a registry also
        sweeps it. Waits for writers; O(backends + models), with the GIL released.
        """
        return RegistryStats(*self._stats())

    def to_json(self) -> str:
        """`{"backends": [...]}`: all views in registration order, as of one instant. O(backends)."""
        return encode_views(self.get_all_backends())

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.backend_count()} backends, {self.model_count()} models>"
        )

    def _change(self, backend_id: str, change: Callable[[Backend], Backend | None]) -> bool:
        """Replaces a definition by what `change` makes of it; None leaves it. Tries again where another writer was
        quicker, so that no writer's change is lost."""
        exact_id = _checks.exact_text(backend_id, "backend_id")
        while True:
            current, registration = self._read(exact_id)
            fresh = change(current)
            if fresh is None:
                return False
            if self._redefine(current, registration, fresh, _instance_of(fresh)):
                _warn_of_long_ids(fresh.models, current.models)
                return True


binding.specialize_methods(Registry)


def _url_key(backend: Backend) -> str:
    key = normalize_url(backend.url)
    assert key is not None  # Backend has checked it
    return key


def _instance_of(backend: Backend) -> str | None:
    instance = backend.metadata.get(INSTANCE_KEY)
    if instance == "":
        raise ValueError(
            f"metadata[{INSTANCE_KEY!r}] of {backend.id!r} must not be empty: leave it out instead"
        )
    return instance


def _warn_of_long_ids(models: tuple[Model, ...], known: tuple[Model, ...]) -> None:
    long = [model for model in models if len(model.id) > LONG_MODEL_ID]
    if long:
        new = set(long).difference(known)
        for model in long:
            if model in new:
                logger.warning(
                    "model id of %d characters (over %d): %.40r...",
                    len(model.id),
                    LONG_MODEL_ID,
                    model.id,
                )
