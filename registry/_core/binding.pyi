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
) -> None: ...
def is_bound() -> bool: ...
def immortalize(*singletons: object) -> None: ...
def specialize_methods(cls: type[RegistryCore], /) -> None: ...
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
) -> _View: ...

@disjoint_base
class ViewBase:
    """What `BackendView`, which declares the fields, is made of. Never changes."""

@final
class Refusal:
    """What a refusal tells, until somebody asks for it."""

    def __len__(self) -> int: ...
    def first(self, count: int, /) -> dict[str, str]:
        """The reasons of so many, by backend id."""

def seed_random(seed: int, /) -> None:
    """The calling thread's choices at random repeat from here. For tests."""

@final
class Lease:
    """One request in flight on one backend, from `Registry.acquire` until it is released. Thread safety: atomic.

    It is a context manager, synchronous and asynchronous: leaving the block releases it, as failed where an
    exception leaves it. One
    that is collected unreleased is released then, as failed, with a ResourceWarning. It belongs to one registration: when
    the backend is removed and added again, releasing an old lease leaves the new registration untouched.
    """

    @property
    def backend(self) -> Backend:
        """The definition, as it is now; once it is removed, as it was last."""
    @property
    def model_id(self) -> str:
        """The model that it was acquired for."""
    @property
    def active(self) -> bool:
        """Whether it has not been released yet."""
    def release(self, latency_ms: int | None = None, *, failed: bool = False) -> bool:
        """Ends the request: one less in flight, one more in total, and, unless `failed`, the average fed with
        `latency_ms` (0 to 2**32-1),
        or with the time since the lease was acquired. True the first time; afterwards False, and nothing happens."""
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
    """The registry's hot operations, straight from C, and the primitives of the cold ones (see `registry.Registry`)."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def get_backend(self, backend_id: str, /) -> BackendView | None:
        """The backend with this id as it is now, or None. Never waits; expected O(1)."""
    def get_all_backends(self) -> list[BackendView]:
        """All backends in registration order, as of one instant (the counters as they are passed). O(backends)."""
    def get_healthy_backends(self) -> list[BackendView]:
        """The backends with status HEALTHY in registration order, as of one instant. O(backends)."""
    def get_backends_for_model(self, model_id: str, /) -> list[BackendView]:
        """The backends that serve this model, of any status, in registration order, as of one instant. O(those)."""
    def find_by_mdns_instance(self, instance: str, /) -> str | None:
        """The id of the backend with this mDNS instance, or None. Never waits; expected O(1)."""
    def backend_count(self) -> int:
        """How many backends are registered. Never waits; O(1)."""
    def model_count(self) -> int:
        """How many distinct model ids the backends serve. Never waits; O(1)."""
    def __bool__(self) -> Literal[True]: ...
    def __len__(self) -> int: ...
    def __contains__(self, backend_id: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def increment_pending(self, backend_id: str, /) -> int:
        """One more request in flight; returns how many there are now. Never waits; expected O(1).

        Raises `BackendNotFoundError`, `OverflowError` at 2**32-1."""
    def decrement_pending(self, backend_id: str, /) -> int:
        """One request less in flight; returns how many there are now. At 0 it stays 0 and logs a warning.

        Raises `BackendNotFoundError`. Never waits; expected O(1)."""
    def increment_total_requests(self, backend_id: str, /) -> int:
        """One more request in total; returns how many there were. Raises `BackendNotFoundError`. Never waits; O(1)."""
    def update_latency(self, backend_id: str, latency_ms: int, /) -> int:
        """Feeds the average with one sample in ms, 0 to 2**32-1; returns the new average in ms.

        Raises `BackendNotFoundError`; `TypeError` or `ValueError` for a bad sample. Never waits; expected O(1)."""
    def increment_pending_many(self, ids: Iterable[str], /) -> list[int]:
        """`increment_pending` for each id, in order, with the GIL released; returns the new values. O(ids)."""
    def decrement_pending_many(self, ids: Iterable[str], /) -> list[int]:
        """`decrement_pending` for each id, in order, with the GIL released; returns the new values. O(ids)."""
    def update_latency_many(self, ids: Iterable[str], samples: Iterable[int], /) -> list[int]:
        """`update_latency` for each id and sample (ms), in order, with the GIL released; returns the new
        averages. O(ids)."""
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
        """Chooses a backend that serves the model, and counts one request in flight on it, in one step; returns
        the `Lease`.

        Only HEALTHY backends are chosen (UNKNOWN ones too with `allow_unknown`), none that is at its
        `max_pending`, none whose id is
        in `exclude`, none whose entry for the model lacks what the `Requirements` ask. Raises
        `NoBackendAvailableError` where none
        is left. Lock-free; ROUND_ROBIN waits for other round robins. Cost as `Policy` says."""
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
        """The `Backend` that `acquire` would choose, without the count; whatever takes turns moves on. All else
        as `acquire`."""
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
        """Every backend of the model as `acquire` sees it now: the next choice first, then those that would
        follow, then those that
        can't be chosen, with the reason. [] where no backend lists the model. O(backends of the model * log of it)."""
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
