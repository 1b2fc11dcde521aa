"""HOT_COLD: the fastest of up to 16 that is not hot."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet, make_timed, refusal
from support.oracle import OracleRegistry
from support.oracle_choices import HAND, Entry, Request
from support.selection import picks
from support.threads import run_threads

from registry import BackendStatus, Lease, NoBackendAvailableError, Policy, Reason, Registry
from registry._core.binding import seed_random
from registry.testing import ManualClock

HOT_COLD = Policy.HOT_COLD
SEED = 20261127


def add_token(registry: Registry, clock: ManualClock, backend_id: str, ms: int) -> None:
    """A request whose first token arrives after so long, and that ends without a latency."""
    lease = registry.acquire("m", only=[backend_id])
    clock.advance(ms / 1000)
    assert lease.first_token()
    lease.release(abandoned=True)


def add_load(registry: Registry, **counts: int) -> None:
    for backend_id, count in counts.items():
        registry.increment_pending_many([backend_id] * count)


def ranked(registry: Registry, **arguments: Any) -> list[str]:
    """The backends that qualify, as `explain` orders them."""
    candidates = registry.explain("m", policy=HOT_COLD, **arguments)
    return [candidate.backend_id for candidate in candidates if candidate.rank is not None]


def chosen(registry: Registry, **arguments: Any) -> str:
    """The next choice, by `select` and by `acquire`, which is also the first of `explain`."""
    first = ranked(registry, **arguments)[0]
    assert registry.select("m", policy=HOT_COLD, **arguments).id == first
    return first


# ---- Who is hot.


@pytest.mark.parametrize(
    ("loads", "hot"),
    [
        ([0], []),
        ([7], []),
        ([3, 3], []),
        ([0, 1], [1]),  # the quantile is 0.84
        ([0, 1, 2], [2]),  # 1.68
        ([0, 2, 2], []),  # 2
        ([0, 0, 1], [2]),  # 0.68
        ([0, 1, 2, 3, 4, 5, 6], [6]),  # 5.04
        (range(16), [13, 14, 15]),  # 12.6
        ([5] * 13 + [6, 7, 8], [13, 14, 15]),  # 5.6
        ([5] * 12 + [6] * 4, []),  # 6
        ([9] + [0] * 15, [0]),
    ],
)
def test_hot_is_above_the_quantile(loads: list[int], hot: list[int]) -> None:
    registry = make_fleet(*[{"pending": load, "latency": 9} for load in loads])
    expected = [f"b{number}" for number in hot]
    cold = [f"b{number}" for number in range(len(loads)) if number not in hot]
    order = ranked(registry)
    assert sorted(order[: len(cold)]) == sorted(cold)
    assert sorted(order[len(cold) :]) == sorted(expected)
    # Ties are resolved in turn, so exactly the cold ones are chosen.
    assert set(picks(registry, len(cold), policy=HOT_COLD)) == set(cold)
    assert set(picks(registry, len(cold), policy=HOT_COLD)) == set(cold)


def test_heat_is_in_flight_by_weight() -> None:
    # 4/9 is less than 1/2: b1 is hot. With the new request counted it would be b0: 5/9 < 2/2.
    shapes = [{"pending": 4, "weight": 9, "latency": 70}, {"pending": 1, "weight": 2, "latency": 5}]
    assert chosen(make_fleet(*shapes)) == "b0"
    # None in flight is no load, whatever the weight.
    assert chosen(make_fleet({"weight": 9, "latency": 7}, {"latency": 5})) == "b1"
    # 2/999 is more than 2/1000.
    shapes = [{"pending": 2, "weight": 1000, "latency": 7}, {"pending": 2, "weight": 999}]
    assert chosen(make_fleet(*shapes)) == "b0"


def test_a_hot_backend_is_not_chosen_however_fast_it_is() -> None:
    registry = make_fleet({"pending": 1, "latency": 1}, {"latency": 60_000}, {"latency": 50_000})
    assert ranked(registry) == ["b2", "b1", "b0"]
    assert chosen(registry) == "b2"


def test_hot_ones_come_last_by_their_load() -> None:
    loads = [0] * 13 + [9, 7, 8]
    registry = make_fleet(*[{"pending": load, "latency": load or 50} for load in loads])
    assert ranked(registry)[13:] == ["b14", "b15", "b13"]


# ---- Which of the others.


def test_the_lowest_average_time_to_first_token_wins() -> None:
    registry, clock = make_timed("a", "b", "c")
    for backend_id, ms, latency in (("a", 300, 1), ("b", 200, 3), ("c", 250, 2)):
        add_token(registry, clock, backend_id, ms)
        registry.update_latency(backend_id, latency)
    assert ranked(registry) == ["b", "c", "a"]
    assert chosen(registry) == "b"
    for _ in range(9):
        add_token(registry, clock, "b", 400)
    assert ranked(registry) == ["c", "a", "b"]


def test_the_latency_counts_only_where_none_has_a_first_token() -> None:
    registry, clock = make_timed("a", "b", "c")
    for backend_id, latency in (("a", 30), ("b", 10), ("c", 20)):
        registry.update_latency(backend_id, latency)
    assert ranked(registry) == ["b", "c", "a"]
    add_token(registry, clock, "b", 1)
    # Now a and c have no sample of what is compared.
    assert set(ranked(registry)[:2]) == {"a", "c"}
    assert chosen(registry) != "b"


def test_a_first_token_of_a_hot_backend_does_not_count() -> None:
    registry, clock = make_timed("a", "b", "c")
    for backend_id, latency in (("a", 30), ("b", 10), ("c", 20)):
        registry.update_latency(backend_id, latency)
    add_token(registry, clock, "c", 1)
    add_load(registry, c=5)
    assert ranked(registry) == ["b", "a", "c"]


def test_one_without_a_sample_goes_first() -> None:
    registry = make_fleet({"latency": 0}, {}, {"latency": 1})
    assert ranked(registry) == ["b1", "b0", "b2"]
    assert chosen(registry) == "b1"
    add_load(registry, b1=1)  # unless it is hot
    assert chosen(registry) == "b0"


def test_ties_go_to_the_one_chosen_least_recently() -> None:
    registry = make_fleet(*[{"latency": 7}] * 5)
    order = picks(registry, 5, policy=HOT_COLD)
    assert sorted(order) == ["b0", "b1", "b2", "b3", "b4"]
    assert picks(registry, 10, policy=HOT_COLD) == 2 * order
    assert registry.select("m", only=["b3"]).id == "b3"
    order.remove("b3")
    assert picks(registry, 5, policy=HOT_COLD) == [*order, "b3"]


def test_averages_that_are_old_do_not_count() -> None:
    registry, clock = make_timed("a", "b", latency_ttl_s=10)
    add_token(registry, clock, "a", 500)
    clock.advance(4)
    add_token(registry, clock, "b", 900)
    assert chosen(registry) == "a"
    clock.advance(10 - 4.9)
    assert chosen(registry) == "a"  # exactly 10 seconds old
    clock.advance(1e-9)
    assert ranked(registry) == ["a", "b"]  # a counts as one without a sample
    clock.advance(4.9)
    registry.update_latency("a", 20)  # neither has a first token that counts
    registry.update_latency("b", 10)
    assert chosen(registry) == "b"
    clock.advance(10.001)
    registry.update_latency("a", 20)
    assert chosen(registry) == "b"  # without a sample
    assert make_timed("a", latency_ttl_s=None)[0].select("m", policy=HOT_COLD).id == "a"


def test_a_sample_after_an_old_average_begins_anew() -> None:
    registry, clock = make_timed("a", latency_ttl_s=10)
    for ms, shown in ((9000, 9000), (1000, 7400)):
        add_token(registry, clock, "a", ms)
        assert registry.get_all_backends()[0].avg_ttft_ms == shown
    clock.advance(10.5)
    assert registry.get_all_backends()[0].avg_ttft_ms == 7400
    add_token(registry, clock, "a", 1000)
    assert registry.get_all_backends()[0].avg_ttft_ms == 1000


# ---- Who takes part.


def test_eligibility_comes_first() -> None:
    # b0 to b5 would be the best. They do not move the quantile either: without them b8 is hot.
    registry = make_fleet(
        {"status": "unhealthy"},
        {"status": "unknown"},
        {"max_pending": 1, "pending": 1},
        {},
        {},
        {},
        {"latency": 30},
        {"latency": 20},
        {"latency": 10, "pending": 2},
        {"latency": 1, "status": "draining"},
    )
    registry.drain("b3")
    registry.cool_down("b4", 60)
    arguments: dict[str, Any] = {"exclude": ["b5"]}
    assert ranked(registry, **arguments) == ["b7", "b6", "b8"]
    assert chosen(registry, **arguments) == "b7"
    assert chosen(registry, only=["b6", "b8"]) == "b6"
    assert chosen(registry, allow_unknown=True, **arguments) == "b1"
    kinds = refusal(registry, policy=HOT_COLD, only=["b2", "b4"]).kinds
    assert (kinds["b2"], kinds["b4"]) == (Reason.FULL, Reason.COOLING_DOWN)


def test_caps_hold() -> None:
    registry = make_fleet(*[{"max_pending": 2}] * 20)
    leases = [registry.acquire("m", policy=HOT_COLD) for _ in range(40)]
    assert Counter(lease.backend.id for lease in leases) == {f"b{i}": 2 for i in range(20)}
    with pytest.raises(NoBackendAvailableError):
        registry.acquire("m", policy=HOT_COLD)
    released = [lease.release() for lease in leases]
    assert all(released)


# ---- The draw.


@pytest.mark.parametrize(
    ("count", "healthy"), [(17, 17), (64, 64), (65, 65), (200, 200), (200, 40), (400, 17)]
)
def test_every_backend_is_drawn_as_often(count: int, healthy: int) -> None:
    """Only who is drawn can win.

    The latencies differ, so the fastest of the drawn ones wins. The k-th fastest of n wins if it
    is drawn and the k - 1 faster ones are not.
    """
    step = count // healthy
    registry = make_fleet(
        *[
            {"latency": i} if i % step == 0 and i // step < healthy else {"status": "draining"}
            for i in range(count)
        ]
    )
    seed_random(SEED + count + healthy)
    draws = 8000
    counts = Counter(picks(registry, draws, policy=HOT_COLD))
    share, left, square, degrees = HAND / healthy, 1.0, 0.0, 0
    for k in range(healthy):
        expected = draws * left * share
        if expected > 20:
            square += (counts[f"b{k * step}"] - expected) ** 2 / expected
            degrees += 1
        left *= 1 - share
        remaining = healthy - k - 1
        share = min(1.0, HAND / remaining) if remaining else 0
    assert sum(counts.values()) == draws
    assert square < degrees + 4 * (2 * degrees) ** 0.5 + 8


@pytest.mark.parametrize("count", [17, 40, 100])
def test_the_draw_follows_the_seed(count: int) -> None:
    def run() -> list[str]:
        registry = make_fleet(*[{"latency": i} for i in range(count)])
        seed_random(SEED)
        return picks(registry, 200, policy=HOT_COLD)

    assert run() == run()
    assert len(set(run())) > 1


@pytest.mark.parametrize("count", [16, 17, 63, 64, 65, 300])
def test_of_many_the_choice_is_never_one_of_the_hottest(count: int) -> None:
    """Three of any 16 different loads are hot, so the three highest of all are never chosen."""
    registry = make_fleet(*[{"pending": i, "latency": count - i} for i in range(count)])
    seed_random(SEED)
    seen = set(picks(registry, 400, policy=HOT_COLD))
    assert not seen & {f"b{count - i}" for i in (1, 2, 3)}
    assert len(seen) > (1 if count > HAND else 0)


def test_all_16_take_part_whatever_the_order() -> None:
    registry = make_fleet(*[{"latency": 99 - i} for i in range(16)])
    assert set(picks(registry, 50, policy=HOT_COLD)) == {"b15"}


def test_few_that_qualify_are_all_found() -> None:
    registry = make_fleet(
        *[{"latency": i} if i % 100 == 50 else {"status": "draining"} for i in range(1000)]
    )
    assert set(picks(registry, 50, policy=HOT_COLD)) == {"b50"}


def test_explain_rates_all_of_a_long_list() -> None:
    count = 101
    registry = make_fleet(*[{"pending": i, "latency": count - i} for i in range(count)])
    # 0.84 * 100 is 84, so those with more than 84 in flight are hot.
    expected = [*reversed(range(85)), *range(85, 101)]
    assert ranked(registry) == [f"b{i}" for i in expected]


# ---- The oracle.


class Twins:
    """A registry and its oracle, with the same backends."""

    def __init__(self, rng: random.Random, count: int) -> None:
        self.clock, self.seconds = ManualClock(), 0.0
        ttl = rng.choice([3.0, None])
        self.real = Registry(clock=self.clock, latency_ttl_s=ttl)
        self.oracle = OracleRegistry(None, lambda: self.seconds, ttl)
        for i in range(count):
            weight = rng.choice([1, 1, 2, 3, 1000])
            cap = rng.choice([None, None, 2])
            backend = make_backend(f"b{i}", "m", weight=weight, max_pending=cap)
            self.real.add_backend(backend)
            self.oracle.entries[backend.id] = Entry(backend, i, BackendStatus.HEALTHY)
            self.real.update_status(backend.id, "healthy")
        self.leases: list[tuple[Lease, Any, Any]] = []

    def check(self, request: Request) -> None:
        """The choice is the best one by the page, and `explain` has the order of the page."""
        allowed = self.oracle.choices(request)
        found = ranked(self.real, exclude=request.exclude)
        costs = [self.oracle.cost(self.oracle.entries[one], request) for one in found]
        assert costs == sorted(costs)
        assert set(found) == {entry.backend.id for entry in self.oracle.eligible(request)}
        if allowed:
            lease = self.real.acquire("m", policy=HOT_COLD, exclude=request.exclude)
            assert lease.backend.id in allowed
            entry, ticket = self.oracle.begin_lease(request, lease.backend.id)
            self.leases.append((lease, entry, ticket))

    def step(self, rng: random.Random) -> None:
        span = rng.choice([0, 0.125, 0.25, 0.5, 1])  # exact in binary
        self.clock.advance(span)
        self.seconds += span
        entry = rng.choice(list(self.oracle.entries.values()))
        kind = rng.randrange(4)
        if kind == 0:
            self.real.update_latency(entry.backend.id, sample := rng.choice([0, 5, 9, 2**32 - 1]))
            self.oracle.add_sample(entry, sample)
        elif kind == 1 and not entry.is_full(0):
            self.real.increment_pending(entry.backend.id)
            entry.pending += 1
        elif self.leases:
            lease, entry, ticket = self.leases.pop(rng.randrange(len(self.leases)))
            if rng.random() < 0.6:
                assert lease.first_token()
                self.oracle.add_token(entry, ticket)
            lease.release(abandoned=True)
            entry.pending -= 1


@pytest.mark.parametrize("seed", range(20))
def test_choices_are_those_of_the_page(seed: int) -> None:
    rng = random.Random(seed)
    twins = Twins(rng, rng.choice([1, 2, 3, 5, 7, 15, 16, 16]))
    for _ in range(60):
        twins.step(rng)
        exclude = rng.sample(sorted(twins.oracle.entries), rng.choice([0, 0, 1]))
        twins.check(Request("m", HOT_COLD, exclude=exclude))
    for lease, _, _ in twins.leases:
        lease.release(abandoned=True)


# ---- Threads.


@pytest.mark.parametrize("count", [10, 40, 200])
def test_eight_threads_count_exactly(count: int) -> None:
    registry = make_fleet(*[{"max_pending": 3}] * count)

    def work() -> None:
        for i in range(400):
            lease = registry.acquire("m", policy=HOT_COLD)
            if i % 3 == 0:
                lease.first_token()
            assert lease.release()

    run_threads([work] * 8)
    views = registry.get_all_backends()
    assert [view.pending_requests for view in views] == [0] * count
    assert sum(view.total_requests for view in views) == 8 * 400
