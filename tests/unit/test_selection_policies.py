"""What each policy prefers, and the distributions of the policies that draw at random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from support.fleets import make_fleet
from support.selection import EXACT, picks

from registry import Candidate, Policy
from registry._core.binding import seed_random


@pytest.mark.parametrize(
    ("policy", "shapes", "expected"),
    [
        (Policy.LEAST_PENDING, [{"pending": 3}, {"pending": 1}, {"pending": 2}], "b1"),
        # 4/4 is less than 2/1.
        (Policy.LEAST_PENDING, [{"pending": 3, "weight": 4}, {"pending": 1}], "b0"),
        # 7/3 is more than 2/1.
        (Policy.LEAST_PENDING, [{"pending": 6, "weight": 3}, {"pending": 1}], "b1"),
        # 3/1000 is more than 2/667.
        (
            Policy.LEAST_PENDING,
            [{"pending": 2, "weight": 1000}, {"pending": 1, "weight": 667}],
            "b1",
        ),
        (
            Policy.PRIORITY,
            [{"priority": 1}, {"priority": 0, "pending": 9}, {"priority": 0, "pending": 8}],
            "b2",
        ),
        (
            Policy.PRIORITY,
            [{"priority": 5}, {"priority": -5, "max_pending": 1, "pending": 1}],
            "b0",
        ),
        (Policy.LOWEST_LATENCY, [{"latency": 100}, {"latency": 90}], "b1"),
        # 100 is less than 120.
        (Policy.LOWEST_LATENCY, [{"latency": 100}, {"latency": 60, "pending": 1}], "b0"),
        # 60 is less than 100.
        (Policy.LOWEST_LATENCY, [{"latency": 100}, {"latency": 120, "weight": 2}], "b1"),
        (
            Policy.LOWEST_LATENCY,
            [{"latency": 2**32 - 1, "weight": 1000}, {"latency": 2**32 - 1, "weight": 999}],
            "b0",
        ),
        # One step of priority is worth 50.
        (Policy.SMART, [{"priority": 1}, {"priority": 0}], "b1"),
        # 2 requests are worth 60, one step of priority 50.
        (Policy.SMART, [{"priority": 1}, {"priority": 0, "pending": 2}], "b0"),
        # Every full 10 ms cost 20.
        (Policy.SMART, [{"latency": 19, "priority": 0}, {"latency": 20, "priority": 0}], "b0"),
        # Priorities above 100 count as 100.
        (Policy.SMART, [{"priority": 150, "latency": 20}, {"priority": 100, "latency": 19}], "b1"),
        # Without a sample, the best average of all counts: here the priority decides.
        (Policy.SMART, [{"priority": 1, "latency": 70}, {"priority": 0}], "b1"),
        (Policy.SMART, [{"priority": 0, "latency": 70}, {"priority": 1}], "b0"),
        # Negative priorities count as they are.
        (Policy.SMART, [{"priority": -3, "pending": 4}, {"priority": 0}], "b0"),
    ],
)
def test_each_policy_chooses_its_best(
    policy: Policy, shapes: list[dict[str, Any]], expected: str
) -> None:
    registry = make_fleet(*shapes)
    assert set(picks(registry, 3, policy=policy)) == {expected}
    assert set(picks(registry, 3, policy=policy.value)) == {expected}
    with registry.acquire("m", policy=policy) as lease:
        assert lease.backend.id == expected


def test_the_greatest_average_may_be_the_best() -> None:
    registry = make_fleet({"pending": 1}, {"latency": 2**32 - 1})
    ranked = registry.explain("m", policy=Policy.LOWEST_LATENCY)
    assert [candidate.backend_id for candidate in ranked] == ["b1", "b0"]
    assert picks(registry, 1, policy=Policy.LOWEST_LATENCY) == ["b1"]


def test_a_backend_without_a_sample_counts_as_the_best_and_wins_ties() -> None:
    registry = make_fleet({"latency": 50}, {}, {"latency": 80})
    leases = [registry.acquire("m", policy=Policy.LOWEST_LATENCY) for _ in range(3)]
    # b1 wins the tie at 50; then 50 and 80 are less than 100.
    assert [lease.backend.id for lease in leases] == ["b1", "b0", "b2"]
    assert [lease.release(1) for lease in leases] == [True] * 3
    # Among backends without a sample, the least loaded wins. Here no backend has one.
    assert set(picks(make_fleet({"pending": 2}, {"pending": 1}), 4, policy="lowest_latency")) == {
        "b1"
    }


def test_the_best_average_includes_full_backends() -> None:
    registry = make_fleet(
        {"latency": 10, "max_pending": 1, "pending": 1}, {"pending": 3}, {"latency": 50}
    )
    assert picks(registry, 1, policy="lowest_latency") == ["b1"]  # 4 * 10 is less than 50.
    registry.update_status("b0", "unhealthy")
    assert picks(registry, 1, policy="lowest_latency") == ["b2"]  # 4 * 50 is more than 50.


def test_explain_ranks_the_next_choice_first() -> None:
    registry = make_fleet(
        {"pending": 2}, {"pending": 0, "latency": 30, "priority": 4}, {"pending": 1, "weight": 3}
    )
    ranked = registry.explain("m")
    assert ranked[0] == Candidate("b2", None, 1, 1, 0, 3, 0)
    assert ranked[1] == Candidate("b1", None, 2, 0, 30, 1, 4)
    assert [(c.backend_id, c.rank) for c in ranked] == [("b2", 1), ("b1", 2), ("b0", 3)]
    for policy in EXACT:
        for _ in range(5):
            assert (
                registry.explain("m", policy=policy)[0].backend_id
                == registry.select("m", policy=policy).id
            )


# ---- Policies that draw at random.


SEED = 20261124
DRAWS = 30_000
# 99.99 % of correct samples stay below these limits, for 1 to 5 degrees of freedom.
CHI_SQUARED = {1: 15.14, 2: 18.42, 3: 21.11, 4: 23.51, 5: 25.74}


def chi_squared(counts: Counter[str], expected: dict[str, float]) -> float:
    """How far the counts are from the expected shares."""
    assert set(counts) <= {name for name, share in expected.items() if share > 0}
    total = sum(counts.values())
    return sum(
        (counts[name] - total * share) ** 2 / (total * share)
        for name, share in expected.items()
        if share > 0
    )


def assert_distributed(draws: Iterable[str], expected: dict[str, float]) -> None:
    shares = [share for share in expected.values() if share > 0]
    assert abs(sum(shares) - 1) < 1e-9
    assert chi_squared(Counter(draws), expected) < CHI_SQUARED[len(shares) - 1]


def test_random_is_in_proportion_to_weight() -> None:
    registry = make_fleet(
        {"weight": 1},
        {"weight": 2},
        {"weight": 3},
        {"weight": 4, "status": "unhealthy"},
        {"weight": 4},
    )
    seed_random(SEED)
    expected = {"b0": 0.1, "b1": 0.2, "b2": 0.3, "b3": 0.0, "b4": 0.4}
    assert_distributed(picks(registry, DRAWS, policy=Policy.RANDOM), expected)


@pytest.mark.parametrize("padding", [0, 40])
def test_power_of_two_chooses_the_better_of_two(padding: int) -> None:
    """POWER_OF_TWO chooses the less loaded of two backends.

    With n distinct loads, the k-th best wins if the other draw is one of the n - k worse ones: the
    probability is 2 (n - k) / (n (n - 1)). With `padding`, most backends do not qualify; drawing
    then gives up and looks at all of them.
    """
    registry = make_fleet(
        *[{"pending": number} for number in range(5)], *[{"status": "draining"}] * padding
    )
    seed_random(SEED + padding)
    expected = {f"b{number}": 2 * (4 - number) / 20 for number in range(5)}
    assert_distributed(picks(registry, DRAWS, policy=Policy.POWER_OF_TWO), expected)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_power_of_two_favours_no_backend_among_equals(count: int) -> None:
    registry = make_fleet(*[{}] * count)
    seed_random(SEED + count)
    assert_distributed(
        picks(registry, DRAWS, policy=Policy.POWER_OF_TWO),
        {f"b{number}": 1 / count for number in range(count)},
    )


def test_power_of_two_draws_evenly_when_few_backends_qualify() -> None:
    registry = make_fleet(
        *[{"status": "healthy" if number % 50 == 0 else "draining"} for number in range(300)]
    )
    seed_random(SEED)
    expected = {f"b{number}": 1 / 6 for number in range(0, 300, 50)}
    assert_distributed(picks(registry, DRAWS, policy=Policy.POWER_OF_TWO), expected)


def test_power_of_two_respects_weights_and_finds_the_only_candidate() -> None:
    assert set(
        picks(make_fleet({"pending": 3, "weight": 9}, {}), 20, policy=Policy.POWER_OF_TWO)
    ) == {"b0"}
    assert picks(make_fleet({}), 3, policy=Policy.POWER_OF_TWO) == ["b0"] * 3
    assert set(
        picks(make_fleet(*[{"status": "unknown"}] * 100, {}), 20, policy="power_of_two")
    ) == {"b100"}
