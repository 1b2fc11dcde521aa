"""The bounded load of AFFINITY, against the oracle, and under threads."""

from __future__ import annotations

from collections import Counter
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.oracle import Entry, OracleRegistry, Request
from support.threads import run_threads

from registry import Backend, BackendStatus, Candidate, Lease, Model, Policy, Registry

LOADS = st.sampled_from([None, 1, 1.0, 1.1, 1.2, 1.25, 4 / 3, 1.5, 2, 1000])
FLOORS = st.sampled_from([0, 0.1, 0.3, 0.5, 1, 1.5, 2.2, 4.0, 1e9])
# Weight, in flight, cap, and whether it is healthy.
SHAPES = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3, 7, 10, 1000]),
        st.integers(0, 12),
        st.none() | st.integers(1, 12),
        st.sampled_from([True, True, True, False]),
    ),
    min_size=1,
    max_size=7,
)
Shape = tuple[int, int, int | None, bool]


def backend(number: int, weight: int = 1, cap: int | None = None) -> Backend:
    name = f"b{number}"
    return Backend(
        name, name, f"http://{name}", models=[Model("m")], weight=weight, max_pending=cap
    )


def fleet(shapes: list[Shape], load: float | None, floor: float) -> Registry:
    registry = Registry(affinity_load=load, affinity_floor=floor)
    for number, (weight, pending, cap, is_healthy) in enumerate(shapes):
        registry.add_backend(backend(number, weight, cap))
        registry.update_status(f"b{number}", "healthy" if is_healthy else "unhealthy")
        for _ in range(pending):
            registry.increment_pending(f"b{number}")
    return registry


def same_fleet(shapes: list[Shape], load: float | None, floor: float) -> OracleRegistry:
    oracle = OracleRegistry()
    oracle.affinity_load, oracle.affinity_floor = load, floor
    for number, (weight, pending, cap, is_healthy) in enumerate(shapes):
        status = BackendStatus.HEALTHY if is_healthy else BackendStatus.UNHEALTHY
        oracle.entries[f"b{number}"] = Entry(
            backend(number, weight, cap), number + 1, status=status, pending=pending
        )
    return oracle


def ranked(told: list[Candidate]) -> list[str]:
    return [one.backend_id for one in told if one.reason is None]


@settings(max_examples=300, deadline=None)
@given(SHAPES, LOADS, FLOORS, st.integers(0, 2**64 - 1))
def test_the_order_is_that_of_the_oracle(
    shapes: list[Shape], load: float | None, floor: float, key: int
) -> None:
    registry, oracle = fleet(shapes, load, floor), same_fleet(shapes, load, floor)
    request = Request("m", Policy.AFFINITY, affinity=key)
    eligible = oracle.eligible(request)
    order = sorted(eligible, key=lambda entry: oracle.cost(entry, request))
    names = [entry.backend.id for entry in order]
    assert ranked(registry.explain("m", policy="affinity", affinity=key)) == names
    leases: list[Lease] = []
    for number in range(12):  # until all are busy
        eligible = oracle.eligible(request)
        if not eligible:
            break
        best = min(eligible, key=lambda entry: oracle.cost(entry, request))
        one = registry.select("m", policy="affinity", affinity=key).id
        if number % 2:
            leases.append(registry.acquire("m", policy="affinity", affinity=key))
            one = leases[-1].backend.id
            oracle.entries[one].pending += 1
        assert one == best.backend.id
    for lease in leases:
        lease.release(abandoned=True)


def spread(registry: Registry, count: int, key: Any = "k") -> str:
    """The first letters of the backends of requests of one key, by their place in its order."""
    order = ranked(registry.explain("m", policy="affinity", affinity=key))
    leases = [registry.acquire("m", policy="affinity", affinity=key) for _ in range(count)]
    names = "".join(str(order.index(lease.backend.id)) for lease in leases)
    for lease in leases:
        lease.release(abandoned=True)
    return names


def test_a_key_stays_below_the_floor_and_overflows_in_its_order() -> None:
    registry = fleet([(1, 0, None, True)] * 4, 1.0, 4.0)
    assert spread(registry, 16) == "0000111122223333"


def test_the_floor_counts_for_each_unit_of_weight() -> None:
    registry = fleet([(3, 0, None, True)] * 2, 1.0, 2.0)
    assert spread(registry, 12) == "000000111111"


def test_without_a_bound_all_go_to_the_first() -> None:
    registry = fleet([(1, 0, None, True)] * 3, None, 0.0)
    assert spread(registry, 100) == "0" * 100


def test_the_mean_bounds_where_the_floor_does_not() -> None:
    # With n in flight, each backend takes up to 2 * (n + 1) / 4.
    registry = fleet([(1, 0, None, True)] * 4, 2.0, 0.0)
    expected, counts = "", [0, 0, 0, 0]
    for number in range(40):
        within = [place for place in range(4) if counts[place] + 1 <= 2 * (number + 1) / 4]
        least = min(range(4), key=lambda place: (counts[place], place))
        place = within[0] if within else least
        counts[place] += 1
        expected += str(place)
    assert spread(registry, 40) == expected


def test_a_full_backend_does_not_count() -> None:
    registry = fleet([(1, 9, 9, True), (1, 0, None, True), (1, 0, None, True)], 1.0, 1.0)
    # With b0, the mean would be 10 / 3, and the first one would take three.
    assert sorted(Counter(spread(registry, 4)).values()) == [2, 2]


def test_one_hot_backend_does_not_switch_affinity_off_for_the_others() -> None:
    registry = fleet([(1, 50, None, True), *[(1, 0, None, True)] * 4], 1.25, 4.0)
    homes: Counter[str] = Counter()
    for key in range(400):
        first, second, *_ = ranked(Registry.explain(registry, "m", policy="affinity", affinity=key))
        assert registry.select("m", policy="affinity", affinity=key).id == first != "b0"
        homes[first] += 1
        assert second
    assert set(homes) == {"b1", "b2", "b3", "b4"}


def test_those_over_the_bound_are_told_by_the_measure() -> None:
    shapes: list[Shape] = [(1, pending, None, True) for pending in (9, 5, 7, 1)]
    registry = fleet(shapes, 1.0, 0.0)
    for key in range(50):
        order = ranked(registry.explain("m", policy="affinity", affinity=key))
        # The mean is 23 / 4, so only b3 is within it.
        assert order == ["b3", "b1", "b2", "b0"]


# ---- Threads.


@pytest.mark.parametrize(("load", "floor"), [(1.25, 4.0), (1.0, 0.0), (None, 0.0)])
def test_threads_lose_no_count(load: float | None, floor: float) -> None:
    registry = fleet([(1, 0, 40, True)] * 4, load, floor)
    barrier = Barrier(8)

    def work() -> list[str]:
        barrier.wait()
        got = []
        for number in range(400):
            with registry.acquire("m", policy="affinity", affinity=number % 5) as lease:
                got.append(lease.backend.id)
        return got

    taken = run_threads([work] * 8)
    views = registry.get_all_backends()
    assert sum(view.pending_requests for view in views) == 0
    counts = Counter(one for got in taken for one in got)
    assert {view.id: view.total_requests for view in views if view.total_requests} == counts


def rush(registry: Registry, key: int, each: int) -> list[list[Lease]]:
    """The leases that 8 threads take at once, so many each."""
    barrier = Barrier(8)

    def work() -> list[Lease]:
        barrier.wait()
        return [registry.acquire("m", policy="affinity", affinity=key) for _ in range(each)]

    return run_threads([work] * 8)


def test_threads_fill_the_backends_exactly_up_to_the_floor() -> None:
    shapes: list[Shape] = [(1, 0, None, True)] * 20
    for key in range(20):
        registry = fleet(shapes, 1.0, 4.0)
        order = ranked(registry.explain("m", policy="affinity", affinity=key))
        taken = rush(registry, key, 8)
        loads = {view.id: view.pending_requests for view in registry.get_all_backends()}
        assert [loads[one] for one in order] == [4] * 16 + [0] * 4
        for lease in (one for leases in taken for one in leases):
            lease.release(abandoned=True)


def test_threads_never_pass_the_bound_of_the_mean() -> None:
    """Without a floor, n requests of any keys that only come are spread as evenly as one by one."""
    shapes: list[Shape] = [(1, 0, None, True)] * 4
    for round_number in range(10):
        registry = fleet(shapes, 1.0, 0.0)
        taken = rush(registry, round_number, 25)
        views = registry.get_all_backends()
        # Who is over the mean gets a request only if it is the least loaded.
        assert [view.pending_requests for view in views] == [50] * 4
        for lease in (one for leases in taken for one in leases):
            lease.release(abandoned=True)
