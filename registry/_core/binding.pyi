from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, final

from typing_extensions import disjoint_base

from registry._literals import PolicyValue
from registry.backend import Backend, BackendStatus, BackendView, Model
from registry.selection import Candidate, Policy, Requirements

_View = TypeVar("_View", bound=ViewBase)

STATUS_ERRORS: dict[int, Callable[[str], Exception]]

def bind(
    backend: type[Backend],
    model: type[Model],
    view: type[BackendView],
    status_members: tuple[BackendStatus, ...],
    /,
) -> None:
    """Binds the core to the dataclasses. Called once, while the package is imported.

    `status_members` are the members of `BackendStatus` in the core's order: healthy, unhealthy,
    unknown, draining. `view` gets a property for each field of `backend`. A second call raises
    ImportError and changes nothing.
    """

def is_bound() -> bool:
    """Whether `bind` was called; see `registry._single_import`."""

def immortalize(*singletons: object) -> None:
    """Disables the reference counting of objects that all views and choices share.

    Otherwise threads would contend for their reference counts.
    """

def specialize_methods(cls: type[RegistryCore], /) -> None:
    """Gives `cls`, a subclass of RegistryCore, its own copies of RegistryCore's methods.

    CPython calls a C method straight from the bytecode only if the instance's own class defines the
    method. A call of an inherited method costs 15 ns more.
    """

def new_view(
    cls: type[_View],
    definition: Backend,
    status: BackendStatus,
    last_health_check: datetime,
    last_error: str | None,
    pending_requests: int,
    total_requests: int,
    avg_latency_ms: int,
    /,
) -> _View:
    """Makes a view from arguments that `BackendView` has checked; the check time is aware."""

@disjoint_base
class ViewBase:
    """The base of `BackendView`: a definition, and the state of one backend at one instant.

    A view never changes. This class has the properties for the state; `bind` adds one property
    for each field of the definition.

    The registry keeps the objects of its views alive with a reservation. A view that was made
    in Python holds references to them instead.
    """

@final
class Refusal:
    """The reasons why a request was refused: the obstacle of each backend of the model.

    The texts are created on demand, from definitions that this object keeps alive.
    """

    def __len__(self) -> int: ...
    def first(self, count: int, /) -> dict[str, str]:
        """The reasons for the first `count` backends: a dict from id to text. O(count)."""

def check_policies(members: Iterable[str], /) -> None:
    """Raises ImportError unless the core has exactly these policies, in this order."""

def seed_random(seed: int, /) -> None:
    """Seeds the random choices of the calling thread, to make them repeatable. For tests."""

@final
class Lease:
    """One request in flight on one backend, from `Registry.acquire` until it is released.

    A lease is a context manager for both `with` and `async with`. Leaving the block releases it; if
    an exception leaves the block, the request counts as failed. If a lease is garbage collected
    before it is released, it is released as failed, with a ResourceWarning.

    A lease belongs to one registration. If the backend is removed and added again, releasing an
    old lease does not change the counters of the new registration.

    Thread safety: shared objects. Any thread may release a lease, and exactly one release takes
    effect. It changes three counters one after the other; see `release`.
    """

    @property
    def backend(self) -> Backend:
        """The current definition of the backend; after its removal, the last definition. O(1)."""
    @property
    def model_id(self) -> str:
        """The model id that `acquire` was called with."""
    @property
    def active(self) -> bool:
        """True until the lease is released."""
    def release(self, latency_ms: int | None = None, *, failed: bool = False) -> bool:
        """Ends the request and returns True. A second call returns False and changes nothing.

        Unless `failed`, it first updates the average latency with the sample `latency_ms`, in
        milliseconds, 0 to 2**32-1. The default is the time since `acquire`. Then it adds 1 to the
        total, and then subtracts 1 from the requests in flight.

        Never blocks; O(1). Thread safety: shared objects; each of the three counts is atomic.
        Raises TypeError or ValueError for a bad argument; the lease is then not released.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@disjoint_base
class RegistryCore:
    """The base of `registry.Registry`: its methods in C."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def get_backend(self, backend_id: str, /) -> BackendView | None:
        """The current view of the backend with this id, or None.

        Never blocks; expected O(1). Thread safety: atomic. Raises TypeError if the id is not a str.
        """
    def get_all_backends(self) -> list[BackendView]:
        """Views of all backends, in registration order, as of one instant.

        Counters are read one by one. Never blocks; O(backends), with the GIL released. Thread
        safety: atomic.
        """
    def get_healthy_backends(self) -> list[BackendView]:
        """Views of the backends with status HEALTHY, in registration order, as of one instant.

        Counters are read one by one. Never blocks; O(backends), with the GIL released. Thread
        safety: atomic.
        """
    def get_backends_for_model(self, model_id: str, /) -> list[BackendView]:
        """Views of the backends that serve a model, in registration order, as of one instant.

        Includes backends of any status; [] if there are none. Counters are read one by one. Never
        blocks; O(backends of the model), with the GIL released. Thread safety: atomic. Raises
        TypeError if the id is not a str.
        """
    def find_by_mdns_instance(self, instance: str, /) -> str | None:
        """The id of the backend with this mDNS instance, or None.

        Never blocks; expected O(1). Thread safety: atomic. Raises TypeError if the instance is not
        a str.
        """
    def backend_count(self) -> int:
        """The number of registered backends. Never blocks; O(1). Thread safety: atomic."""
    def model_count(self) -> int:
        """The number of distinct model ids. Never blocks; O(1). Thread safety: atomic."""
    def __bool__(self) -> Literal[True]: ...
    def __len__(self) -> int: ...
    def __contains__(self, backend_id: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def increment_pending(self, backend_id: str, /) -> int:
        """Adds 1 to the requests in flight of a backend. Returns the new value.

        Never blocks; expected O(1). Thread safety: atomic. Raises BackendNotFoundError; TypeError
        if the id is not a str; OverflowError at the limit, 2**32-1; then the counter does not
        change.
        """
    def decrement_pending(self, backend_id: str, /) -> int:
        """Subtracts 1 from the requests in flight of a backend. Returns the new value.

        If the counter is 0, it stays 0 and a warning is logged. Never blocks; expected O(1). Thread
        safety: atomic. Raises BackendNotFoundError; TypeError if the id is not a str.
        """
    def increment_total_requests(self, backend_id: str, /) -> int:
        """Adds 1 to the total of requests of a backend. Returns the new value, a uint64.

        Never blocks; expected O(1). Thread safety: atomic. Raises BackendNotFoundError; TypeError
        if the id is not a str.
        """
    def update_latency(self, backend_id: str, latency_ms: int, /) -> int:
        """Updates the average latency with a sample in ms, 0 to 2**32-1. Returns the new average.

        The average is an exponential moving average with weight 1/5, in integers: (sample + 4 *
        old) // 5. The first sample becomes the average. Never blocks; expected O(1). Thread safety:
        atomic. Raises BackendNotFoundError; TypeError or ValueError for a bad sample; TypeError if
        the id is not a str.
        """
    def increment_pending_many(self, ids: Iterable[str], /) -> list[int]:
        """Calls `increment_pending` for each id, in order. Returns the new values.

        All ids are checked first: if one is bad or unknown, nothing is counted. Raises the errors
        of `increment_pending`; OverflowError says how many increments were applied. O(ids), with
        the GIL released. Thread safety: each increment is atomic, the batch is not.
        """
    def decrement_pending_many(self, ids: Iterable[str], /) -> list[int]:
        """Calls `decrement_pending` for each id, in order. Returns the new values.

        All ids are checked first: if one is bad or unknown, nothing is counted. Raises the errors
        of `decrement_pending`. O(ids), with the GIL released. Thread safety: each decrement is
        atomic, the batch is not.
        """
    def update_latency_many(self, ids: Iterable[str], samples: Iterable[int], /) -> list[int]:
        """Calls `update_latency` for each id and its sample, in order. Returns the new averages.

        All arguments are checked first: if one is bad, or an id is unknown, no average changes.
        Raises the errors of `update_latency`; ValueError if there is not exactly one sample for
        each id. O(ids), with the GIL released. Thread safety: each update is atomic, the batch is
        not.
        """
    def acquire(
        self,
        model_id: str,
        /,
        *,
        policy: Policy | PolicyValue = Policy.LEAST_PENDING,
        require: Requirements | None = None,
        exclude: Iterable[str] = (),
        allow_unknown: bool = False,
    ) -> Lease:
        """Chooses a backend for a model and counts one request in flight on it, in one atomic step.

        Returns the `Lease`. A backend qualifies if it serves the model, its status is HEALTHY (or
        UNKNOWN, with `allow_unknown`), it has fewer than `max_pending` requests in flight, its id
        is not in `exclude`, and its entry for the model meets `require`, a `Requirements`.
        `policy`, a `Policy` or its value, chooses among those.

        Raises NoBackendAvailableError if no backend qualifies, with the reason for each, as of one
        instant; TypeError or ValueError for a bad argument.

        Lock-free. If other threads disturb many attempts, a last attempt holds the writer lock and
        decides after one pass over the backends. It chooses the best backend that this pass saw. If
        it refuses the request, each backend that it reports as full was full when the pass read it.
        ROUND_ROBIN takes the registry's turns lock, which only ROUND_ROBIN and `stats` use. For the
        cost see `Policy`; a long choice releases the GIL. Thread safety: atomic.
        """
    def select(
        self,
        model_id: str,
        /,
        *,
        policy: Policy | PolicyValue = Policy.LEAST_PENDING,
        require: Requirements | None = None,
        exclude: Iterable[str] = (),
        allow_unknown: bool = False,
    ) -> Backend:
        """Returns the `Backend` that `acquire` would choose, but counts no request.

        Turns and ties advance as with `acquire`. Arguments, errors, cost and thread safety are
        those of `acquire`; the GIL is always released.
        """
    def explain(
        self,
        model_id: str,
        /,
        *,
        policy: Policy | PolicyValue = Policy.LEAST_PENDING,
        require: Requirements | None = None,
        exclude: Iterable[str] = (),
        allow_unknown: bool = False,
    ) -> list[Candidate]:
        """Returns how `acquire` would rank the backends of a model now, as a list of `Candidate`.

        First come the backends that qualify, in the order in which they would be chosen; then the
        others, with the reason. [] if no backend lists the model. Nothing is chosen or counted.

        As of one instant; counters are read one by one. ROUND_ROBIN takes the registry's turns
        lock. O(n log n) for n backends of the model, with the GIL released. Thread safety: atomic.
        Raises TypeError or ValueError for a bad argument.
        """
    def _add(self, definition: Backend, url: str, instance: str | None, /) -> None: ...
    def _read(self, backend_id: str, /) -> tuple[Backend, int]: ...
    def _redefine(
        self, expected: Backend, serial: int, definition: Backend, instance: str | None, /
    ) -> bool: ...
    def _remove(self, backend_id: str, /) -> BackendView: ...
    def _update_health(
        self, backend_id: str, status_member: BackendStatus, error: str | None, /
    ) -> None: ...
    def _has_url(self, url: str, /) -> bool: ...
    def _stats(self, /) -> tuple[int, int, int, int, int, int, int]: ...
