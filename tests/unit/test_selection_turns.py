"""Turns: round robin's sequence, and the rotation of ties between equal backends."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from support.fleets import make_backend, make_fleet
from support.selection import EXACT, key_for, picks

from registry import BackendStatus, Model, NoBackendAvailableError, Policy, Registry

# ---- Round robin.


def test_round_robin_gives_the_sequence_of_nginx() -> None:
    registry = make_fleet({"weight": 5}, {"weight": 1}, {"weight": 1})
    round_of_seven = picks(registry, 7, policy=Policy.ROUND_ROBIN)
    # a a b a c a a. The tie decides which of the two light backends comes first.
    assert [pick == "b0" for pick in round_of_seven] == [True, True, False, True, False, True, True]
    assert sorted(round_of_seven[2::2][:2]) == ["b1", "b2"]
    assert Counter(picks(registry, 700, policy=Policy.ROUND_ROBIN)) == {
        "b0": 500,
        "b1": 100,
        "b2": 100,
    }


def test_round_robin_continues_while_the_fleet_changes() -> None:
    registry = make_fleet(*[{}] * 4, ejection=None)  # Without it, b3 does not start slowly.
    counts: Counter[str] = Counter()
    for number in range(400):
        counts.update(picks(registry, 1, policy=Policy.ROUND_ROBIN))
        registry.update_status("b3", "draining" if number % 2 else "healthy")
        registry.add_backend(make_backend(f"x{number}", "m"))
        registry.remove_backend(f"x{number}")
    # Each choice gives every candidate 1 credit. It costs the chosen one as many credits as there
    # are candidates: 4 with b3, else 3. b3 is a candidate for 200 choices, the others for 400.
    assert abs(counts["b3"] - 200 / 4) <= 2
    assert all(
        400 / 4 - 2 <= counts[backend_id] <= 400 / 3 + 2 for backend_id in ("b0", "b1", "b2")
    )


def test_a_refusal_takes_no_turn() -> None:
    registry = make_fleet({}, {}, {})
    order = picks(registry, 3, policy=Policy.ROUND_ROBIN)
    for policy in Policy:
        with pytest.raises(NoBackendAvailableError):
            registry.select(
                "m", policy=policy, affinity=key_for(policy), exclude=["b0", "b1", "b2"]
            )
        registry.explain("m", policy=policy, affinity=key_for(policy))
    assert picks(registry, 3, policy=Policy.ROUND_ROBIN) == order


# ---- Ties.


@pytest.mark.parametrize("policy", EXACT)
@pytest.mark.parametrize("count", [2, 3, 10])
def test_ties_rotate(policy: Policy, count: int) -> None:
    registry = make_fleet(*[{"latency": 7}] * count)
    for _ in range(3):
        assert len(set(picks(registry, count, policy=policy))) == count


@pytest.mark.parametrize("policy", EXACT)
def test_ties_rotate_among_a_few_of_many(policy: Policy) -> None:
    worse = {"pending": 5, "priority": 9, "latency": 9000, "weight": 1, "max_pending": 5}
    registry = make_fleet(
        *[worse if number not in (6, 7) else {"latency": 1} for number in range(12)]
    )
    assert Counter(picks(registry, 100, policy=policy)) == {"b6": 50, "b7": 50}


def test_ties_do_not_start_over_when_the_fleet_changes() -> None:
    registry = make_fleet(*[{}] * 5)
    counts: Counter[str] = Counter()
    for number in range(500):
        counts.update(picks(registry, 1))
        registry.add_backend(make_backend(f"x{number}", "m"))
        registry.remove_backend(f"x{number}")
    assert set(counts.values()) == {100}


def test_first_choices_differ_between_models() -> None:
    models = [Model(f"m{number}") for number in range(200)]
    registry = Registry()
    for number in range(5):
        registry.add_backend(dataclasses.replace(make_backend(f"b{number}"), models=tuple(models)))
        registry.update_status(f"b{number}", BackendStatus.HEALTHY)
    counts = Counter(registry.select(model.id).id for model in models)
    assert len(counts) == 5
    assert max(counts.values()) < 90  # 40 are expected.


@pytest.mark.parametrize("policy", EXACT)
def test_ties_rotate_across_models(policy: Policy) -> None:
    registry = Registry()
    for number in range(3):
        registry.add_backend(make_backend(f"b{number}", "m", "n"))
        registry.update_status(f"b{number}", "healthy")
    chosen = [registry.select("mn"[number % 2], policy=policy).id for number in range(12)]
    if policy is Policy.ROUND_ROBIN:
        # Each model has credits of its own; ties in credit rotate across models.
        assert all(len(set(chosen[start::2][:3])) == 3 for start in (0, 1))
        assert chosen[0] != chosen[1]
    elif policy is Policy.LEAST_PENDING:
        # A model's round may begin with the backend that was just chosen for the other model.
        assert all(abs(count - 4) <= 1 for count in Counter(chosen).values())
        assert len(set(chosen[6:9])) == len(set(chosen[9:12])) == 3
    else:
        assert all(len(set(chosen[start : start + 3])) == 3 for start in range(10))


@pytest.mark.parametrize("policy", [one for one in Policy if one is not Policy.AFFINITY])
def test_explain_ranks_equal_backends_by_their_last_choice(policy: Policy) -> None:
    registry = make_fleet({}, {}, {}, {})
    chosen = [registry.select("m").id for _ in range(2)]
    ranked = [one.backend_id for one in registry.explain("m", policy=policy)]
    if policy is not Policy.ROUND_ROBIN:  # Round robin orders by its credits.
        assert set(ranked[2:]) == set(chosen)


def test_health_checks_without_a_change_do_not_disturb_the_order() -> None:
    registry = make_fleet(*[{}] * 3, ejection=None)  # Without it, nobody starts slowly.
    order = picks(registry, 3)
    for number in range(30):
        registry.update_status(f"b{number % 3}", "healthy")
        assert picks(registry, 1) == [order[number % 3]]
    registry.update_status(order[0], "draining", "soon back")
    assert set(picks(registry, 6)) == set(order[1:])
    registry.update_status(order[0], "healthy")
    assert set(picks(registry, 3)) == set(order)


@pytest.mark.parametrize("count", [5, 40])
def test_a_backend_added_late_is_chosen_soon(count: int) -> None:
    registry = make_fleet(*[{}] * count)
    picks(registry, 100)
    registry.add_backend(make_backend("late", "m"))
    registry.update_status("late", "healthy")
    assert picks(registry, count + 1).count("late") == 1
    registry.add_backend(make_backend("later", "m"))
    registry.update_status("later", "healthy")
    assert picks(registry, 1, policy="priority") == ["later"]
