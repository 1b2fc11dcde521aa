"""`Registry`: its hot methods are inherited from the core, the others are written here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from typing import Self

from registry import _checks
from registry._autospec import AutospecMeta
from registry._core import binding
from registry._field_checks import exact_instance
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

# A model id of more characters is accepted with a warning.
LONG_MODEL_ID = 1000

logger = logging.getLogger("registry")


class Registry(binding.RegistryCore, metaclass=AutospecMeta):
    """The backends of a gateway, with the models, health, load and latency of each.

    Any thread may call any method at any time. Every method takes effect at one instant (thread
    safety: atomic), except for bulk forms and `repr` (thread safety: shared objects). Reads and
    counters never block; writers wait only for other writers. A query over many backends returns
    the state of all of them at one instant.

    A registry is true even if it is empty. It belongs to its process and can't be copied or
    pickled. Free-threaded builds defer reference counting for registries, so only the garbage
    collector frees a registry: if you use `gc.disable()`, call `gc.collect()`.
    """

    __slots__ = ()

    def __init__(self) -> None:
        """Creates an empty registry."""

    @classmethod
    def from_fleet(cls, path: str | PathLike[str]) -> Self:
        """Creates a registry with the backends of a fleet file, in the order of the file.

        Raises the errors of `load_fleet`. O(size of the file).
        """
        registry = cls()
        for backend in load_fleet(path):
            registry.add_backend(backend)
        return registry

    # ---- membership

    def add_backend(self, backend: Backend, /) -> None:
        """Registers a backend with status UNKNOWN and all counters at 0.

        Raises `DuplicateBackendError` if its id is registered; `ValueError` if another backend
        holds its mDNS instance; `TypeError` if it is not a `Backend`. Expected O(models of the
        backend), amortized. Waits for other writers. Thread safety: atomic.
        """
        backend = exact_instance(Backend, backend, "backend")
        self._add(backend, _url_key(backend), _instance_of(backend))
        _warn_of_long_ids(backend.models, ())

    def remove_backend(self, backend_id: str, /) -> BackendView:
        """Removes a backend and returns its last view.

        An increment that runs at the same time may be missing from that view. Raises
        `BackendNotFoundError`. Expected O(models of the backend), amortized. Waits for other
        writers. Thread safety: atomic.
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
        """Sets a backend's status and last error, and sets the time of its last check to now.

        `status` is a `BackendStatus` or its value; HEALTHY always clears the error. The clock is
        read before the call waits for other writers. So of two concurrent updates, the one that
        takes effect last may have the earlier time. Raises `BackendNotFoundError`; `ValueError`,
        which lists the choices, for an unknown status. Expected O(1). Waits for other writers.
        Thread safety: atomic.
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
        """Replaces a backend's list of models.

        Every query for a model that is in both lists finds the backend, even during the update. An
        equal list changes nothing. Raises `BackendNotFoundError`; `ValueError` if two models have
        the same id. O(models in both lists), amortized. Waits for other writers. Thread safety:
        atomic.
        """
        fresh = check_models(models, "models")

        def with_models(backend: Backend) -> Backend | None:
            return None if backend.models == fresh else replace(backend, models=fresh)

        self._change(backend_id, with_models)

    def add_model(self, backend_id: str, /, model: Model) -> bool:
        """Appends a model to a backend's list. Returns False if its id is already in the list.

        In that case nothing changes. Raises `BackendNotFoundError`. O(models of the backend). Waits
        for other writers. Thread safety: atomic.
        """
        added = exact_instance(Model, model, "model")

        def with_model(backend: Backend) -> Backend | None:
            if any(model.id == added.id for model in backend.models):
                return None
            return replace(backend, models=(*backend.models, added))

        return self._change(backend_id, with_model)

    def remove_model(self, backend_id: str, /, model_id: str) -> bool:
        """Removes a model from a backend's list. Returns False if it is not in the list.

        Raises `BackendNotFoundError`. O(models of the backend). Waits for other writers. Thread
        safety: atomic.
        """
        removed = _checks.exact_text(model_id, "model_id")

        def without_model(backend: Backend) -> Backend | None:
            rest = tuple(model for model in backend.models if model.id != removed)
            return None if len(rest) == len(backend.models) else replace(backend, models=rest)

        return self._change(backend_id, without_model)

    # ---- urls and mDNS instances

    def has_backend_url(self, url: str, /) -> bool:
        """Whether a backend has this url.

        Scheme and host are compared without case; a default port and trailing slashes are ignored.
        False for a malformed url. Never blocks; expected O(length). Thread safety: atomic.
        """
        key = normalize_url(_checks.exact_text(url, "url"))
        return key is not None and self._has_url(key)

    def set_mdns_instance(self, backend_id: str, /, instance: str | None) -> None:
        """Sets a backend's mDNS instance, which is `metadata["mdns_instance"]`; None clears it.

        Raises `BackendNotFoundError`; `ValueError` if the instance is empty or another backend
        holds it. O(metadata + models). Waits for other writers. Thread safety: atomic.
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

    # ---- the whole registry

    def stats(self) -> RegistryStats:
        """The size of the registry and its memory, as of one instant.

        The call then reclaims the waiting memory that no reader can still use, so monitoring a
        registry also cleans it up. Waits for other writers; O(backends + models), with the GIL
        released. Thread safety: atomic.
        """
        return RegistryStats(*self._stats())

    def to_json(self) -> str:
        """`{"backends": [...]}`: all views, in registration order, as of one instant.

        Counters are read one by one. O(backends). Thread safety: atomic.
        """
        return encode_views(self.get_all_backends())

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__}: {self.backend_count()} backends, {self.model_count()} models>"
        )

    def _change(self, backend_id: str, change: Callable[[Backend], Backend | None]) -> bool:
        """Replaces a definition with the result of `change`; keeps it if the result is None.

        Repeats both steps if another writer replaced the definition in between, so no change is
        lost.
        """
        exact_id = _checks.exact_text(backend_id, "backend_id")
        while True:
            current, serial = self._read(exact_id)
            fresh = change(current)
            if fresh is None:
                return False
            if self._redefine(current, serial, fresh, _instance_of(fresh)):
                _warn_of_long_ids(fresh.models, current.models)
                return True


binding.specialize_methods(Registry)


def _url_key(backend: Backend) -> str:
    key = normalize_url(backend.url)
    assert key is not None  # `Backend` has checked the url
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
