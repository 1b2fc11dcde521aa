"""`Registry`: its hot methods are inherited from the core, the others are written here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Self, TypeVar

from registry import _checks
from registry._autospec import AutospecMeta
from registry._core import binding
from registry._field_checks import exact_instance
from registry._json import encode_views
from registry._literals import DiscoverySourceValue, PolicyValue
from registry._reconcile import (
    Reconciliation,
    check_fleet,
    entering,
    instance_of,
    is_same_server,
    plan,
    url_key,
)
from registry._url import normalize_url
from registry._waiting import acquire_in_task, acquire_in_thread, wait_in_task, wait_in_thread
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
from registry.ejection import (
    DEFAULT_AFFINITY_FLOOR,
    DEFAULT_AFFINITY_LOAD,
    DEFAULT_BLOCK_TOKENS,
    DEFAULT_EJECTION,
    DEFAULT_LATENCY_TTL,
    DEFAULT_PREFIX_BLOCKS,
    Ejection,
    floor_for_core,
    for_core,
    line_for_core,
    load_for_core,
    prefixes_for_core,
    ttl_for_core,
)
from registry.fleet import load_fleet
from registry.metadata import EMPTY, with_item
from registry.selection import Policy, Reason, Requirements
from registry.settings import EMPTY_SETTINGS
from registry.stats import RegistryStats
from registry.testing import ManualClock
from registry.watching import Watch

if TYPE_CHECKING:
    from typing_extensions import Buffer

binding.bind(
    Backend,
    Model,
    BackendView,
    (BackendStatus.HEALTHY, BackendStatus.UNHEALTHY, BackendStatus.UNKNOWN, BackendStatus.DRAINING),
    tuple(Reason),
)

binding.immortalize(*BackendStatus, *BackendType, *DiscoverySource, *Policy, *Reason)
binding.immortalize(EMPTY, EMPTY_SETTINGS)

# A model id of more characters is accepted with a warning.
LONG_MODEL_ID = 1000

T = TypeVar("T")

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

    def __init__(
        self,
        *,
        ejection: Ejection | None = DEFAULT_EJECTION,
        latency_ttl_s: float | None = DEFAULT_LATENCY_TTL,
        clock: ManualClock | None = None,
        affinity_load: float | None = DEFAULT_AFFINITY_LOAD,
        affinity_floor: float = DEFAULT_AFFINITY_FLOOR,
        block_tokens: int = DEFAULT_BLOCK_TOKENS,
        prefix_blocks: int = DEFAULT_PREFIX_BLOCKS,
        max_waiting: int | None = None,
    ) -> None:
        """Creates an empty registry.

        `ejection` has the rules by which failures eject a backend; None: they never do.

        `latency_ttl_s` is in seconds, an int or a float, above 0 and at most a year; None: for
        ever. A backend whose last latency sample is older counts, in LOWEST_LATENCY, SMART and
        HOT_COLD, like one without a sample. So does, in HOT_COLD, an older time to first token.

        `clock` is a `registry.testing.ManualClock`, by which a test or a simulation moves the time;
        None: the system's clock.

        `affinity_load` (1 to 1,000, an int or a float; None: unbounded) and `affinity_floor` (0 to
        2**32-1, likewise) bound the load up to which AFFINITY keeps the requests of a key at their
        backend: see `Policy`.

        `block_tokens`, 1 to 2**32-1, is how many tokens a block of a `prefix` stands for, and
        `prefix_blocks`, 0 to 2**31-1, how many blocks are known for each backend and model: see
        `acquire`. 0: prefixes are not noted, and need no memory.

        `max_waiting` limits how many calls of `acquire_wait` and `acquire_async` wait for each
        model at the same time, 0 to 2**64-2; None: there is no limit.

        Raises TypeError or ValueError, which names the argument. A subclass may pass other settings
        to `super().__init__`, but only once, and before anything is registered: otherwise
        RuntimeError.
        """
        if not (
            ejection is DEFAULT_EJECTION
            and latency_ttl_s is DEFAULT_LATENCY_TTL
            and clock is None
            and affinity_load is DEFAULT_AFFINITY_LOAD
            and affinity_floor is DEFAULT_AFFINITY_FLOOR
            and block_tokens is DEFAULT_BLOCK_TOKENS
            and prefix_blocks is DEFAULT_PREFIX_BLOCKS
            and max_waiting is None
        ):
            self._configure(
                for_core(ejection),
                ttl_for_core(latency_ttl_s),
                clock,
                load_for_core(affinity_load),
                floor_for_core(affinity_floor),
                *prefixes_for_core(block_tokens, prefix_blocks),
                line_for_core(max_waiting),
            )

    @classmethod
    def from_fleet(
        cls,
        path: str | PathLike[str],
        *,
        ejection: Ejection | None = DEFAULT_EJECTION,
        latency_ttl_s: float | None = DEFAULT_LATENCY_TTL,
        clock: ManualClock | None = None,
        affinity_load: float | None = DEFAULT_AFFINITY_LOAD,
        affinity_floor: float = DEFAULT_AFFINITY_FLOOR,
        block_tokens: int = DEFAULT_BLOCK_TOKENS,
        prefix_blocks: int = DEFAULT_PREFIX_BLOCKS,
        max_waiting: int | None = None,
    ) -> Self:
        """Creates a registry with the backends of a fleet file, in the order of the file.

        The keyword arguments are those of `Registry`. A subclass must take those that are given.
        Raises the errors of `load_fleet`, and TypeError or ValueError for a bad setting. O(size of
        the file).
        """
        settings: dict[str, Any] = {
            name: value
            for name, value, default in (
                ("ejection", ejection, DEFAULT_EJECTION),
                ("latency_ttl_s", latency_ttl_s, DEFAULT_LATENCY_TTL),
                ("clock", clock, None),
                ("affinity_load", affinity_load, DEFAULT_AFFINITY_LOAD),
                ("affinity_floor", affinity_floor, DEFAULT_AFFINITY_FLOOR),
                ("block_tokens", block_tokens, DEFAULT_BLOCK_TOKENS),
                ("prefix_blocks", prefix_blocks, DEFAULT_PREFIX_BLOCKS),
                ("max_waiting", max_waiting, None),
            )
            if value is not default
        }
        registry = cls(**settings)
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
        self._add(backend, url_key(backend), instance_of(backend))
        _warn_of_long_ids(backend.models, ())

    def update_backend(self, backend: Backend, /) -> None:
        """Replaces the definition that is registered under `backend.id`, at one instant.

        If the url is equal (compared as in `has_backend_url`), the registration stays: its serial,
        status, draining, ejection, cool-down, counters, leases and place in the order are kept, and
        everything else in the definition takes effect. A cap below the requests in flight takes
        none of them away. If the url is another one, a new registration takes the place of the old
        one, with a serial of its own, status UNKNOWN and counters at 0; leases stay with the old
        server. An equal definition changes nothing.

        Raises `BackendNotFoundError`; `ValueError` if another backend holds its mDNS instance;
        `TypeError` if it is not a `Backend`. Expected O(models, old and new), amortized. Waits for
        other writers. Thread safety: atomic.
        """
        fresh = exact_instance(Backend, backend, "backend")
        instance = instance_of(fresh)
        while True:
            current, serial = self._read(fresh.id)
            if binding.same_definition(current, fresh):
                return
            if is_same_server(current, fresh):
                is_done = self._redefine(current, serial, fresh, instance)
            else:
                is_done = self._replace(current, serial, fresh, url_key(fresh), instance)
            if is_done:
                _warn_of_long_ids(fresh.models, current.models)
                return

    def remove_backend(self, backend_id: str, /, *, serial: int | None = None) -> BackendView:
        """Removes a backend and returns its last view.

        An increment that runs at the same time may be missing from that view. With `serial`, it
        removes only that registration: `BackendNotFoundError` if the id has another one by now.
        Raises `BackendNotFoundError`. Expected O(models of the backend), amortized. Waits for other
        writers. Thread safety: atomic.
        """
        return self._remove(_checks.exact_text(backend_id, "backend_id"), serial)

    def reconcile(
        self,
        backends: Iterable[Backend],
        /,
        *,
        source: DiscoverySource | DiscoverySourceValue | None = None,
    ) -> Reconciliation:
        """Makes the fleet equal to `backends`, at one instant.

        A query sees the old fleet or the new one, never a mixture. Registered ids are updated as by
        `update_backend`, missing ones are added in the order of the list, and the others are
        removed. Requests in flight on what was removed or replaced are not disturbed. With
        `source`, a `DiscoverySource` or its value, only backends from this source are touched.

        Raises `TypeError` or `ValueError`, which names the place in the list: for an item that is
        no `Backend`, an id or an mDNS instance that occurs twice, and, with `source`, for a
        definition, an id or an instance of another source. Then nothing has changed.

        One comparison for each backend, and the cost of `update_backend`, `add_backend` or
        `remove_backend` for each difference. Compares again if another thread changes the fleet
        meanwhile. Waits for other writers. Thread safety: atomic.
        """
        member = None if source is None else _checks.enum_member(DiscoverySource, source, "source")
        wanted = check_fleet(backends, member)
        while True:
            version, fleet = self._fleet()
            changes, done = plan(fleet, wanted, member)
            if not changes or self._apply(changes, version):
                break
        long = [each for each in entering(changes) if _has_long_id(each.models)]
        known = {each.id: each.models for each in fleet} if long else {}
        for backend in long:
            _warn_of_long_ids(backend.models, known.get(backend.id, ()))
        return done

    # ---- draining

    def drain(self, backend_id: str, /, *, serial: int | None = None) -> None:
        """Sets `draining`: no policy chooses the backend until `resume`.

        `get_healthy_backends` leaves it out, whatever `update_status` reports meanwhile; requests
        in flight continue. It is kept as long as the registration stays. With `serial`, it acts on
        that registration only. Raises `BackendNotFoundError`. Expected O(1). Waits for other
        writers. Thread safety: atomic.
        """
        self._set_draining(
            _checks.exact_text(backend_id, "backend_id"),
            serial,
            True,
        )

    def resume(self, backend_id: str, /, *, serial: int | None = None) -> None:
        """Clears `draining`.

        With `serial`, it acts on that registration only. Raises `BackendNotFoundError`. Expected
        O(1). Waits for other writers. Thread safety: atomic.
        """
        self._set_draining(
            _checks.exact_text(backend_id, "backend_id"),
            serial,
            False,
        )

    # ---- cooling down

    def cool_down(self, backend_id: str, seconds: float, /, *, serial: int | None = None) -> None:
        """Keeps new requests away from a backend for so many seconds.

        No policy chooses it meanwhile; its reason is `Reason.COOLING_DOWN`. Requests in flight
        continue. A deadline only moves later: a shorter time than what is left changes nothing.
        `seconds` is an int or a float from 0 to 86,400. With `serial`, it acts on that registration
        only. Raises `BackendNotFoundError`; `TypeError`; `ValueError`. Expected O(1). Waits for
        other writers. Thread safety: atomic.
        """
        exact_id = _checks.exact_text(backend_id, "backend_id")
        time = _checks.cool_down_seconds(seconds, "seconds")
        self._cool_down(exact_id, serial, _checks.nanoseconds(time))

    def restore(self, backend_id: str, /, *, serial: int | None = None) -> None:
        """Ends a backend's ejection, trial, cool-down and slow start at once.

        A request that is out as a trial becomes an ordinary one. The number of ejections in a row
        stays, so another ejection soon after lasts longer. With `serial`, it acts on that
        registration only. Raises `BackendNotFoundError`. Expected O(1). Waits for other writers.
        Thread safety: atomic.
        """
        self._restore(_checks.exact_text(backend_id, "backend_id"), serial)

    # ---- waiting

    def acquire_wait(
        self,
        model_id: str,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        policy: Policy | PolicyValue = Policy.LEAST_PENDING,
        require: Requirements | None = None,
        exclude: Iterable[str] = (),
        only: Iterable[str] | None = None,
        allow_unknown: bool = False,
        affinity: str | bytes | int | None = None,
        tokens: int = 0,
        prefix: Sequence[int] | Buffer | None = None,
    ) -> binding.Lease:
        """Blocks until `acquire` would succeed, and returns the `Lease`.

        It waits only where that can help: where some backend's reason is temporary (any but
        EXCLUDED, NO_VISION, NO_TOOLS, NO_JSON_MODE and SHORT_CONTEXT). Otherwise, and for a model
        that nobody serves, it raises `NoBackendAvailableError` at once; and later, when the time is
        up or waiting stops helping. Its `waited` tells for how many seconds the call has waited.

        `timeout` is in seconds of real time, whatever clock the registry has: an int or a float of
        at least 0; None waits without end, 0 is one try. `priority` is an int from -2**31 to
        2**31-1. The other arguments are those of `acquire`.

        Among those who wait for one model the lowest priority goes first, and then who came first;
        one whose requirements, `only` or `exclude` fit no free place is passed over. Between models
        that share a backend, who came first goes first. A plain `acquire` gets no place that a
        waiter could take. Whoever makes room, by a release, a write or a `ManualClock`, chooses for
        the waiter and wakes it; nobody polls. A place that is handed to a call which ends otherwise
        goes to the next one, and counts in no total.

        Other threads run meanwhile. Signals are handled as in `wait_idle`. Raises
        `WaitingLineFullError`, a NoBackendAvailableError, if `max_waiting` calls wait for the model
        already; TypeError or ValueError for a bad argument. Entering the line takes a lock, O(log
        waiters) steps and at most one choice. Making room takes one choice for each place and for
        each kind of waiters with different models, requirements or ids. Thread safety: atomic. In a
        coroutine use `acquire_async`.
        """
        return acquire_in_thread(
            self,
            model_id,
            timeout,
            priority,
            policy,
            require,
            exclude,
            only,
            allow_unknown,
            affinity,
            tokens,
            prefix,
        )

    async def acquire_async(
        self,
        model_id: str,
        /,
        *,
        timeout: float | None = None,
        priority: int = 0,
        policy: Policy | PolicyValue = Policy.LEAST_PENDING,
        require: Requirements | None = None,
        exclude: Iterable[str] = (),
        only: Iterable[str] | None = None,
        allow_unknown: bool = False,
        affinity: str | bytes | int | None = None,
        tokens: int = 0,
        prefix: Sequence[int] | Buffer | None = None,
    ) -> binding.Lease:
        """Waits like `acquire_wait`, as an asyncio coroutine: the event loop runs meanwhile.

        Any thread may make room. If the task is cancelled, or its event loop is closed, the wait
        ends and its place goes to the next. Arguments, errors, cost and thread safety are those of
        `acquire_wait`.
        """
        return await acquire_in_task(
            self,
            model_id,
            timeout,
            priority,
            policy,
            require,
            exclude,
            only,
            allow_unknown,
            affinity,
            tokens,
            prefix,
        )

    def wait_idle(
        self, backend_id: str, /, timeout: float | None = None, *, serial: int | None = None
    ) -> bool:
        """Blocks until nothing is in flight on a backend. True if so, False after `timeout`.

        True means that the number in flight was 0 at an instant of the call. The wait belongs to
        the registration that has the id now: it also ends when this one has been removed or
        replaced and its last lease has ended. With a `serial`, the wait is only for that
        registration.

        `timeout` is in seconds, an int or a float; None waits without end, and 0 looks once. Other
        threads run meanwhile, and so do handlers of signals: Ctrl-C interrupts the wait. But on
        free-threaded builds a signal that arrives just before the wait begins may be handled when
        it ends, so give a timeout in the main thread. The call does not poll; the release that ends
        the last request wakes it. Raises `BackendNotFoundError` if the id is not registered, or has
        another serial; `TypeError`; `ValueError` if the timeout is negative or the serial is not
        from 0 to 2**64-1. Expected O(1), and so is waking it. Thread safety: atomic. In a coroutine
        use `idle`.
        """
        return wait_in_thread(self, backend_id, timeout, serial)

    async def idle(
        self, backend_id: str, /, timeout: float | None = None, *, serial: int | None = None
    ) -> bool:
        """Waits like `wait_idle`, as an asyncio coroutine: the event loop runs meanwhile.

        Any thread may end the last request. If the task is cancelled, the wait ends and leaves
        nothing behind. Arguments, errors, cost and thread safety are those of `wait_idle`.
        """
        return await wait_in_task(self, backend_id, timeout, serial)

    # ---- models

    def update_models(self, backend_id: str, /, models: Iterable[Model]) -> None:
        """Replaces a backend's list of models.

        Every query for a model that is in both lists finds the backend, even during the update. An
        equal list changes nothing. Raises `BackendNotFoundError`; `ValueError` if two models have
        the same id. O(models in both lists), amortized. Waits for other writers. Thread safety:
        atomic.
        """
        fresh = check_models(models, "models")
        replaced = self._change(backend_id, _with_models, fresh)
        if replaced is not None:
            _warn_of_long_ids(fresh, replaced.models)

    def add_model(self, backend_id: str, /, model: Model) -> bool:
        """Appends a model to a backend's list. Returns False if its id is already in the list.

        In that case nothing changes. Raises `BackendNotFoundError`. O(models of the backend). Waits
        for other writers. Thread safety: atomic.
        """
        added = exact_instance(Model, model, "model")
        if self._change(backend_id, _with_model, added) is None:
            return False
        _warn_of_long_ids((added,), ())
        return True

    def remove_model(self, backend_id: str, /, model_id: str) -> bool:
        """Removes a model from a backend's list. Returns False if it is not in the list.

        Raises `BackendNotFoundError`. O(models of the backend). Waits for other writers. Thread
        safety: atomic.
        """
        removed = _checks.exact_text(model_id, "model_id")
        return self._change(backend_id, _without_model, removed) is not None

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
        self._change(backend_id, _with_instance, checked)

    # ---- following

    def watch(self, *, limit: int = 1024) -> Watch:
        """Opens a stream of the changes of this registry; see `Watch`.

        The watch starts with a snapshot of the fleet. It holds up to `limit` unread changes, 1 to
        2**31-1; beyond that they are dropped, and the next item says so. An open watch costs each
        write a fraction of a microsecond, and some microseconds if its reader must be woken. Raises
        TypeError or ValueError for a bad limit. Waits for other writers; O(backends), with the GIL
        released. Thread safety: atomic.
        """
        return Watch(self, limit)

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

    def _change(
        self, backend_id: str, change: Callable[[Backend, T], Backend | None], value: T
    ) -> Backend | None:
        """Replaces a definition with `change(definition, value)`, unless that is None.

        Returns the replaced definition, or None. Repeats both steps if another writer replaced the
        definition in between, so no change is lost.
        """
        exact_id = _checks.exact_text(backend_id, "backend_id")
        while True:
            current, serial = self._read(exact_id)
            fresh = change(current, value)
            if fresh is None:
                return None
            if self._redefine(current, serial, fresh, instance_of(fresh)):
                return current


binding.specialize_methods(Registry)


# ---- changes of a definition: a copy with one field replaced, or None if nothing changes


def _with_models(backend: Backend, models: tuple[Model, ...]) -> Backend | None:
    return None if backend.models == models else binding.with_models(backend, models)


def _with_model(backend: Backend, added: Model) -> Backend | None:
    models = backend.models
    for model in models:
        if model.id == added.id:
            return None
    return binding.with_models(backend, (*models, added))


def _without_model(backend: Backend, removed: str) -> Backend | None:
    models = backend.models
    for index, model in enumerate(models):
        if model.id == removed:
            return binding.with_models(backend, models[:index] + models[index + 1 :])
    return None


def _with_instance(backend: Backend, instance: str | None) -> Backend | None:
    if backend.metadata.get(INSTANCE_KEY) == instance:
        return None
    return binding.with_metadata(backend, with_item(backend.metadata, INSTANCE_KEY, instance))


# ---- checks


def _has_long_id(models: tuple[Model, ...]) -> bool:
    return binding.longest_id(models) > LONG_MODEL_ID


def _warn_of_long_ids(models: tuple[Model, ...], known: tuple[Model, ...]) -> None:
    if not _has_long_id(models):
        return
    new = set(models).difference(known)
    for model in models:
        if len(model.id) > LONG_MODEL_ID and model in new:
            logger.warning(
                "model id of %d characters (over %d): %.40r...",
                len(model.id),
                LONG_MODEL_ID,
                model.id,
            )
