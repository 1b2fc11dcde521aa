"""Linearizability: is there one order of all operations that explains what the threads saw?

The search is Wing and Gong's, with Lowe's memory of states that were tried. (J. Wing, C. Gong:
Testing and verifying concurrent objects, 1993; G. Lowe: Testing for linearizability, 2017.)

A call is one step, or several where the contract promises no more. A release counts its outcome,
and then changes the average, the total, the failed requests, what the outcome calls for (an
ejection, a restoration, a cool-down), the tokens, the requests in flight, and the place of a trial:
each is a step. So whoever finds that the request has left the count also finds its outcome in
force. A view is one step for definition, status and availability, one step for the requests and the
tokens in flight, and one step for each other counter. Steps of one thread keep their order. If one
call ended before another call began, the steps of the first call come before the steps of the
second. The search looks for an order in which the oracle returns every result that was seen.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter_ns
from typing import Any

from registry import (
    Backend,
    BackendStatus,
    BackendView,
    Ejection,
    Model,
    NoBackendAvailableError,
    Policy,
    Reason,
    Registry,
    RegistryError,
)
from registry.testing import ManualClock
from support.oracle import Entry, OracleRegistry, Request
from support.oracle_failures import Due, Outcome, Ticket, nanoseconds, state_of
from support.threads import run_threads

IDS = ("a", "b", "c")
MODELS = ("m", "n")
HEALTH = (BackendStatus.HEALTHY, BackendStatus.UNHEALTHY)
TOKENS = (0, 0, 4, 7, 20)
POLICIES = (Policy.LEAST_PENDING, Policy.LEAST_TOKENS)
OUTCOMES: tuple[Outcome, ...] = ("succeeded", "failed", "failed", "asked", "abandoned")
GIVEN: dict[Outcome, dict[str, Any]] = {
    "succeeded": {},
    "failed": {"failed": True},
    "asked": {"retry_after": 5},
    "abandoned": {"abandoned": True},
}
# Two failures eject. A history begins when the time of a's ejection is over, so its first request
# is a trial, and from then on the clock stands still.
RULES = Ejection(consecutive_failures=2, failure_rate=None, base_s=30, max_s=60, slow_start_s=10)
BEGIN = 30


@dataclass
class Spec:
    """The oracle's state, with the registrations that later steps of a call refer to.

    A lease refers to the registration that was chosen, a view to the one that was found. `serials`
    has the oracle's serial for each serial that a view has shown.
    """

    oracle: OracleRegistry = field(default_factory=OracleRegistry)
    known: dict[int, Entry | None] = field(default_factory=dict)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    due: dict[int, Due | None] = field(default_factory=dict)
    serials: dict[int, int] = field(default_factory=dict)

    def learn(self, shown: int, entry: Entry) -> int:
        """The serial that views of the registration show: `shown`, if this is the first view."""
        real = next((real for real, own in self.serials.items() if own == entry.serial), shown)
        return real if self.serials.setdefault(real, entry.serial) == entry.serial else 0

    def clone(self) -> Spec:
        """A copy that shares no mutable state."""
        entries = [
            *self.oracle.entries.values(),
            *(entry for entry in self.known.values() if entry is not None),
        ]
        copies: dict[int, Entry] = {id(entry): replace(entry) for entry in entries}
        fresh = Spec(
            type(self.oracle)(self.oracle.rules, self.oracle.clock, self.oracle.latency_ttl_s),
            tickets=dict(self.tickets),
            due=dict(self.due),
            known={number: entry and copies[id(entry)] for number, entry in self.known.items()},
        )
        fresh.oracle.entries = {
            name: copies[id(entry)] for name, entry in self.oracle.entries.items()
        }
        fresh.oracle.last_serial = self.oracle.last_serial
        fresh.oracle.served = dict(self.oracle.served)
        fresh.serials = dict(self.serials)
        return fresh

    def fingerprint(self) -> tuple[Any, ...]:
        """A value that is equal for two states if they behave the same."""
        places = {id(entry): place for place, entry in enumerate(self.oracle.entries.values())}
        shown = {own: real for real, own in self.serials.items()}

        def values(entry: Entry | None) -> Any:
            return entry and (
                entry.backend,
                shown.get(entry.serial),
                entry.status,
                entry.draining,
                entry.pending,
                entry.tokens,
                entry.total,
                entry.failed,
                state_of(entry),
            )

        known = [
            (number, places.get(id(entry), values(entry)))
            for number, entry in sorted(self.known.items())
        ]
        return (
            tuple(values(entry) for entry in self.oracle.entries.values()),
            tuple(known),
            frozenset(self.serials),
            tuple(self.oracle.served),
            tuple(sorted(self.tickets.items(), key=lambda item: item[0])),
            tuple(sorted(self.due.items())),
        )


# Changes a state as one step does, and returns the step's result there.
Effect = Callable[[Spec], Any]


@dataclass(frozen=True)
class Step:
    """One step of a call, and the result that was seen."""

    thread: int
    began: int
    ended: int
    name: str
    effect: Effect
    seen: Any


def explains(steps: list[Step], start: Spec) -> bool:
    """Whether some order of the steps explains every result."""
    lanes = [
        [step for step in steps if step.thread == thread]
        for thread in sorted({step.thread for step in steps})
    ]
    tried: set[tuple[Any, ...]] = set()
    stack = [(tuple(0 for _ in lanes), start)]
    while stack:
        done, spec = stack.pop()
        heads = [lane[at] if at < len(lane) else None for lane, at in zip(lanes, done, strict=True)]
        open_heads = [step for step in heads if step is not None]
        if not open_heads:
            return True
        # A step cannot come after one whose call began later than its own call ended.
        first_end = min(step.ended for step in open_heads)
        for lane, step in enumerate(heads):
            if step is None or step.began > first_end:
                continue
            after = spec.clone()
            if step.effect(after) != step.seen:
                continue
            next_done = (*done[:lane], done[lane] + 1, *done[lane + 1 :])
            key = (next_done, after.fingerprint())
            if key not in tried:
                tried.add(key)
                stack.append((next_done, after))
    return False


# ---- Recording.


def outcome(call: Callable[[], Any]) -> Any:
    """The result of a call, or the type of the error it raises."""
    try:
        return call()
    except (RegistryError, OverflowError) as error:
        return type(error)


@dataclass
class Recorder:
    """Makes the calls of one thread, and records their steps."""

    registry: Registry
    thread: int
    rng: random.Random
    steps: list[Step] = field(default_factory=list)
    held: list[tuple[int, Any, int]] = field(default_factory=list)
    # The serial that this thread saw last, for each backend.
    seen: dict[str, int] = field(default_factory=dict)

    def record(
        self, name: str, call: Callable[[], Any], *parts: tuple[Effect, Callable[[Any], Any]]
    ) -> Any:
        """Makes the call and records its steps.

        Each part is one step: its effect on a state, and a function that takes the step's share
        from the call's result.
        """
        began = perf_counter_ns()
        seen = outcome(call)
        ended = perf_counter_ns()
        for effect, share in parts:
            self.steps.append(Step(self.thread, began, ended, name, effect, share(seen)))
        return seen

    def simple(self, name: str, *arguments: Any) -> None:
        """Makes a call that is one step, with a result that can be compared."""

        def effect(spec: Spec) -> Any:
            return outcome(lambda: comparable(getattr(spec.oracle, name)(*arguments)))

        call = getattr(self.registry, name)
        self.record(
            f"{name}{arguments}", lambda: comparable(call(*arguments)), (effect, lambda seen: seen)
        )

    def get(self, backend_id: str) -> None:
        """Gets a view, and remembers its serial.

        The registration, its definition and its status are one step, and each counter of that
        registration is another.
        """
        number = self.rng.randrange(2**60)

        def find(spec: Spec) -> Any:
            entry = spec.known[number] = spec.oracle.entries.get(backend_id)
            if entry is None or seen is None:
                return None if entry is None else "found"
            return instant(spec.oracle._view(entry)), spec.learn(seen.serial, entry)

        def counter(
            name: str, of_entry: Callable[[Entry], int]
        ) -> tuple[Effect, Callable[[Any], Any]]:
            def effect(spec: Spec) -> Any:
                entry = spec.known[number]
                return entry and of_entry(entry)

            return effect, lambda view: view and getattr(view, name)

        def load(spec: Spec) -> Any:
            entry = spec.known[number]
            return entry and (entry.pending, entry.tokens)

        in_flight = (load, lambda view: view and (view.pending_requests, view.pending_tokens))
        seen = self.record(
            f"get_backend {backend_id}",
            lambda: self.registry.get_backend(backend_id),
            (find, lambda view: view and (instant(view), view.serial)),
            in_flight,
            counter("failed_requests", lambda entry: entry.failed),
            counter("total_requests", lambda entry: entry.total),
            counter("avg_latency_ms", lambda entry: entry.average or 0),
        )
        if seen is not None:
            self.seen[backend_id] = seen.serial

    def act_on_seen(self, name: str, backend_id: str, *arguments: Any) -> None:
        """Makes a call on the registration that this thread saw last."""
        real = self.seen.get(backend_id)
        if real is None:
            return

        def effect(spec: Spec) -> Any:
            call = getattr(spec.oracle, name)
            serial = spec.serials[real]
            return outcome(lambda: comparable(call(backend_id, *arguments, serial=serial)))

        call = getattr(self.registry, name)
        self.record(
            f"{name} {backend_id} {arguments}, serial {real}",
            lambda: comparable(call(backend_id, *arguments, serial=real)),
            (effect, lambda result: result),
        )

    def count(self, backend_id: str) -> None:
        """Makes a random operation on a counter."""
        name = self.rng.choice(
            ["increment_pending", "decrement_pending", "increment_total_requests"]
        )
        self.simple(name, backend_id)

    def acquire(
        self, model_id: str, excluded: tuple[str, ...], only: tuple[str, ...] | None = None
    ) -> None:
        """Takes a lease by LEAST_PENDING or LEAST_TOKENS, and keeps it."""
        number = self.rng.randrange(2**60)
        tokens, policy = self.rng.choice(TOKENS), self.rng.choice(POLICIES)
        request = Request(model_id, policy, exclude=excluded, only=only, tokens=tokens)

        def call() -> Any:
            lease = self.registry.acquire(model_id, **request.arguments())
            self.held.append((number, lease, tokens))
            return lease.backend.id

        def effect(spec: Spec) -> Any:
            allowed = spec.oracle.choices(request)
            if not allowed:
                return NoBackendAvailableError
            if seen not in allowed:
                return allowed
            spec.known[number], spec.tickets[number] = spec.oracle.begin_lease(request, seen)
            return seen

        seen = self.record(
            f"acquire {model_id} {policy} {tokens} except {excluded}, only {only}",
            call,
            (effect, lambda result: result),
        )

    def release(self) -> None:
        """Releases a lease with a random outcome."""
        if not self.held:
            return
        number, lease, tokens = self.held.pop()
        outcome = self.rng.choice(OUTCOMES)

        def part(change: Callable[[Spec, Entry], object]) -> tuple[Effect, Callable[[Any], Any]]:
            def effect(spec: Spec) -> None:
                entry = spec.known[number]
                assert entry is not None
                change(spec, entry)

            return effect, lambda _seen: None

        def count(spec: Spec, entry: Entry) -> None:
            spec.due[number] = spec.oracle.count_outcome(entry, spec.tickets[number], outcome)

        def total(_spec: Spec, entry: Entry) -> None:
            entry.total += 1

        def failed(_spec: Spec, entry: Entry) -> None:
            entry.failed += 1

        def settle(spec: Spec, entry: Entry) -> None:
            due = spec.due.pop(number)
            spec.oracle.settle(entry, spec.tickets[number], due, nanoseconds(5))

        def leave_tokens(_spec: Spec, entry: Entry) -> None:
            entry.replace_tokens(tokens, 0)

        def leave(_spec: Spec, entry: Entry) -> None:
            entry.finish_request()

        def free(spec: Spec, entry: Entry) -> None:
            spec.oracle.free_place(entry, spec.tickets.pop(number))

        parts = [part(count), part(total)]
        if outcome == "succeeded":
            parts.insert(0, part(lambda spec, entry: spec.oracle.add_sample(entry, 7)))
        if outcome in ("failed", "asked"):
            parts.append(part(failed))
        parts += [part(settle), part(leave_tokens), part(leave), part(free)]
        self.record(f"release {outcome}", lambda: lease.release(7, **GIVEN[outcome]), *parts)

    def set_tokens(self) -> None:
        """Changes the tokens of a lease."""
        if not self.held:
            return
        number, lease, old = self.held.pop()
        tokens = self.rng.choice(TOKENS)
        self.held.append((number, lease, tokens))

        def effect(spec: Spec) -> bool:
            entry = spec.known[number]
            assert entry is not None
            entry.replace_tokens(old, tokens)
            return True

        self.record(
            f"set_tokens {old} to {tokens}",
            lambda: lease.set_tokens(tokens),
            (effect, lambda result: result),
        )

    def anything(self) -> None:
        """Makes a random call."""
        one, rng = self.rng.choice(IDS), self.rng
        models = tuple(Model(model_id) for model_id in MODELS if rng.random() < 0.7)
        calls: list[Callable[[], None]] = [
            lambda: self.acquire(rng.choice(MODELS), tuple(x for x in IDS if rng.random() < 0.15)),
            lambda: self.acquire("m", ()),
            lambda: self.acquire("m", (), (one, "gone")),
            self.release,
            self.release,
            self.set_tokens,
            lambda: self.simple("cool_down", one, 5),
            lambda: self.simple("restore", one),
            lambda: self.act_on_seen("restore", one),
            lambda: self.count(one),
            lambda: self.get(one),
            lambda: self.simple("update_status", one, rng.choice(HEALTH)),
            lambda: self.simple("update_models", one, models),
            lambda: self.simple("remove_backend", one),
            lambda: self.simple("add_backend", definition(one, models)),
            lambda: self.simple("update_backend", variant(one, models, rng)),
            lambda: self.simple("update_backend", variant(one, models, rng)),
            lambda: self.simple("reconcile", some_fleet(models, rng)),
            lambda: self.simple("reconcile", some_fleet(models, rng)),
            lambda: self.simple(rng.choice(["drain", "resume"]), one),
            lambda: self.act_on_seen("update_status", one, rng.choice(HEALTH)),
            lambda: self.act_on_seen(rng.choice(["remove_backend", "drain", "resume"]), one),
            lambda: self.simple("get_backends_for_model", rng.choice(MODELS)),
            lambda: self.simple("get_healthy_backends"),
            lambda: self.simple("backend_count"),
            lambda: self.simple(rng.choice(["model_count", "models"])),
        ]
        rng.choice(calls)()


def instant(view: BackendView) -> tuple[Any, ...]:
    """The part of a view that belongs to one instant: its counters do not."""
    return (
        *(view.id, view.url, view.weight, view.models, view.status, view.draining),
        # A transition at work may hold the place of a trial for a moment, so that one is left out.
        None if view.unavailable is Reason.ON_TRIAL else view.unavailable,
    )


def comparable(result: Any) -> Any:
    """The part of a result that belongs to one instant. Serials have steps of their own."""
    if isinstance(result, list):
        return [comparable(view) for view in result]
    return instant(result) if isinstance(result, BackendView) else result


def definition(backend_id: str, models: tuple[Model, ...]) -> Backend:
    """A backend with low caps, so it is sometimes full."""
    return Backend(
        backend_id,
        backend_id,
        f"http://{backend_id}",
        models=models,
        max_pending=2,
        max_pending_tokens=10,
    )


def variant(backend_id: str, models: tuple[Model, ...], rng: random.Random) -> Backend:
    """Another definition of the backend: of the same server, or of another one."""
    url = rng.choice([f"http://{backend_id}", f"HTTP://{backend_id}:80/", "http://other"])
    return replace(definition(backend_id, models), url=url, weight=rng.choice([1, 2]))


def some_fleet(models: tuple[Model, ...], rng: random.Random) -> list[Backend]:
    """What a reconcile wants: some of the backends, most of them with another definition."""
    return [variant(one, models, rng) for one in IDS if rng.random() < 0.7]


def eject(registry: Registry, start: Spec, clock: ManualClock) -> None:
    """Ejects a, with its last requests, and lets the time of that pass."""
    request = Request("m", exclude=IDS[1:])
    leases = [registry.acquire("m", exclude=IDS[1:]) for _ in range(2)]
    entries = [start.oracle.begin_lease(request, "a") for _ in range(2)]
    for lease, (entry, ticket) in zip(leases, entries, strict=True):
        lease.release(failed=True)
        start.oracle.release(entry, ticket, "failed")
    clock.advance(BEGIN)


def history(
    make: Callable[..., Registry],
    seed: int,
    contract: Callable[..., OracleRegistry] = OracleRegistry,
    threads: int = 4,
    calls: int = 3,
) -> tuple[list[Step], Spec]:
    """Lets `threads` threads make random calls, and returns their steps and the initial state.

    In every second history, a was ejected, and its time is over.
    """
    rng, clock = random.Random(seed), ManualClock()
    registry = make(ejection=RULES, clock=clock)
    start = Spec(contract(RULES, lambda: clock.now, 60.0))
    for backend_id in IDS[:2]:
        for one in (registry, start.oracle):
            one.add_backend(definition(backend_id, (Model("m"), Model("n"))))
            one.update_status(backend_id, BackendStatus.HEALTHY)
    if seed % 2:
        eject(registry, start, clock)
    recorders = [
        Recorder(registry, number, random.Random(rng.random())) for number in range(threads)
    ]
    go = threading.Event()

    def run(recorder: Recorder) -> None:
        while not go.is_set():
            pass
        for _ in range(calls):
            recorder.anything()

    run_threads([*(lambda one=recorder: run(one) for recorder in recorders), go.set])
    for recorder in recorders:
        for _, lease, _ in recorder.held:
            lease.release()
    return [step for recorder in recorders for step in recorder.steps], start


def describe(steps: list[Step]) -> str:
    """The steps as text, in the order in which their calls began."""
    origin = min(step.began for step in steps)
    return "\n".join(
        f"{step.began - origin:9} to {step.ended - origin:9} ns, "
        f"thread {step.thread}: {step.name}: {step.seen}"
        for step in sorted(steps, key=lambda step: step.began)
    )
