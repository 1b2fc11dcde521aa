"""Weight, priority and cap of a backend take effect at once, in every policy that uses them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet, the
from support.selection import EXACT, key_for, picks

from registry import NoBackendAvailableError, Policy, Registry

BY_LOAD = [
    Policy.LEAST_PENDING,
    Policy.POWER_OF_TWO,
    Policy.LOWEST_LATENCY,
    Policy.PRIORITY,
]


def change(registry: Registry, backend_id: str, **fields: Any) -> None:
    """Changes parts of a definition."""
    registry.update_backend(replace(the(registry, backend_id).backend, **fields))


# ---- Weights.


@pytest.mark.parametrize("policy", BY_LOAD)
def test_a_weight_takes_effect_at_once(policy: Policy) -> None:
    registry = make_fleet({"pending": 1, "latency": 10}, {"pending": 2, "latency": 10})
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == ["b0"] * 5
    change(registry, "b1", weight=4)
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == ["b1"] * 5
    assert [c.weight for c in registry.explain("m", policy=policy, affinity=key_for(policy))] == [
        4,
        1,
    ]
    change(registry, "b0", weight=1000)
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == ["b0"] * 5
    change(registry, "b0", weight=1)
    change(registry, "b1", weight=1)
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == ["b0"] * 5


def test_round_robin_follows_a_weight() -> None:
    registry = make_fleet({}, {})
    assert Counter(picks(registry, 10, policy="round_robin")) == {"b0": 5, "b1": 5}
    change(registry, "b1", weight=3)
    assert Counter(picks(registry, 40, policy="round_robin")) == {"b0": 10, "b1": 30}
    change(registry, "b1", weight=1)
    assert Counter(picks(registry, 40, policy="round_robin")) == {"b0": 20, "b1": 20}


def test_random_follows_a_weight() -> None:
    """If the weights were still the old ones, about 1 of 400 choices would be as expected."""
    registry = make_fleet({"weight": 1000}, {"weight": 1})
    assert Counter(picks(registry, 400, policy="random"))["b0"] > 300
    change(registry, "b0", weight=1)
    change(registry, "b1", weight=1000)
    assert Counter(picks(registry, 400, policy="random"))["b1"] > 300


@pytest.mark.parametrize("policy", [Policy.LEAST_PENDING, Policy.PRIORITY])
def test_a_weight_takes_effect_in_a_round_of_many_equals(policy: Policy) -> None:
    """The heaviest of many idle backends is the best one, until its weight is as the others'."""
    registry = make_fleet(*[{}] * 40)
    picks(registry, 17, policy=policy, affinity=key_for(policy))
    for heavy in ("b7", "b30", "b0"):
        change(registry, heavy, weight=10)
        assert picks(registry, 3, policy=policy, affinity=key_for(policy)) == [heavy] * 3
        change(registry, heavy, weight=1)
        assert len(set(picks(registry, 80, policy=policy, affinity=key_for(policy)))) == 40


def test_requests_spread_by_the_new_weights() -> None:
    registry = make_fleet({"weight": 3}, {"weight": 1})
    first = [registry.acquire("m") for _ in range(40)]
    assert [view.pending_requests for view in registry.get_all_backends()] == [30, 10]
    registry.reconcile([make_backend("b0", "m", weight=1), make_backend("b1", "m", weight=3)])
    second = [registry.acquire("m") for _ in range(80)]
    assert [view.pending_requests for view in registry.get_all_backends()] == [30, 90]
    assert all(lease.release(1) for lease in [*first, *second])
    assert [view.total_requests for view in registry.get_all_backends()] == [30, 90]


# ---- Priorities.


@pytest.mark.parametrize("policy", [Policy.PRIORITY, Policy.SMART])
@pytest.mark.parametrize("count", [2, 40])
def test_a_priority_takes_effect_at_once(policy: Policy, count: int) -> None:
    registry = make_fleet(*[{"priority": 5}] * count)
    picks(registry, 3, policy=policy, affinity=key_for(policy))
    last = f"b{count - 1}"
    change(registry, last, priority=4)
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == [last] * 5
    change(registry, "b0", priority=-7)
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == ["b0"] * 5
    assert registry.explain("m", policy=policy, affinity=key_for(policy))[0].priority == -7
    change(registry, "b0", priority=6)
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == [last] * 5


# ---- Caps.


@pytest.mark.parametrize("policy", Policy)
def test_a_cap_takes_effect_at_once(policy: Policy) -> None:
    registry = make_fleet({"pending": 2}, {"pending": 2})
    change(registry, "b0", max_pending=2)
    assert picks(registry, 20, policy=policy, affinity=key_for(policy)) == ["b1"] * 20
    change(registry, "b1", max_pending=2)
    for choose in (registry.acquire, registry.select):
        with pytest.raises(NoBackendAvailableError, match="'b0' full, 'b1' full"):
            choose("m", policy=policy, affinity=key_for(policy))
    change(registry, "b0", max_pending=3)
    assert picks(registry, 20, policy=policy, affinity=key_for(policy)) == ["b0"] * 20
    with registry.acquire("m", policy=policy, affinity=key_for(policy)) as lease:
        assert lease.backend.id == "b0"
        with pytest.raises(NoBackendAvailableError):
            registry.acquire("m", policy=policy, affinity=key_for(policy))
        change(registry, "b1", max_pending=None)
        assert picks(registry, 20, policy=policy, affinity=key_for(policy)) == ["b1"] * 20


@pytest.mark.parametrize("policy", Policy)
def test_a_cap_below_what_is_in_flight_takes_nothing_away(policy: Policy) -> None:
    registry = make_fleet({"max_pending": 5})
    leases = [registry.acquire("m", policy=policy, affinity=key_for(policy)) for _ in range(5)]
    change(registry, "b0", max_pending=2)
    for in_flight in range(5, 1, -1):
        assert the(registry, "b0").pending_requests == in_flight
        assert sum(lease.active for lease in leases) == in_flight
        with pytest.raises(NoBackendAvailableError, match="'b0' full"):
            registry.acquire("m", policy=policy, affinity=key_for(policy))
        assert leases.pop().release(1)
    leases.append(registry.acquire("m", policy=policy, affinity=key_for(policy)))
    with pytest.raises(NoBackendAvailableError):
        registry.acquire("m", policy=policy, affinity=key_for(policy))
    assert all(lease.release(1) for lease in leases)
    assert the(registry, "b0").total_requests == 6


@pytest.mark.parametrize("policy", EXACT)
def test_caps_take_effect_in_a_round_of_many_equals(policy: Policy) -> None:
    registry = make_fleet(*[{"pending": 1, "latency": 7}] * 40)
    picks(registry, 17, policy=policy, affinity=key_for(policy))
    for number in range(39):
        change(registry, f"b{number}", max_pending=1)
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == ["b39"] * 5
    change(registry, "b39", max_pending=1)
    with pytest.raises(NoBackendAvailableError, match="and 30 more"):
        registry.select("m", policy=policy, affinity=key_for(policy))
    for number in range(40):
        change(registry, f"b{number}", max_pending=2)
    assert len(set(picks(registry, 80, policy=policy, affinity=key_for(policy)))) == 40


def test_manual_counts_ignore_a_new_cap() -> None:
    registry = make_fleet({})
    change(registry, "b0", max_pending=1)
    assert registry.increment_pending_many(["b0"] * 3) == [1, 2, 3]
    with pytest.raises(NoBackendAvailableError):
        registry.acquire("m")


# ---- A replacement starts anew.


def test_the_limits_of_a_replacement_are_its_own() -> None:
    registry = make_fleet({"max_pending": 1, "pending": 1}, {"priority": -1, "weight": 9})
    registry.update_backend(
        make_backend("b0", "m", url="http://new", priority=-2, weight=3, max_pending=2)
    )
    assert registry.select("m", policy="priority", allow_unknown=True).id == "b0"
    leases = [registry.acquire("m", policy="priority", allow_unknown=True) for _ in range(3)]
    assert sorted(lease.backend.id for lease in leases) == ["b0", "b0", "b1"]
    for lease in leases:
        lease.release()


@pytest.mark.parametrize("policy", EXACT)
def test_a_replacement_takes_its_turns(policy: Policy) -> None:
    registry = make_fleet(*[{"latency": 7}] * 4)
    picks(registry, 6, policy=policy, affinity=key_for(policy))
    registry.update_backend(make_backend("b2", "m", url="http://new"))
    registry.update_status("b2", "healthy")
    registry.update_latency("b2", 7)
    assert len(set(picks(registry, 8, policy=policy, affinity=key_for(policy)))) == 4
