"""The project's goals for speed and memory, measured in one run.

Unlike in the cost section, times include the loop around the call. A goal that compares with
another design says so if that design is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from itertools import cycle
from typing import Any

from benchmarks import cliffs, growth, memory
from benchmarks.budget import Budget
from benchmarks.fleet import CHANGED, busy, filled, full, patient, reloads, without_ejection
from benchmarks.measure import (
    Figure,
    Timed,
    calibrated,
    figure,
    interleaved,
    nanoseconds,
    quotients,
    ratios,
    throughput,
    work,
)
from benchmarks.operations import loop
from benchmarks.peers import PEERS, Peer, dashmap_native
from benchmarks.results import Goal, gil_is_on
from registry import Backend

HASH = "hash(id)"
INCREMENT = "registry.increment_pending(id)"
QUERY = "registry.get_backends_for_model(model)"
ACQUIRE = "registry.acquire(model).release()"
FAILED = "registry.acquire(model).release(failed=True)"
REFUSED = "try:\n    registry.acquire(model)\nexcept NoBackendAvailableError:\n    pass"
RECONCILE = "registry.reconcile(next(fleets))"
RECONCILED = 10_000  # backends
TWO = "registry.acquire(model, policy=Policy.POWER_OF_TWO).release()"
HAND = "registry.acquire(model, policy=Policy.HOT_COLD).release()"


@dataclass(frozen=True)
class Group:
    """Goals that are measured together, with their sides interleaved."""

    name: str
    measure: Callable[[Budget], list[Goal]]


def groups() -> Iterator[Group]:
    """The groups that this interpreter and this machine can measure."""
    yield Group("counts and queries", single_thread)
    yield Group("choices", choosing)
    if not gil_is_on():
        yield Group("two threads count", scaling)
        yield Group("two threads choose", choosing_scaling)
    yield Group("compared with Rust's DashMap", against_dashmap)
    yield Group("growth", churn)
    yield Group("memory", bytes_per_backend)
    yield Group("cliffs", without_cliffs)
    yield Group("a fleet that changes", reconciling)
    yield Group("learning from failures", learning)
    yield Group("compared with LiteLLM", against_litellm)  # last: importing it slows the rest down


def at_most(what: str, limit: float, measured: Figure) -> Goal:
    """Met if the median is at most the limit."""
    return Goal(what, f"<= {limit:,}", measured, measured.median <= limit)


def at_most_at_best(what: str, limit: float, measured: Figure) -> Goal:
    """Met if the best round is at most the limit. Use it for worst calls, most of which are slow
    because the machine is busy."""
    return Goal(f"{what}, best round", f"<= {limit:,}", measured, measured.low <= limit)


def at_least(what: str, limit: float, measured: Figure) -> Goal:
    """Met if the median is at least the limit."""
    return Goal(what, f">= {limit:,}", measured, measured.median >= limit)


def looped(statement: str, registry: Any, backend_id: str = "backend-500") -> Callable[[int], None]:
    """The statement in a loop."""
    return loop(statement, {"registry": registry, "id": backend_id, "model": "model-3"})


def timed(statement: str, registry: Any, budget: Budget, backend_id: str = "backend-500") -> Timed:
    """Measures nanoseconds per call."""
    run = looped(statement, registry, backend_id)
    return nanoseconds(run, calibrated(run, budget.seconds))


def microseconds(values: Sequence[float]) -> Figure:
    """The figure in microseconds of values in nanoseconds."""
    return figure([value / 1000 for value in values])


def single_thread(budget: Budget) -> list[Goal]:
    """Counting compared with a hash, and the time of reads."""
    registry, _ = filled(1000)
    statements = (HASH, INCREMENT, "registry.get_backend(id)", QUERY)
    sides = [timed(statement, registry, budget) for statement in statements]
    hashed, incremented, got, queried = interleaved(budget.rounds, *sides)
    limit = 1.4 if gil_is_on() else 1.3
    return [
        at_most("increment_pending(id) / hash(id)", limit, ratios(incremented, hashed)),
        at_most("get_backend, ns", 200, figure(got)),
        at_most("get_backends_for_model, 1,000 matching, us", 130, microseconds(queried)),
    ]


def choosing(budget: Budget) -> list[Goal]:
    """Choosing in one thread among few and many candidates, idle and busy."""
    small, large = filled(10)[0], filled(budget.large)[0]
    hashed, idle, loaded, idle_many, loaded_many, *few = interleaved(
        budget.rounds,
        timed(HASH, small, budget, "backend-5"),
        timed(ACQUIRE, small, budget),
        timed(ACQUIRE, busy(10), budget),
        timed(ACQUIRE, filled(1000)[0], budget),
        timed(ACQUIRE, busy(1000), budget),
        timed(TWO, small, budget),
        timed(TWO, large, budget),
        timed(HAND, small, budget),
        timed(HAND, large, budget),
    )
    two_small, two_large, hand_small, hand_large = few
    return [
        at_most("acquire and release / hash(id), 10 candidates, idle", 6, ratios(idle, hashed)),
        at_most("acquire and release / hash(id), 10 candidates, busy", 6, ratios(loaded, hashed)),
        at_most("acquire and release, 1,000 candidates, idle, us", 2, microseconds(idle_many)),
        at_most("acquire and release, 1,000 candidates, busy, us", 2, microseconds(loaded_many)),
        at_most(f"POWER_OF_TWO, {budget.large:,} candidates / 10", 3, ratios(two_large, two_small)),
        at_most(f"HOT_COLD, {budget.large:,} candidates / 10", 3, ratios(hand_large, hand_small)),
    ]


def two_threads(
    one: Callable[[int], None], other: Callable[[int], None], budget: Budget
) -> tuple[Timed, Timed]:
    """Measures operations a second of the first loop alone, and of both loops at once."""
    count = calibrated(one, 5 * budget.seconds)
    return partial(throughput, [work(one, count)]), partial(
        throughput, [work(one, count), work(other, count)]
    )


def scaling(budget: Budget) -> list[Goal]:
    """Counting in two threads compared with one."""
    registry, ids = filled(1000)
    rows = []
    for what, keys, least in (
        ("two backends", (ids[500], ids[507]), 1.8),
        ("one backend", (ids[500],) * 2, 1.2),
    ):
        first, second = (looped(INCREMENT, registry, key) for key in keys)
        one, two = interleaved(budget.rounds, *two_threads(first, second, budget))
        rows.append(at_least(f"two threads on {what} / one thread", least, ratios(two, one)))
    return rows


def choosing_scaling(budget: Budget) -> list[Goal]:
    """Choosing among the same ten backends in two threads compared with one."""
    registry, _ = filled(10)
    rows = []
    for policy, statement, least in (("LEAST_PENDING", ACQUIRE, 1), ("POWER_OF_TWO", TWO, 1.3)):
        run = looped(statement, registry)
        one, two = interleaved(budget.rounds, *two_threads(run, run, budget))
        rows.append(
            at_least(
                f"two threads on one model, ten backends, {policy} / one thread",
                least,
                ratios(two, one),
            )
        )
    return rows


def against_dashmap(budget: Budget) -> list[Goal]:
    """Compares with two DashMaps in Rust, in a native program."""
    what = "get_backends_for_model, times faster than DashMap's"
    if dashmap_native.missing():
        return [Goal(what, ">= 6", dashmap_native.missing(), None)]
    registry, ids = filled(1000)
    calls = round(budget.seconds / 1e-3) + 1
    query = partial(dashmap_native.cost, "query", 1000, calls)
    ours, theirs = interleaved(budget.rounds, timed(QUERY, registry, budget), query)
    rows = [at_least(what, 6, ratios(theirs, ours))]
    for what, keys, place in (
        ("two backends, one shard", ids[:2], "one-shard"),
        ("one backend", ids[:1] * 2, "same"),
    ):
        if gil_is_on():
            break
        first, second = (looped(INCREMENT, registry, key) for key in keys)
        both = two_threads(first, second, budget)[1]
        count = calibrated(first, 5 * budget.seconds)
        native = partial(dashmap_native.throughput, "increment", place, 2, 0, count)
        ours, theirs = interleaved(budget.rounds, both, native)
        rows.append(
            at_least(f"two threads, {what}, throughput / DashMap's", 1.2, ratios(ours, theirs))
        )
    return rows


def churn(budget: Budget) -> list[Goal]:
    """Removing and adding in a large fleet compared with a small one.

    A dict's operations get slower with its size too, because of cache misses. The goal compares
    the two slowdowns.
    """
    sizes = (1000, budget.large)
    ours = [growth.registry_side(size) for size in sizes]
    plain = [growth.dict_side(size) for size in sizes]
    small, large, dict_small, dict_large = interleaved(budget.rounds, *ours, *plain)
    grown = quotients(large, small), quotients(dict_large, dict_small)
    span = f"from 1,000 to {budget.large:,}"
    return [
        Goal(f"remove and add, growth {span}", "(a dict's below)", figure(grown[0]), None),
        Goal(f"a dict's growth {span}", "(for comparison)", figure(grown[1]), None),
        at_most("growth of remove and add / growth of a dict", 1.5, ratios(*grown)),
    ]


def bytes_per_backend(budget: Budget) -> list[Goal]:
    """The resident memory of a fleet."""
    rows = []
    for kind, most in (("shared", 1200), ("own", 2000)):
        measured = figure(
            [memory.in_child("registry", kind, budget.large) for _ in range(memory.RUNS)]
        )
        what = f"bytes per backend, {budget.large:,} with ten models, {memory.KINDS[kind]}"
        rows.append(at_most(what, most, measured))
    return rows


def without_cliffs(budget: Budget) -> list[Goal]:
    """Calls that must not take much longer than others that do the same work; see `cliffs`."""
    return [*restarting(budget), *beside_views(budget), refusing(budget)]


def restarting(budget: Budget) -> list[Goal]:
    """The slowest write of a rolling restart compared with the median."""
    restarts = [cliffs.rolling_restart() for _ in range(3 * budget.rounds)]
    worst = figure([each.worst / each.median for each in restarts])
    usual = microseconds([each.median for each in restarts])
    what = f"rolling restart, {cliffs.FLEET:,} backends with {cliffs.MODELS:,} shared models"
    return [
        at_most_at_best(f"{what}, worst write / median", 20, worst),
        Goal(f"{what}, median write, us", "(for comparison)", usual, None),
    ]


def beside_views(budget: Budget) -> list[Goal]:
    """Status updates while views are alive, and after they are gone, compared with before."""
    measured = [cliffs.in_child() for _ in range(budget.rounds)]
    before, kept, gone = zip(*map(astuple, measured), strict=True)
    what = f"update_status, {cliffs.VIEWS:,} views of two registries"
    return [
        at_most(f"{what} kept / none", 2, ratios(kept, before)),
        at_most(f"{what} kept and dropped / none", 1.5, ratios(gone, before)),
    ]


def refusing(budget: Budget) -> Goal:
    """A refusal compared with a choice, where both have to examine all candidates."""
    sides = timed(REFUSED, full(1000), budget), timed(ACQUIRE, busy(1000), budget)
    refused, chosen = interleaved(budget.rounds, *sides)
    return at_most("refusal / acquire and release, 1,000 candidates", 5, ratios(refused, chosen))


def reconciling(budget: Budget) -> list[Goal]:
    """A reload of a large fleet compared with reading it.

    The models of a reload are the registered objects, or equal ones, as a file gives them.
    """
    rows = []
    for kind, own_models in (("the registered Models", False), ("equal Models", True)):
        registry, _ = filled(RECONCILED)
        reload = loop(RECONCILE, {"registry": registry, "fleets": fleets(own_models)})
        reload(2)
        read, reloaded = interleaved(
            budget.rounds,
            timed("registry.get_all_backends()", registry, budget),
            nanoseconds(reload, calibrated(reload, budget.seconds)),
        )
        what = f"reconcile, {RECONCILED:,} backends with {kind}, {CHANGED} changes"
        rows.append(at_most(f"{what} / get_all_backends", 20, ratios(reloaded, read)))
    return rows


def fleets(own_models: bool) -> Iterator[list[Backend]]:
    """Reloads without end; each differs from the one before in ten backends."""
    return cycle(reloads(RECONCILED, own_models))


def learning(budget: Budget) -> list[Goal]:
    """A registry that learns from outcomes compared with one that does not, and a failure compared
    with a success. The failures are counted, but eject nobody."""
    rows = []
    for size in (10, 1000):
        learns, ignores = interleaved(
            budget.rounds,
            timed(ACQUIRE, filled(size)[0], budget),
            timed(ACQUIRE, without_ejection(size), budget),
        )
        what = f"acquire and release / with ejection=None, {size:,} candidates"
        rows.append(at_most(what, 1.1, ratios(learns, ignores)))
    failed, succeeded = interleaved(
        budget.rounds, timed(FAILED, patient(10), budget), timed(ACQUIRE, filled(10)[0], budget)
    )
    more = [a - b for a, b in zip(failed, succeeded, strict=True)]
    what = "a failed request, more than a successful one, 10 candidates, us"
    return [*rows, at_most(what, 1, microseconds(more))]


def litellm() -> Peer:
    """LiteLLM's entry in `PEERS`."""
    return next(peer for peer in PEERS if peer.name == "LiteLLM")


def against_litellm(budget: Budget) -> list[Goal]:
    """Compares with LiteLLM's Router, which only chooses: our side counts the request too.

    The Router's time does not depend on the requests in flight, so it is measured once.
    """
    peer = litellm()
    rows = []
    for size, least in ((10, 300), (1000, 2000)):
        what = f"acquire and release, times faster than LiteLLM's least-busy, {size:,}"
        if missing := peer.missing():
            rows.append(Goal(what, f">= {least:,}", missing, None))
            continue
        theirs, idle, loaded = interleaved(
            budget.rounds,
            timed("registry.select(model)", peer.filled(size)[0], budget),
            timed(ACQUIRE, filled(size)[0], budget),
            timed(ACQUIRE, busy(size), budget),
        )
        rows += [
            at_least(f"{what} {state}", least, ratios(theirs, ours))
            for state, ours in (("idle", idle), ("busy", loaded))
        ]
    return rows
