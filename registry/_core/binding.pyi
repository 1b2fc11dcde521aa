from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, final

from typing_extensions import Buffer, disjoint_base

from registry._literals import BackendStatusValue, PolicyValue
from registry.backend import Backend, BackendStatus, BackendView, DiscoverySource, Model
from registry.ejection import CoreEjection
from registry.metadata import Metadata
from registry.selection import Candidate, Policy, Reason, Requirements
from registry.testing import ManualClock
from registry.watching import Change, ChangeKind

_View = TypeVar("_View", bound=ViewBase)

STATUS_ERRORS: dict[int, Callable[[str], Exception]]

def bind(
    backend: type[Backend],
    model: type[Model],
    view: type[BackendView],
    status_members: tuple[BackendStatus, ...],
    reason_members: tuple[Reason, ...],
    /,
) -> None:
    """Binds the core to the dataclasses. Called once, while the package is imported.

    `status_members` are the members of `BackendStatus` in the core's order: healthy, unhealthy,
    unknown, draining. `reason_members` are the members of `Reason`, which has the core's order.
    `view` gets a property for each public field of `backend`, which is a field with a repr. Raises
    ImportError if there are more or fewer reasons in the core. A second call raises ImportError and
    changes nothing.
    """

ADDED: int
REMOVED: int
REPLACED: int
UPDATED: int

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

def same_definition(a: Backend, b: Backend, /) -> bool:
    """Whether two `Backend`s are equal. Like `a == b`, in a tenth of the time. O(size)."""

def plain_fleet(
    items: list[Any], source: DiscoverySource | None, instance_key: str, /
) -> dict[str, Backend] | None:
    """The backends by id if none needs a closer look; otherwise None. O(backends).

    They need none if they are exact `Backend`s with distinct ids, come from `source`, which is None
    for any source, and have no `instance_key` in their metadata.
    """

def compare_fleets(
    fleet: list[Backend], wanted: list[Backend], /
) -> tuple[list[str], list[tuple[Backend | None, Backend]]]:
    """Compares each `Backend` of `wanted` with the one of `fleet` that has its id. O(size).

    Returns the ids of those that are equal, and for each other one a pair: the old one, which is
    None if there is none, and the new one. Both lists are in the order of `wanted`. Ids must be
    distinct in each argument.
    """

def with_models(definition: Backend, models: tuple[Model, ...], /) -> Backend:
    """A copy of a `Backend` with these models, which `check_models` has checked."""

def with_metadata(definition: Backend, metadata: Metadata, /) -> Backend:
    """A copy of a `Backend` with this `Metadata`."""

def longest_id(models: tuple[Model, ...], /) -> int:
    """The number of characters of the longest model id; 0 without models. O(models)."""

def new_view(
    cls: type[_View],
    definition: Backend,
    status: BackendStatus,
    last_health_check: datetime,
    last_error: str | None,
    pending_requests: int,
    total_requests: int,
    avg_latency_ms: int,
    serial: int,
    draining: bool,
    failed_requests: int,
    avg_ttft_ms: int | None,
    unavailable: Reason | None,
    unavailable_until: datetime | None,
    pending_tokens: int,
    /,
) -> _View:
    """Makes a view from arguments that `BackendView` has checked; the times are aware."""

@disjoint_base
class ViewBase:
    """The base of `BackendView`: a definition, and the state of one backend at one instant.

    A view never changes. This class has the properties for the state; `bind` adds one property
    for each public field of the definition.

    The registry keeps the objects of its views alive with a reservation. A view that was made
    in Python holds references to them instead.
    """

    @property
    def backend(self) -> Backend:
        """The `Backend` that was registered at the view's instant, with its settings. O(1).

        The settings are empty in a view that was made in Python, unpickled or read from JSON.
        """

@final
class Refusal:
    """The reasons why a request was refused: the obstacle of each backend of the model.

    The texts are created on demand, from definitions that this object keeps alive.
    """

    def __len__(self) -> int: ...
    @property
    def retry_after(self) -> float | None:
        """The seconds until the first backend may be chosen again, or None."""
    def kinds(self, /) -> dict[str, Reason]:
        """The reasons for all backends: a dict from id to `Reason`. O(backends)."""
    def first(self, count: int, /) -> dict[str, str]:
        """The reasons for the first `count` backends: a dict from id to text. O(count)."""

def check_policies(members: Iterable[str], /) -> None:
    """Raises ImportError unless the core has exactly these policies, in this order."""

def seed_random(seed: int, /) -> None:
    """Seeds the random choices of the calling thread, to make them repeatable. For tests."""

def prefix_key(text: str | Sequence[Mapping[str, object]], /, *, length: int = 1024) -> int:
    """Returns a hash of the first `length` characters of a prompt, an int from 0 to 2**64-1.

    `text` is the prompt, a str, or a sequence of chat messages: mappings with `role` and `content`.
    Prompts that begin alike have the same key. To send them to the same backend, which has their
    beginning in its cache, choose by the key:

        registry.acquire(model, policy="affinity", affinity=prefix_key(messages))

    The key is XXH64, with seed 0, of the characters in UTF-8: the same in every process and on
    every host. A prompt that is shorter than `length` counts as a whole. Not for security: who
    writes the prompts can make keys collide.

    Messages count with their roles and contents, one after the other. The byte FF stands before
    each role and FE before each content; UTF-8 has no such bytes, and they do not count toward
    `length`, which is at least 1. A content that is a list or a tuple counts with the texts of its
    parts, the mappings whose `type` is "text", joined without a separator. A content that is None
    or missing is empty. Other parts and other keys are ignored, and so is all that comes after the
    first `length` characters.

    O(length); the GIL is released for texts of at least 65,536 characters. Thread safety: shared
    objects; other threads may change the messages, and each value is read once. Raises TypeError
    for a wrong type; ValueError for a bad length, or a lone surrogate in the characters that count.
    """

def prefix_blocks(
    text_or_messages: str | Sequence[Mapping[str, object]], /, *, block_chars: int = 2048
) -> list[int]:
    """Returns a hash for each full block of `block_chars` characters of a prompt, as a list of int.

    Each is a hash of everything up to the end of its block, from 0 to 2**64-1. So two prompts have
    as many leading hashes in common as they have leading blocks in common. Whoever keeps the hashes
    of the prompts that went to a backend can tell how much of a new one it has read already.

    The prompt is a str or a sequence of chat messages, as for `prefix_key`, and so is the hash:
    `prefix_blocks(p)[n]` is `prefix_key(p, length=(n + 1) * 2048)`. A prompt that grows at its end
    keeps its hashes: text may be appended to the last content, and messages to the others.
    Characters behind the last full block have no hash, because engines cache full blocks only: a
    prompt shorter than `block_chars`, which is at least 1, gives [].

    O(characters); the GIL is released for texts of at least 65,536 characters. Thread safety:
    shared objects; other threads may change the messages, and each value is read once. Raises
    TypeError for a wrong type; ValueError for a bad block size, or a lone surrogate.
    """

def prefix_blocks_of_tokens(ids: Sequence[int] | Buffer, /, *, block_tokens: int) -> list[int]:
    """Returns a hash for each full block of `block_tokens` token ids, as a list of int.

    Like `prefix_blocks`, for callers that have tokenized the prompt. `ids` is a sequence of int
    from 0 to 2**64-1, or a one-dimensional buffer of integers, such as an `array` or a NumPy array,
    which is faster. The hash is XXH64, with seed 0, of the ids as 8 bytes each, lowest byte first;
    so the type of the sequence makes no difference. Ids behind the last full block have no hash.
    `block_tokens` is at least 1.

    O(ids); the GIL is released for buffers of at least 65,536 ids. Thread safety: shared objects;
    other threads may change the sequence, and each id is read once. Raises TypeError for a wrong
    type; ValueError for an id or a block size out of range.
    """

@final
class Lease:
    """One request in flight on one backend, from `Registry.acquire` until it is released.

    A lease is a context manager for both `with` and `async with`. Leaving the block releases it. If
    an `Exception` leaves the block, the request has failed. If another BaseException does, such as
    `CancelledError`, `GeneratorExit` or `KeyboardInterrupt`, the request was abandoned: it says
    nothing about the backend. So a time-out that is wrapped around the block counts as abandoned,
    because it reaches the block as a cancellation; put it inside, or use the HTTP client's own. If
    a lease is garbage collected before it is released, the request was abandoned, with a
    ResourceWarning.

    A lease belongs to one registration. If the backend is removed and added again, releasing an
    old lease does not change the counters of the new registration.

    Thread safety: shared objects. Any thread may release a lease, and exactly one release takes
    effect. It changes several counters one after the other; see `release`.
    """

    @property
    def backend(self) -> Backend:
        """The definition that the lease was chosen by, whatever has changed since. O(1)."""
    @property
    def model_id(self) -> str:
        """The model id that `acquire` was called with."""
    @property
    def active(self) -> bool:
        """True until the lease is released."""
    @property
    def tokens(self) -> int:
        """The tokens of this request that count on its backend; 0 once it is released. O(1)."""
    def set_tokens(self, tokens: int, /) -> bool:
        """Replaces `tokens` by the work that is left, 0 to 2**32-1, and returns True.

        It may lift the sum of the backend above `max_pending_tokens`, because that work is there
        already. After the release it returns False and changes nothing. Takes a lock for a few
        steps, O(1). Thread safety: atomic. Raises TypeError or ValueError for a bad argument.
        """
    @property
    def cached_tokens(self) -> int:
        """The tokens of the prompt that the choice assumed to be cached on the backend.

        Only LEAST_TOKENS with a prefix assumes any: for other choices 0. After a correction, that
        number. O(1).
        """
    def set_cached_tokens(self, tokens: int, /) -> bool:
        """Corrects `cached_tokens` by what the engine reports, 0 to 2**32-1, and returns True.

        The number is in `usage.prompt_tokens_details.cached_tokens` of many engines' answers: what
        the engine had before it read this prompt. Then the first `tokens` // `block_tokens` blocks
        of the request's `prefix` are the most recently used ones of the backend. If the number is
        below `cached_tokens`, the engine has lost what was assumed, and the blocks after these are
        not known any more. `tokens` of the lease stays as it is: see `set_tokens`.

        After the release it returns False and changes nothing. Takes a lock; O(blocks), with the
        GIL released for more than 256 blocks. Thread safety: atomic. Raises TypeError or ValueError
        for a bad argument, and MemoryError, after which nothing has changed.
        """
    def first_token(self, *, tokens: int = 0) -> bool:
        """Call it when the first token arrives: updates the average time to the first token.

        The first call adds the time since `acquire`, sets `tokens` to the given number, 0 to
        2**32-1, because the prompt is processed, and returns True. Later calls, and calls after the
        release, return False and change nothing. Lock-free unless the lease has or gets tokens, as
        `set_tokens`; O(1). Thread safety: atomic for the average and for the tokens, one after the
        other. Raises TypeError or ValueError for a bad argument.
        """
    def release(
        self,
        latency_ms: float | None = None,
        *,
        failed: bool = False,
        abandoned: bool = False,
        retry_after: float | None = None,
    ) -> bool:
        """Ends the request and returns True. A second call returns False and changes nothing.

        The request has succeeded unless one of the other arguments is given. Then it first updates
        the average latency with the sample `latency_ms`, in milliseconds, 0 to 2**32-1. A float is
        rounded to the nearest int, halves to even. The default is the time since `acquire`.

        `failed`: the request has failed. This counts toward ejection, without a sample.
        `abandoned`: the client went away, which says nothing about the backend; no sample.
        `retry_after`: the server asks to be left alone for so many seconds, an int or a float from
        0 to 86,400. The backend cools down for that long. It counts as failed, but not toward
        ejection, with no sample; `failed` changes nothing then.

        In every case it adds 1 to the total, and then subtracts 1 from the requests in flight. If
        that leaves 0, it wakes whoever waits in `Registry.wait_idle` or `Registry.idle`. A release
        that ejects, restores or cools down a backend does so before the request leaves the count.
        Without memory for that, the release succeeds all the same and the backend stays as it is:
        the next such request ejects or restores it, but a cool-down is lost.

        A success takes no lock, except that ending a wait and restoring a backend do; other
        outcomes may wait for writers. O(1), plus the waiters. Thread safety: shared objects; each
        of the counts is atomic. Raises TypeError or ValueError for a bad argument, also for
        `abandoned` with `failed` or with `retry_after`. The request is then released all the same,
        as abandoned, so no count stays behind.
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

def bind_changes(change: type[Change], kinds: tuple[ChangeKind, ...], /) -> None:
    """Binds the core to `Change`. Called once, while the package is imported.

    `kinds` are the members of `ChangeKind` in the core's order. Raises ImportError if there are
    more or fewer kinds in the core, or in a second call.
    """

@disjoint_base
class Waiter:
    """A thread or a task that sleeps. `wake` is called without arguments to end its sleep.

    Any thread may call it, also inside a garbage collection. It must not block. It is called again
    if a signal's handler interrupts it. It returns False if there is nobody to wake any more. A
    waiter serves for one wait. While it is in a list of the core, the core has a reference to it.
    """

    def __new__(cls, wake: Callable[[], object], /) -> Self: ...

@final
class WatchWaiter(Waiter):
    """Someone who waits until a watch has a change. It is woken once at most, by a writer."""

@final
class PlaceWaiter(Waiter):
    """One call that waits until a backend qualifies.

    Call `enter`, and as long as it returns None, sleep and call `look`. In the end, and at any time
    before, call `end`. The thread that makes room chooses a backend for it and calls `wake`.
    """

    def __new__(
        cls,
        wake: Callable[[], object],
        /,
        registry: RegistryCore,
        model_id: str,
        priority: int,
        *given: object,
    ) -> Self: ...
    def try_now(self) -> Lease | None:
        """The lease, or None if no place is free for it, or if others wait."""
    def enter(self, may_wait: bool, /) -> Lease | None:
        """The lease, or None: it waits. Raises NoBackendAvailableError."""
    def look(self, is_last: bool, /) -> Lease | PlaceWaiter | None:
        """The lease, or None: it still waits. Raises NoBackendAvailableError.

        Or another waiter for the same call, which has to enter. `is_last`: it must not wait longer.
        """
    @property
    def look_after(self) -> float | None:
        """The seconds after which `look` must be called, or None. Valid while it waits."""
    def end(self) -> None:
        """Ends the wait. A place that was not taken goes to the next."""

@disjoint_base
class WatchCore:
    """The base of `registry.Watch`: its primitives in C."""

    def __new__(cls, registry: RegistryCore, limit: int, /) -> Self: ...
    @property
    def snapshot(self) -> tuple[BackendView, ...]:
        """The views of all backends, in registration order, when the watch was opened.

        After an OVERFLOWED, the fleet as of the version of that item. O(1).
        """
    @property
    def closed(self) -> bool:
        """Whether the watch is closed. O(1)."""
    def close(self) -> None:
        """Ends the watch, and wakes everyone who waits for a change. Unread changes are dropped.

        A second call does nothing. Waits for writers; O(unread changes). Thread safety: atomic.
        """
    def _take(self, /) -> Change | None:
        """The next `Change`, or None if nothing is unread or the watch is closed."""
    def _listen(self, waiter: WatchWaiter, /) -> bool:
        """Lists a new waiter and returns True; or returns False if it is worth looking again."""
    def _forget(self, waiter: WatchWaiter, /) -> None:
        """Ends the wait of a waiter that `_listen` has listed, unless it is being woken."""

@final
class IdleWaiter(Waiter):
    """One call that waits until nothing is in flight on a registration."""

    def end(self) -> bool:
        """Ends the wait. Returns whether the number was 0 at an instant of the wait."""

@disjoint_base
class ClockCore:
    """The base of `registry.testing.ManualClock`: a clock of the core that is moved by hand."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def _advance(self, nanoseconds: int, latest: int, /) -> None: ...
    def _read(self, /) -> int: ...

@disjoint_base
class RegistryCore:
    """The base of `registry.Registry`: its methods in C."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def _configure(
        self,
        ejection: CoreEjection | None,
        latency_ttl: int | None,
        clock: ManualClock | None,
        affinity_load: float,
        affinity_floor: float,
        block_tokens: int,
        prefix_blocks: int,
        max_waiting: int | None,
        /,
    ) -> None: ...
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
        """Views of the HEALTHY backends that are not draining, in registration order.

        As of one instant. Counters are read one by one. Never blocks; O(backends), with the GIL
        released. Thread safety: atomic.
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
    def models(self) -> list[str]:
        """The distinct model ids, in the order in which they were first served.

        A model that no backend has served for a while comes at the end when it is served again. As
        of one instant. Waits for writers; O(n log n) for n models, with the GIL released. Thread
        safety: atomic.
        """
    def __bool__(self) -> Literal[True]: ...
    def __len__(self) -> int: ...
    def __contains__(self, backend_id: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def update_status(
        self,
        backend_id: str,
        /,
        status: BackendStatus | BackendStatusValue,
        error: str | None = None,
        *,
        serial: int | None = None,
    ) -> None:
        """Sets a backend's status and last error, and sets the time of its last check to now.

        `status` is a `BackendStatus` or its value; HEALTHY always clears the error. The clock is
        read before the call waits for other writers. So of two concurrent updates, the one that
        takes effect last may have the earlier time. A status neither ejects a backend nor restores
        it; a change from UNHEALTHY to HEALTHY begins a slow start, see `Ejection`. With `serial`,
        it acts on that registration only: a probe of an old server can't mark a new one. Raises
        `BackendNotFoundError`; `ValueError`, which lists the choices, for an unknown status.
        Expected O(1). Waits for other writers. Thread safety: atomic.
        """
    def increment_pending(self, backend_id: str, /) -> int:
        """Adds 1 to the requests in flight of a backend. Returns the new value.

        Never blocks; expected O(1). Thread safety: atomic. Raises BackendNotFoundError; TypeError
        if the id is not a str; OverflowError at the limit, 2**32-1; then the counter does not
        change.
        """
    def decrement_pending(self, backend_id: str, /) -> int:
        """Subtracts 1 from the requests in flight of a backend. Returns the new value.

        If the counter is 0, it stays 0 and a warning is logged. If it becomes 0, the calls of
        `wait_idle` and `idle` that wait for it end. Never blocks, except that ending a wait takes a
        lock for a few steps; expected O(1), plus the waiters. Thread safety: atomic. Raises
        BackendNotFoundError; TypeError if the id is not a str.
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
        only: Iterable[str] | None = None,
        allow_unknown: bool = False,
        affinity: str | bytes | int | None = None,
        tokens: int = 0,
        prefix: Sequence[int] | Buffer | None = None,
    ) -> Lease:
        """Chooses a backend for a model and counts one request in flight on it, in one atomic step.

        Returns the `Lease`. A backend qualifies if it serves the model, its status is HEALTHY (or
        UNKNOWN, with `allow_unknown`), it is not draining, cooling down or ejected, it has fewer
        than `max_pending` requests in flight, its id is not in `exclude` and, unless `only` is
        None, is in `only`, and its entry for the model meets `require`, a `Requirements`. Both are
        iterables of ids, which may be unknown. `policy`, a `Policy` or its value, chooses among
        those. `affinity` is the key of AFFINITY, needed for that policy and for no other: a str,
        bytes, or an int from -2**63 to 2**64-1. A backend whose ejection is over gets one request
        at a time, as a trial; see `Ejection`.

        `tokens` is the work that the request puts in front of others, 0 to 2**32-1: the tokens of
        its prompt, and those of the expected output if they are to count. They count on the chosen
        backend from the same step on: see `Lease.tokens`. A backend with `max_pending_tokens` has
        room if its sum and `tokens` do not exceed it. A request that is bigger than the limit has
        room where nothing is in flight, or it would wait for ever.

        `prefix` has a hash for each block of the prompt, of everything up to the end of the block,
        as `prefix_blocks` returns them: a sequence of ints from -2**63 to 2**64-1, taken modulo
        2**64, or a one-dimensional buffer of integers. The choice notes them on the chosen backend,
        for this model: its engine will have them when the next request comes. Of each backend and
        model the registry's `prefix_blocks` most recently used blocks are known. LEAST_TOKENS with
        a prefix counts only the tokens that the backend does not have yet, max(`tokens` - cached,
        1), in the comparison, in the sum and in the lease. There, cached is `block_tokens` times
        the number of leading blocks that are known: see `Lease.cached_tokens`. What is known is
        looked up once for each backend, during the choice. Other policies only note the blocks.

        Raises NoBackendAvailableError if no backend qualifies, with the reason for each, as of one
        instant; TypeError or ValueError for a bad argument.

        Lock-free. If other threads disturb many attempts, a last attempt holds the writer lock and
        decides after one pass over the backends. It chooses the best backend that this pass saw. If
        it refuses the request, each backend that it reports as full was full when the pass read it.
        ROUND_ROBIN takes the registry's turns lock, which only ROUND_ROBIN and `stats` use. Noting
        a prefix takes a lock, for O(blocks). For the cost see `Policy`; a long choice releases the
        GIL. With `only`, the cost is O(ids * models of each backend), whatever the number of the
        model's backends, except for ROUND_ROBIN and for a refusal. Thread safety: atomic.
        """
    def select(
        self,
        model_id: str,
        /,
        *,
        policy: Policy | PolicyValue = Policy.LEAST_PENDING,
        require: Requirements | None = None,
        exclude: Iterable[str] = (),
        only: Iterable[str] | None = None,
        allow_unknown: bool = False,
        affinity: str | bytes | int | None = None,
        tokens: int = 0,
        prefix: Sequence[int] | Buffer | None = None,
    ) -> Backend:
        """Returns the `Backend` that `acquire` would choose, but counts no request.

        Turns and ties advance as with `acquire`, but no blocks are noted. Arguments, errors, cost
        and thread safety are those of `acquire`; the GIL is always released.
        """
    def explain(
        self,
        model_id: str,
        /,
        *,
        policy: Policy | PolicyValue = Policy.LEAST_PENDING,
        require: Requirements | None = None,
        exclude: Iterable[str] = (),
        only: Iterable[str] | None = None,
        allow_unknown: bool = False,
        affinity: str | bytes | int | None = None,
        tokens: int = 0,
        prefix: Sequence[int] | Buffer | None = None,
    ) -> list[Candidate]:
        """Returns how `acquire` would rank the backends of a model now, as a list of `Candidate`.

        First come the backends that qualify, in the order in which they would be chosen; then the
        others, with the reason. [] if no backend lists the model. Nothing is chosen or counted.

        As of one instant; counters are read one by one. ROUND_ROBIN takes the registry's turns
        lock. O(n log n) for n backends of the model, with the GIL released. Thread safety: atomic.
        Raises TypeError or ValueError for a bad argument.
        """
    def waiting(self, model_id: str, /) -> int:
        """How many calls of `acquire_wait` and `acquire_async` wait for a backend of a model.

        0 for an unknown model. If anybody waits, it takes the line's lock; O(models that are waited
        for), with the GIL released. Thread safety: atomic. Raises TypeError if the id is not a str.
        """
    def _add(self, definition: Backend, url: str, instance: str | None, /) -> None: ...
    def _read(self, backend_id: str, /) -> tuple[Backend, int]: ...
    def _redefine(
        self, expected: Backend, serial: int, definition: Backend, instance: str | None, /
    ) -> bool: ...
    def _replace(
        self,
        expected: Backend,
        serial: int,
        definition: Backend,
        url: str,
        instance: str | None,
        /,
    ) -> bool: ...
    def _fleet(self) -> tuple[int, list[Backend]]: ...
    def _apply(
        self, changes: list[tuple[int, Backend | str, str | None, str | None]], fleet: int, /
    ) -> bool: ...
    def _remove(self, backend_id: str, serial: int | None, /) -> BackendView: ...
    def _set_draining(self, backend_id: str, serial: int | None, draining: bool, /) -> None: ...
    def _cool_down(self, backend_id: str, serial: int | None, nanoseconds: int, /) -> None: ...
    def _restore(self, backend_id: str, serial: int | None, /) -> None: ...
    def _has_url(self, url: str, /) -> bool: ...
    def _wait(self, backend_id: str, serial: int | None, waiter: IdleWaiter | None, /) -> bool: ...
    def _stats(self, /) -> tuple[int, int, int, int, int, int, int, int]: ...
