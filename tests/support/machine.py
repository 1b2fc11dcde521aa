"""A state machine for Hypothesis: makes the same calls on registry and oracle, and compares."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry import (
    Backend,
    BackendStatus,
    BackendView,
    DiscoverySource,
    Ejection,
    Lease,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
    Requirements,
)
from registry._core.binding import seed_random
from registry.testing import ManualClock
from support.oracle import Entry, OracleRegistry, Request
from support.oracle_failures import Outcome, Ticket, nanoseconds

IDS = st.sampled_from(["h0", "h1", "h2", "ü", "d\0", "d"])
MODEL_IDS = st.sampled_from(["m1", "m2", "m3", "m4"])
MODELS = st.builds(
    Model, MODEL_IDS, context_length=st.sampled_from([4096, 8192]), supports_tools=st.booleans()
)
MODEL_LISTS = st.lists(MODELS, max_size=3, unique_by=lambda model: model.id)
INSTANCES = st.sampled_from(["i1", "i2", ""]) | st.none()
URLS = st.sampled_from(["http://h1", "HTTP://H1:80/", "http://h2:8000", "https://h1"])
LIMITS = st.fixed_dictionaries(
    {
        "priority": st.integers(-2, 2),
        "max_pending": st.none() | st.integers(1, 3),
        "weight": st.integers(1, 4),
    }
)
REQUIREMENTS = st.none() | st.builds(
    Requirements,
    tools=st.booleans(),
    vision=st.just(False),
    min_context=st.sampled_from([0, 4096, 5000]),
)
REQUESTS = st.builds(
    Request,
    st.sampled_from(["m1", "m1", "m2", "m3"]),
    st.sampled_from(Policy),
    st.none() | REQUIREMENTS,
    st.just(()) | st.lists(IDS, max_size=2),
    st.none() | st.none() | st.lists(IDS, max_size=3),
    allow_unknown=st.booleans(),
    affinity=st.sampled_from(["a", b"b", -1, 2**64 - 2]),
)
# Requests that fail or succeed on backends of the same model.
SIMPLE_REQUESTS = st.builds(
    Request,
    st.just("m1"),
    st.sampled_from(Policy),
    exclude=st.just(()) | st.just(("h1",)),
    only=st.none() | st.just(("h0", "h2")),
)
HEALTH = [BackendStatus.HEALTHY, BackendStatus.HEALTHY, BackendStatus.UNHEALTHY]
SOURCES = st.sampled_from([DiscoverySource.STATIC, DiscoverySource.STATIC, DiscoverySource.MDNS])
# Which registration the argument `serial` names: see `RegistryMachine.serial_of`.
WHICH = st.sampled_from([None, "own", "other"])


def definition(
    id: str,
    models: list[Model],
    url: str,
    instance: str | None,
    limits: dict[str, Any],
    source: DiscoverySource = DiscoverySource.STATIC,
) -> Backend:
    """A backend with this mDNS instance."""
    metadata = {} if instance is None else {"mdns_instance": instance}
    return Backend(id, id, url, models=models, metadata=metadata, discovery_source=source, **limits)


# Parts of a definition that a reconcile changes.
CHANGES = {
    "name": st.sampled_from(["x", "y"]),
    "models": MODEL_LISTS,
    "url": URLS,
    "metadata": st.sampled_from([{}, {"mdns_instance": "i1"}, {"zone": "eu"}]),
    "weight": st.integers(1, 4),
    "max_pending": st.none() | st.integers(1, 3),
    "priority": st.integers(-2, 2),
}
DEFINITIONS = st.builds(definition, IDS, MODEL_LISTS, URLS, INSTANCES, LIMITS, SOURCES)
AT_RANDOM = (Policy.RANDOM, Policy.POWER_OF_TWO)
SAMPLES = st.sampled_from([0, 1, 7, 1000, 2**30, 2**32 - 1])

# Times that a few steps reach, so that deadlines are met exactly, and passed.
SMALL = Ejection(
    consecutive_failures=2,
    failure_rate=0.5,
    min_requests=4,
    window_s=4,
    base_s=2,
    max_s=6,
    trials=1,
    slow_start_s=8,
    panic=0.0,
)
RULES = [
    SMALL,
    replace(SMALL, trials=2, panic=None),
    replace(SMALL, panic=0.5, slow_start_s=0),
    replace(SMALL, consecutive_failures=None, min_requests=3),
    replace(SMALL, failure_rate=None, slow_start_s=3, panic=1),
    None,
]
TTLS = [4.0, None]
# Sums of these reach the caps and pass them.
TOKENS = st.sampled_from([0, 1, 3, 5, 11, 2**32 - 1])
# Beginnings of a few prompts. They have more blocks than a backend is known to have.
BLOCK_TOKENS, PREFIX_BLOCKS = 2, 3
PROMPTS = [[1, 2, 3, 4, 5], [1, 2, -1, 0], [2**64 - 1, 3], [7]]
PREFIXES = st.sampled_from(PROMPTS) | st.builds(
    lambda prompt, length: prompt[:length], st.sampled_from(PROMPTS), st.integers(0, 5)
)
# Most of them by the policy that reads prefixes.
PROMPT_REQUESTS = st.builds(
    Request,
    st.sampled_from(["m1", "m1", "m2"]),
    st.just(Policy.LEAST_TOKENS) | st.sampled_from(Policy),
    exclude=st.just(()) | st.just(("h1",)),
    only=st.none() | st.just(("h0", "h2")),
    tokens=TOKENS,
    prefix=PREFIXES,
)
SPANS = st.sampled_from([0, 0.5, 1, 2, 3, 4.25, 8])
OUTCOMES: list[Outcome] = ["succeeded", "succeeded", "failed", "failed", "asked", "abandoned"]
ENDS = st.sampled_from(OUTCOMES)

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def refusal(choose: Callable[[], Any]) -> NoBackendAvailableError:
    """The error that a choice raises."""
    try:
        chosen = choose()
    except NoBackendAvailableError as error:
        return error
    raise AssertionError(f"a choice that must fail chose {chosen}")


@dataclass
class Held:
    """A lease, and what the oracle knows of it."""

    lease: Lease
    entry: Entry
    ticket: Ticket
    tokens: int
    request: Request
    cached: int
    model: tuple[str, int]
    has_token: bool = False


def deadlines(entry: Entry, rules: Ejection | None, ttl: float | None) -> list[int]:
    """When something of this registration ends, in nanoseconds. Some of it may be over."""
    ends = [entry.cooling_until, entry.ejected_until]
    if ttl is not None:
        ends.append(entry.sampled_at + nanoseconds(ttl))
    if rules is not None and entry.slow_from is not None:
        ends.append(entry.slow_from + nanoseconds(rules.slow_start_s))
    if rules is not None and entry.restored_at is not None:
        ends.append(entry.restored_at + nanoseconds(rules.max_s))
    if rules is not None and entry.window_from is not None:
        ends.append(entry.window_from + 2 * nanoseconds(rules.window_s))
    return ends


def time_of_day(clock: ManualClock) -> datetime:
    """When the clock showed 0. Views tell it, and they promise whole microseconds."""
    registry = Registry(clock=clock)
    registry.add_backend(Backend("a", "a", "http://a"))
    registry.cool_down("a", 1)
    view = registry.get_backend("a")
    assert view is not None
    assert view.unavailable_until is not None
    return view.unavailable_until - timedelta(seconds=clock.now + 1)


def comparable(result: Any) -> Any:
    """The result without check times, which both sides take from the clock, and without serials.

    Only the order of serials is promised: `RegistryMachine.learn_serials` checks it.
    """
    if isinstance(result, BackendView):
        assert abs((datetime.now(UTC) - result.last_health_check).total_seconds()) < 3600
        return replace(result, last_health_check=EPOCH, serial=0)
    return [comparable(item) for item in result] if isinstance(result, list) else result


class RegistryMachine(RuleBasedStateMachine):
    """Rules for every operation. `steps` counts the comparisons of whole states."""

    steps = 0

    def make(self, **settings: Any) -> Registry:
        """The registry to compare."""
        return Registry(**settings)

    def make_oracle(self, *settings: Any) -> OracleRegistry:
        """The contract to compare it with."""
        return OracleRegistry(*settings)

    @initialize(
        limits=st.lists(LIMITS, max_size=4),
        rules=st.sampled_from(RULES),
        latency_ttl_s=st.sampled_from(TTLS),
    )
    def start(
        self,
        limits: list[dict[str, Any]] = [],  # noqa: B006
        rules: Ejection | None = SMALL,
        latency_ttl_s: float | None = TTLS[0],
    ) -> None:
        """Starts with a few healthy backends."""
        self.clock = ManualClock()
        self.real = self.make(
            ejection=rules,
            latency_ttl_s=latency_ttl_s,
            clock=self.clock,
            block_tokens=BLOCK_TOKENS,
            prefix_blocks=PREFIX_BLOCKS,
        )
        self.oracle = self.make_oracle(
            rules, lambda: self.clock.now, latency_ttl_s, time_of_day(self.clock)
        )
        self.oracle.block_tokens, self.oracle.prefix_blocks = BLOCK_TOKENS, PREFIX_BLOCKS
        self.leases: list[Held] = []
        self.serials: dict[int, int] = {}  # The real serial of each serial of the oracle.
        seed_random(1)  # Random choices must repeat when Hypothesis runs a case again.
        logging.getLogger("registry").setLevel(logging.ERROR)
        for number, given in enumerate(limits):
            self.add(
                f"h{number}",
                [Model("m1"), Model("m2", supports_tools=True)],
                f"http://h{number}",
                None,
                given,
            )
            self.update_status(f"h{number}", BackendStatus.HEALTHY, None)

    def teardown(self) -> None:
        for held in getattr(self, "leases", ()):
            held.lease.release()
        logging.getLogger("registry").setLevel(logging.NOTSET)

    def both(
        self,
        operation: str,
        *arguments: Any,
        serials: tuple[int | None, int | None] = (None, None),
        **named: Any,
    ) -> None:
        """Makes the same call on both: results are equal, or errors are of the same kind.

        `serials` are the oracle's and the real serial of one registration.
        """
        theirs, ours = ({**named, "serial": one} if one else named for one in serials)

        def outcome(call: Callable[..., Any], named: dict[str, Any]) -> Any:
            try:
                return comparable(call(*arguments, **named))
            except Exception as error:
                return next(
                    kind
                    for kind in (LookupError, OverflowError, ValueError)
                    if isinstance(error, kind)
                )

        real, oracle = getattr(self.real, operation), getattr(self.oracle, operation)
        assert outcome(real, ours) == outcome(oracle, theirs)

    def learn_serials(self) -> None:
        """Both agree on which registrations are the same, and later ones have greater serials."""
        latest = max(self.serials.values(), default=0)
        views = self.real.get_all_backends()
        assert [view.id for view in views] == list(self.oracle)
        for view, entry in zip(views, self.oracle.entries.values(), strict=True):
            if entry.serial not in self.serials:
                assert latest < view.serial < 2**64
                assert view.serial not in self.serials.values()
            assert self.serials.setdefault(entry.serial, view.serial) == view.serial

    def serial_of(self, id: str, which: str | None) -> tuple[int | None, int | None]:
        """Oracle's and real serial of the id's registration ("own"), or of some other one."""
        if which is None:
            return None, None
        self.learn_serials()
        entry = self.oracle.entries.get(id)
        own = 0 if entry is None else entry.serial
        others = [serial for serial in self.serials if serial != own]
        serial = own if own and which == "own" else max(others, default=2**64 - 1)
        return serial, self.serials.get(serial, serial)

    @rule(id=IDS, models=MODEL_LISTS, url=URLS, instance=INSTANCES, limits=LIMITS)
    def add(
        self, id: str, models: list[Model], url: str, instance: str | None, limits: dict[str, Any]
    ) -> None:
        self.both("add_backend", definition(id, models, url, instance, limits))

    @rule(backend=DEFINITIONS)
    def update_backend(self, backend: Backend) -> None:
        self.both("update_backend", backend)

    @precondition(lambda self: self.oracle.entries)
    @rule(place=st.integers(0, 5), changes=st.fixed_dictionaries({}, optional=CHANGES))
    def edit(self, place: int, changes: dict[str, Any]) -> None:
        """Updates parts of a definition."""
        entries = list(self.oracle.entries.values())
        self.both("update_backend", replace(entries[place % len(entries)].backend, **changes))

    @rule(backends=st.lists(DEFINITIONS, max_size=5), source=st.none() | SOURCES)
    def reconcile(self, backends: list[Backend], source: DiscoverySource | None) -> None:
        self.both("reconcile", backends, source=source)

    @rule(
        changes=st.lists(st.fixed_dictionaries({}, optional=CHANGES), max_size=6),
        kept=st.integers(1, 2**6 - 1),
        source=st.none() | SOURCES,
    )
    def reload(
        self, changes: list[dict[str, Any]], kept: int, source: DiscoverySource | None
    ) -> None:
        """A reconcile as after an edit: some backends are changed, some are not in the list."""
        wanted = [
            replace(entry.backend, **(changes[place] if place < len(changes) else {}))
            for place, entry in enumerate(self.oracle.entries.values())
            if source in (None, entry.backend.discovery_source) and kept >> place & 1
        ]
        self.both("reconcile", wanted[::-1] if kept % 3 == 0 else wanted, source=source)

    @rule(id=IDS, which=WHICH)
    def remove(self, id: str, which: str | None = None) -> None:
        self.both("remove_backend", id, serials=self.serial_of(id, which))

    @rule(
        id=IDS,
        status=st.sampled_from(BackendStatus),
        error=st.sampled_from([None, "boom", "ü"]),
        which=WHICH,
    )
    def update_status(
        self, id: str, status: BackendStatus, error: str | None, which: str | None = None
    ) -> None:
        self.both("update_status", id, status, error, serials=self.serial_of(id, which))

    @rule(id=IDS, which=WHICH, operation=st.sampled_from(["drain", "drain", "resume"]))
    def drain(self, id: str, which: str | None, operation: str) -> None:
        self.both(operation, id, serials=self.serial_of(id, which))

    @rule(id=IDS, seconds=SPANS, which=WHICH)
    def cool_down(self, id: str, seconds: float, which: str | None) -> None:
        self.both("cool_down", id, seconds, serials=self.serial_of(id, which))

    @rule(id=IDS, which=WHICH)
    def restore(self, id: str, which: str | None = None) -> None:
        self.both("restore", id, serials=self.serial_of(id, which))

    @rule(seconds=SPANS)
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(place=st.integers(0, 20), off_by=st.sampled_from([0, 0, -1, 1]))
    def advance_to_a_deadline(self, place: int, off_by: int) -> None:
        """Moves the clock to the end of something, or a nanosecond before or after it."""
        now, rules, ttl = self.oracle.now(), self.oracle.rules, self.oracle.latency_ttl_s
        ends = [time for e in self.oracle.entries.values() for time in deadlines(e, rules, ttl)]
        ahead = sorted({end + off_by for end in ends if end + off_by > now})
        if ahead:
            self.clock.advance((ahead[place % len(ahead)] - now) / 1e9)

    @rule(id=IDS, models=MODEL_LISTS)
    def update_models(self, id: str, models: list[Model]) -> None:
        self.both("update_models", id, models)

    @rule(id=IDS, model=MODELS)
    def add_model(self, id: str, model: Model) -> None:
        self.both("add_model", id, model)

    @rule(id=IDS, model_id=MODEL_IDS)
    def remove_model(self, id: str, model_id: str) -> None:
        self.both("remove_model", id, model_id)

    @rule(
        id=IDS,
        operation=st.sampled_from(
            ["increment_pending", "decrement_pending", "increment_total_requests"]
        ),
    )
    def count(self, id: str, operation: str) -> None:
        self.both(operation, id)

    @rule(id=IDS, sample=SAMPLES)
    def update_latency(self, id: str, sample: int) -> None:
        self.both("update_latency", id, sample)

    @rule(
        ids=st.lists(IDS, max_size=4),
        operation=st.sampled_from(["increment_pending_many", "decrement_pending_many"]),
    )
    def count_many(self, ids: list[str], operation: str) -> None:
        self.both(operation, ids)

    @rule(pairs=st.lists(st.tuples(IDS, SAMPLES), max_size=4))
    def update_latency_many(self, pairs: list[tuple[str, int]]) -> None:
        self.both("update_latency_many", [pair[0] for pair in pairs], [pair[1] for pair in pairs])

    @rule(id=IDS, instance=INSTANCES)
    def set_mdns_instance(self, id: str, instance: str | None) -> None:
        self.both("set_mdns_instance", id, instance)

    def chosen_by(self, request: Request, choose: Callable[..., Any]) -> Any:
        """Makes a choice that the oracle allows and `explain` ranks first.

        Returns None if the oracle and the registry both find no backend available.
        """
        candidates = self.real.explain(request.model_id, **request.arguments())
        allowed = self.oracle.choices(request)
        if not allowed:
            error = refusal(lambda: choose(request.model_id, **request.arguments()))
            self.oracle.note_refusal(request)
            reasons = {entry.backend.id: reason for entry, reason in self.oracle.listed(request)}
            kinds = {entry.backend.id: kind for entry, kind in self.oracle.kinds(request)}
            assert (error.reasons, error.unknown_model) == (reasons, not reasons)
            assert error.retry_after == self.oracle.retry_after(request)
            assert error.kinds == kinds
            assert {c.backend_id: c.reason for c in candidates} == reasons
            return None
        try:
            result = choose(request.model_id, **request.arguments())
        except NoBackendAvailableError as error:
            raise AssertionError(f"refused, although {allowed} may be chosen") from error
        chosen = result.id if isinstance(result, Backend) else result.backend.id
        assert chosen in allowed
        assert request.policy in AT_RANDOM or candidates[0].backend_id == chosen
        return result

    @rule(request=REQUESTS)
    def acquire(self, request: Request) -> None:
        taken: list[Lease] = []

        def take(model_id: str, **arguments: Any) -> Lease:
            taken.append(self.real.acquire(model_id, **arguments))
            return taken[0]

        try:
            lease = self.chosen_by(request, take)
            if lease is not None:
                self.leases.append(self.begun(lease, request))
        except BaseException:
            for one in taken:
                one.release()
            raise

    def begun(self, lease: Lease, request: Request) -> Held:
        """Tells the oracle of a lease."""
        chosen = self.oracle.entries[lease.backend.id]
        tokens, cached = self.oracle.added(chosen, request), self.oracle.cached(chosen, request)
        if request.prefix is not None:
            assert (lease.tokens, lease.cached_tokens) == (tokens, cached)
        entry, ticket = self.oracle.begin_lease(request, lease.backend.id)
        model = self.oracle.model_key(request.model_id)
        return Held(lease, entry, ticket, tokens, request, cached, model)

    @rule(request=REQUESTS)
    def select(self, request: Request) -> None:
        backend = self.chosen_by(request, self.real.select)
        if backend is not None:
            assert self.oracle.note_choice(request, backend.id).backend == backend

    @precondition(lambda self: self.leases)
    @rule(
        place=st.integers(0, 100), latency_ms=st.none() | SAMPLES, outcome=ENDS, retry_after=SPANS
    )
    def release(
        self, place: int, latency_ms: int | None, outcome: Outcome, retry_after: float
    ) -> None:
        held = self.leases.pop(place % len(self.leases))
        ways: dict[Outcome, dict[str, Any]] = {
            "succeeded": {},
            "failed": {"failed": True},
            "asked": {"retry_after": retry_after},
            "abandoned": {"abandoned": True},
        }
        assert held.lease.active
        assert held.lease.tokens == held.tokens
        assert held.lease.release(latency_ms, **ways[outcome])
        self.oracle.release(held.entry, held.ticket, outcome, latency_ms, retry_after, held.tokens)
        assert not held.lease.active
        assert not held.lease.release(latency_ms)
        assert not held.lease.first_token()
        assert not held.lease.set_tokens(5)
        assert held.lease.tokens == 0
        if held.request.prefix is not None:
            assert not held.lease.set_cached_tokens(5)
            assert held.lease.cached_tokens == held.cached

    @rule(request=REQUESTS, outcomes=st.lists(ENDS, min_size=1, max_size=4))
    def requests(self, request: Request, outcomes: list[Outcome]) -> None:
        """Makes a few requests that end at once."""
        for outcome in outcomes:
            before = len(self.leases)
            self.acquire(request)
            if len(self.leases) > before:
                self.release(before, None, outcome, 1)

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 100))
    def lose(self, place: int) -> None:
        """A lease is collected unreleased."""
        held = self.leases.pop(place % len(self.leases))
        entry, ticket, tokens = held.entry, held.ticket, held.tokens
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del held
        self.oracle.release(entry, ticket, "abandoned", tokens=tokens)

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 100))
    def first_token(self, place: int, tokens: int = 0) -> None:
        held = self.leases[place % len(self.leases)]
        assert held.lease.first_token(tokens=tokens) != held.has_token
        if not held.has_token:
            self.oracle.add_token(held.entry, held.ticket)
            held.entry.replace_tokens(held.tokens, tokens)
            held.tokens, held.has_token = tokens, True

    @rule(request=REQUESTS)
    def explain(self, request: Request) -> None:
        candidates = self.real.explain(request.model_id, **request.arguments())
        known = {entry.backend.id: (entry, reason) for entry, reason in self.oracle.listed(request)}
        kinds = {entry.backend.id: kind for entry, kind in self.oracle.kinds(request)}
        ranks = [c.rank for c in candidates if c.rank is not None]
        assert ranks == list(range(1, 1 + len(ranks)))
        assert all(c.rank is None for c in candidates[len(ranks) :])
        assert sorted(known) == sorted(c.backend_id for c in candidates)
        for c in candidates:
            entry, reason = known[c.backend_id]
            assert c.kind == kinds[c.backend_id]
            expected = (
                reason,
                entry.pending,
                entry.average or 0,
                entry.backend.weight,
                entry.backend.priority,
            )
            assert (
                c.reason,
                c.pending_requests,
                c.avg_latency_ms,
                c.weight,
                c.priority,
            ) == expected
        if request.policy not in AT_RANDOM:
            costs: list[Any] = [
                self.oracle.cost(known[c.backend_id][0], request)
                for c in candidates
                if c.rank is not None
            ]
            assert costs == sorted(costs)

    @precondition(lambda self: hasattr(self, "real"))
    @invariant()
    def same_state(self) -> None:
        RegistryMachine.steps += 1
        self.learn_serials()
        models = self.real.models()
        assert sorted(models) == sorted(self.oracle.served)
        since = [self.oracle.served[model_id] for model_id in models]
        assert since == sorted(since)
        for query in ("get_all_backends", "get_healthy_backends", "backend_count", "model_count"):
            self.both(query)
        for model_id in ("m1", "m2", "m3", "m4", "m5"):
            self.both("get_backends_for_model", model_id)
        for url in ("http://h1/", "http://h2:8000", "https://H1:443", "http://h2", "nonsense"):
            self.both("has_backend_url", url)
        for instance in ("i1", "i2", "i3"):
            self.both("find_by_mdns_instance", instance)
        assert list(self.real) == list(self.oracle)
        assert len(self.real) == len(self.oracle)
        for id, entry in self.oracle.entries.items():
            view = self.real.get_backend(id)
            assert view is not None
            assert (view.serial, view.backend) == (self.serials[entry.serial], entry.backend)
        assert all(
            (id in self.real) == (id in self.oracle) for id in ("h0", "h1", "ü", "d", "d\0", "z")
        )


class FailuresMachine(RegistryMachine):
    """A fleet that changes little, so that its requests have time to fail, and to recover."""

    @initialize(
        limits=st.lists(LIMITS, min_size=1, max_size=3),
        rules=st.sampled_from(RULES[:-1]),
        latency_ttl_s=st.sampled_from(TTLS),
    )
    def start(
        self,
        limits: list[dict[str, Any]] = [{}],  # noqa: B006
        rules: Ejection | None = SMALL,
        latency_ttl_s: float | None = TTLS[0],
    ) -> None:
        super().start([{**one, "max_pending": None} for one in limits], rules, latency_ttl_s)

    @rule(request=SIMPLE_REQUESTS, outcomes=st.lists(ENDS, min_size=1, max_size=4))
    def more_requests(self, request: Request, outcomes: list[Outcome]) -> None:
        self.requests(request, outcomes)

    @rule(request=SIMPLE_REQUESTS)
    def keep_one(self, request: Request) -> None:
        self.acquire(request)

    @rule(id=st.sampled_from(["h0", "h1"]), status=st.sampled_from(HEALTH))
    def turn(self, id: str, status: BackendStatus) -> None:
        self.update_status(id, status, None)


class TokensMachine(RegistryMachine):
    """A fleet whose requests have tokens, and whose backends cap them."""

    @rule(request=REQUESTS, tokens=TOKENS)
    def acquire_work(self, request: Request, tokens: int) -> None:
        self.acquire(replace(request, tokens=tokens))

    @rule(request=SIMPLE_REQUESTS, tokens=TOKENS)
    def acquire_simple_work(self, request: Request, tokens: int) -> None:
        self.acquire(replace(request, tokens=tokens))

    @rule(request=REQUESTS, tokens=TOKENS)
    def select_for_work(self, request: Request, tokens: int) -> None:
        self.select(replace(request, tokens=tokens))

    @rule(request=REQUESTS, tokens=TOKENS)
    def explain_work(self, request: Request, tokens: int) -> None:
        self.explain(replace(request, tokens=tokens))

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 100), tokens=TOKENS)
    def first_token_leaves(self, place: int, tokens: int) -> None:
        self.first_token(place, tokens)

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 100), tokens=TOKENS)
    def set_tokens(self, place: int, tokens: int) -> None:
        held = self.leases[place % len(self.leases)]
        assert held.lease.set_tokens(tokens)
        held.entry.replace_tokens(held.tokens, tokens)
        held.tokens = tokens

    @precondition(lambda self: self.oracle.entries)
    @rule(place=st.integers(0, 5), cap=st.none() | st.integers(1, 10))
    def cap_tokens(self, place: int, cap: int | None) -> None:
        self.edit(place, {"max_pending_tokens": cap})


class PromptsMachine(TokensMachine):
    """A fleet whose requests have prefixes."""

    @rule(request=PROMPT_REQUESTS)
    def acquire_prompt(self, request: Request) -> None:
        self.acquire(request)

    @rule(request=PROMPT_REQUESTS, outcomes=st.lists(ENDS, min_size=1, max_size=4))
    def prompts(self, request: Request, outcomes: list[Outcome]) -> None:
        self.requests(request, outcomes)

    @rule(request=PROMPT_REQUESTS)
    def select_for_prompt(self, request: Request) -> None:
        self.select(request)

    @rule(request=PROMPT_REQUESTS)
    def explain_prompt(self, request: Request) -> None:
        self.explain(request)

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 100), tokens=TOKENS)
    def set_cached_tokens(self, place: int, tokens: int) -> None:
        held = self.leases[place % len(self.leases)]
        assert held.lease.set_cached_tokens(tokens)
        had_less, held.cached = tokens < held.cached, tokens
        assert (held.lease.cached_tokens, held.lease.tokens) == (tokens, held.tokens)
        prefix, known = held.request.prefix or [], held.entry.known.get(held.model)
        if known is not None:
            blocks = min(tokens // BLOCK_TOKENS, len(prefix))
            known.correct(prefix if had_less else prefix[:blocks], blocks)


def _removed(self: RegistryMachine, *arguments: Any, **named: Any) -> None:
    raise NotImplementedError


# These rules would end the history of the registrations, or add nothing to it.
for _name in (
    "reconcile",
    "reload",
    "remove",
    "update_models",
    "add_model",
    "remove_model",
    "count_many",
    "update_latency_many",
    "set_mdns_instance",
    "drain",
    "select",
):
    setattr(FailuresMachine, _name, _removed)


def with_make(
    kind: type[RegistryMachine],
    make: Callable[..., Registry],
    contract: Callable[..., OracleRegistry] = OracleRegistry,
) -> type[RegistryMachine]:
    """The machine with another registry to compare, or with another contract."""

    methods = {
        "make": lambda _self, **settings: make(**settings),
        "make_oracle": lambda _self, *settings: contract(*settings),
    }
    return cast("type[RegistryMachine]", type("Machine", (kind,), methods))
