"""A state machine for Hypothesis: makes the same calls on registry and oracle, and compares."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from registry import (
    Backend,
    BackendStatus,
    BackendView,
    DiscoverySource,
    Lease,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
    Requirements,
)
from registry._core.binding import seed_random
from support.oracle import Entry, OracleRegistry, Request

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
    allow_unknown=st.booleans(),
)
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

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


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

    def make(self) -> Registry:
        """The registry to compare."""
        return Registry(ejection=None)

    @initialize(limits=st.lists(LIMITS, max_size=4))
    def start(self, limits: list[dict[str, Any]] = []) -> None:  # noqa: B006
        """Starts with a few healthy backends."""
        self.real, self.oracle = self.make(), OracleRegistry()
        self.leases: list[tuple[Lease, Entry]] = []
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
        for lease, _ in getattr(self, "leases", ()):
            lease.release()
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
            with pytest.raises(NoBackendAvailableError) as caught:
                choose(request.model_id, **request.arguments())
            reasons = {entry.backend.id: reason for entry, reason in self.oracle.listed(request)}
            assert (caught.value.reasons, caught.value.unknown_model) == (reasons, not reasons)
            assert {c.backend_id: c.reason for c in candidates} == reasons
            return None
        result = choose(request.model_id, **request.arguments())
        chosen = result.backend.id if isinstance(result, Lease) else result.id
        assert chosen in allowed
        assert request.policy in AT_RANDOM or candidates[0].backend_id == chosen
        return result

    @rule(request=REQUESTS)
    def acquire(self, request: Request) -> None:
        lease = self.chosen_by(request, self.real.acquire)
        if lease is not None:
            entry = self.oracle.note_choice(request, lease.backend.id)
            entry.pending += 1
            self.leases.append((lease, entry))

    @rule(request=REQUESTS)
    def select(self, request: Request) -> None:
        backend = self.chosen_by(request, self.real.select)
        if backend is not None:
            assert self.oracle.note_choice(request, backend.id).backend == backend

    @precondition(lambda self: self.leases)
    @rule(place=st.integers(0, 100), latency_ms=SAMPLES, failed=st.booleans())
    def release(self, place: int, latency_ms: int, failed: bool) -> None:
        lease, entry = self.leases.pop(place % len(self.leases))
        assert lease.active
        assert lease.release(latency_ms, failed=failed)
        self.oracle.release(entry, latency_ms, failed)
        assert not lease.active
        assert not lease.release(latency_ms)

    @rule(request=REQUESTS)
    def explain(self, request: Request) -> None:
        candidates = self.real.explain(request.model_id, **request.arguments())
        known = {entry.backend.id: (entry, reason) for entry, reason in self.oracle.listed(request)}
        ranks = [c.rank for c in candidates if c.rank is not None]
        assert ranks == list(range(1, 1 + len(ranks)))
        assert all(c.rank is None for c in candidates[len(ranks) :])
        assert sorted(known) == sorted(c.backend_id for c in candidates)
        for c in candidates:
            entry, reason = known[c.backend_id]
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
        type(self).steps += 1
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
