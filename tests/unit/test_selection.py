"""Choosing: what each policy prefers, what stands in the way, how ties and turns go round, and what is told about it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gc
import pickle
import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fleets import make_backend, make_fleet
from support.threads import run_threads

from registry import (
    BackendStatus,
    Candidate,
    Lease,
    Model,
    NoBackendAvailableError,
    Policy,
    PolicyValue,
    Registry,
    RegistryError,
    Requirements,
)
from registry._core.binding import seed_random

EXACT = [policy for policy in Policy if policy not in (Policy.RANDOM, Policy.POWER_OF_TWO)]


def picks(registry: Registry, count: int, **arguments: Any) -> list[str]:
    """The ids of so many choices in a row."""
    return [registry.select("m", **arguments).id for _ in range(count)]


# ---- the policies


@pytest.mark.parametrize(
    ("policy", "shapes", "expected"),
    [
        (Policy.LEAST_PENDING, [{"pending": 3}, {"pending": 1}, {"pending": 2}], "b1"),
        (
            Policy.LEAST_PENDING,
            [{"pending": 3, "weight": 4}, {"pending": 1}],
            "b0",
        ),  # 4/4 against 2/1
        (
            Policy.LEAST_PENDING,
            [{"pending": 6, "weight": 3}, {"pending": 1}],
            "b1",
        ),  # 7/3 against 2/1
        (
            Policy.LEAST_PENDING,
            [{"pending": 2, "weight": 1000}, {"pending": 1, "weight": 667}],
            "b1",
        ),  # 2001/667000 less
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
        (
            Policy.LOWEST_LATENCY,
            [{"latency": 100}, {"latency": 60, "pending": 1}],
            "b0",
        ),  # 100 against 120
        (
            Policy.LOWEST_LATENCY,
            [{"latency": 100}, {"latency": 120, "weight": 2}],
            "b1",
        ),  # 100 against 60
        (
            Policy.LOWEST_LATENCY,
            [{"latency": 2**32 - 1, "weight": 1000}, {"latency": 2**32 - 1, "weight": 999}],
            "b0",
        ),
        (Policy.SMART, [{"priority": 1}, {"priority": 0}], "b1"),  # 50 points
        (Policy.SMART, [{"priority": 1}, {"priority": 0, "pending": 2}], "b0"),  # 50 against 60
        (
            Policy.SMART,
            [{"latency": 19, "priority": 0}, {"latency": 20, "priority": 0}],
            "b0",
        ),  # 10 ms are a point
        (
            Policy.SMART,
            [{"priority": 150, "latency": 10}, {"priority": 100}],
            "b1",
        ),  # beyond 100 is 100
        (
            Policy.SMART,
            [{"priority": -3, "pending": 4}, {"priority": 0}],
            "b0",
        ),  # negative ones go on
    ],
)
def test_the_best_by_its_policy(
    policy: Policy, shapes: list[dict[str, Any]], expected: str
) -> None:
    registry = make_fleet(*shapes)
    assert set(picks(registry, 3, policy=policy)) == {expected}
    assert set(picks(registry, 3, policy=policy.value)) == {expected}
    with registry.acquire("m", policy=policy) as lease:
        assert lease.backend.id == expected


def test_without_a_sample_it_counts_as_the_best_and_goes_first() -> None:
    registry = make_fleet({"latency": 50}, {}, {"latency": 80})
    leases = [registry.acquire("m", policy=Policy.LOWEST_LATENCY) for _ in range(3)]
    assert [lease.backend.id for lease in leases] == [
        "b1",
        "b0",
        "b2",
    ]  # 50 first, then 50, then 80 < 100
    assert [lease.release(1) for lease in leases] == [True] * 3
    # Among those without a sample the least pending; none with a sample at all.
    assert set(picks(make_fleet({"pending": 2}, {"pending": 1}), 4, policy="lowest_latency")) == {
        "b1"
    }


def test_the_best_average_is_that_of_all_candidates_full_ones_too() -> None:
    registry = make_fleet(
        {"latency": 10, "max_pending": 1, "pending": 1}, {"pending": 3}, {"latency": 50}
    )
    assert picks(registry, 1, policy="lowest_latency") == ["b1"]  # 4 * 10 against 50
    registry.update_status("b0", "unhealthy")
    assert picks(registry, 1, policy="lowest_latency") == ["b2"]  # 4 * 50 against 50


def test_round_robin_is_nginx_s_sequence() -> None:
    registry = make_fleet({"weight": 5}, {"weight": 1}, {"weight": 1})
    round_of_seven = picks(registry, 7, policy=Policy.ROUND_ROBIN)
    # a a b a c a a; which of the two light ones comes first is the tie's turn.
    assert [pick == "b0" for pick in round_of_seven] == [True, True, False, True, False, True, True]
    assert sorted(round_of_seven[2::2][:2]) == ["b1", "b2"]
    assert Counter(picks(registry, 700, policy=Policy.ROUND_ROBIN)) == {
        "b0": 500,
        "b1": 100,
        "b2": 100,
    }


def test_round_robin_goes_on_while_the_fleet_changes() -> None:
    registry = make_fleet(*[{}] * 4)
    counts: Counter[str] = Counter()
    for number in range(400):
        counts.update(picks(registry, 1, policy=Policy.ROUND_ROBIN))
        registry.update_status("b3", "unhealthy" if number % 2 else "healthy")
        registry.add_backend(make_backend(f"x{number}", "m"))
        registry.remove_backend(f"x{number}")
    # Of four with b3 each pays 4 for a choice, of three 3, and gets 1 a round: b3 is due in 200 rounds, the others in 400.
    assert abs(counts["b3"] - 200 / 4) <= 2
    assert all(
        400 / 4 - 2 <= counts[backend_id] <= 400 / 3 + 2 for backend_id in ("b0", "b1", "b2")
    )


def test_a_refusal_is_no_turn() -> None:
    registry = make_fleet({}, {}, {})
    order = picks(registry, 3, policy=Policy.ROUND_ROBIN)
    for policy in Policy:
        with pytest.raises(NoBackendAvailableError):
            registry.select("m", policy=policy, exclude=["b0", "b1", "b2"])
        registry.explain("m", policy=policy)
    assert picks(registry, 3, policy=Policy.ROUND_ROBIN) == order


# ---- ties


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


def test_first_choices_differ_from_model_to_model() -> None:
    models = [Model(f"m{number}") for number in range(200)]
    registry = Registry()
    for number in range(5):
        registry.add_backend(dataclasses.replace(make_backend(f"b{number}"), models=tuple(models)))
        registry.update_status(f"b{number}", BackendStatus.HEALTHY)
    counts = Counter(registry.select(model.id).id for model in models)
    assert len(counts) == 5
    assert max(counts.values()) < 90  # 40 expected


@pytest.mark.parametrize("policy", EXACT)
def test_turns_belong_to_backends_whatever_the_model(policy: Policy) -> None:
    registry = Registry()
    for number in range(3):
        registry.add_backend(make_backend(f"b{number}", "m", "n"))
        registry.update_status(f"b{number}", "healthy")
    chosen = [registry.select("mn"[number % 2], policy=policy).id for number in range(12)]
    if (
        policy is Policy.ROUND_ROBIN
    ):  # credits are a model's own: its turns, and where they are equal, the backends'
        assert all(len(set(chosen[start::2][:3])) == 3 for start in (0, 1))
        assert chosen[0] != chosen[1]
    elif (
        policy is Policy.LEAST_PENDING
    ):  # a model's round may begin with one that has just been chosen for the other
        assert all(abs(count - 4) <= 1 for count in Counter(chosen).values())
        assert len(set(chosen[6:9])) == len(set(chosen[9:12])) == 3
    else:
        assert all(len(set(chosen[start : start + 3])) == 3 for start in range(10))


# ---- exactness

SHAPES = st.lists(
    st.fixed_dictionaries(
        {"weight": st.integers(1, 5), "max_pending": st.none() | st.integers(1, 12)}
    ),
    min_size=1,
    max_size=5,
)


def assert_filled_as_by_one(registry: Registry) -> None:
    """In flight is what exact choices one after the other make of an idle fleet: whoever got one had no more, before it, than any
    other that is not full now, in proportion to weight. Caps hold."""
    views = registry.get_all_backends()
    for view in views:
        assert view.pending_requests <= (view.max_pending or 2**32 - 1)
        for other in views:
            if view.pending_requests > 0 and other.pending_requests != other.max_pending:
                assert (
                    view.pending_requests * other.weight
                    <= (other.pending_requests + 1) * view.weight
                )


@given(SHAPES, st.integers(0, 40))
def test_choices_fill_the_fleet_evenly(shapes: list[dict[str, Any]], count: int) -> None:
    registry = make_fleet(*shapes)
    room = sum(shape["max_pending"] or 1000 for shape in shapes)
    leases = [registry.acquire("m") for _ in range(min(count, room))]
    assert_filled_as_by_one(registry)
    if count > room:
        with pytest.raises(NoBackendAvailableError):
            registry.acquire("m")
    for lease in leases:
        lease.release()


@settings(max_examples=20, deadline=None)
@given(SHAPES, st.integers(1, 10))
def test_concurrent_choices_fill_the_fleet_evenly(shapes: list[dict[str, Any]], each: int) -> None:
    registry = make_fleet(*shapes)

    def take() -> list[Lease]:
        taken = []
        for _ in range(each):
            with contextlib.suppress(NoBackendAvailableError):
                taken.append(registry.acquire("m"))
        return taken

    leases = [lease for part in run_threads([take] * 8) for lease in part]
    room = sum(shape["max_pending"] or 1000 for shape in shapes)
    assert len(leases) == min(8 * each, room)
    assert_filled_as_by_one(registry)
    assert all(lease.release() for lease in leases)
    assert all(view.pending_requests == 0 for view in registry.get_all_backends())


# ---- at random

SEED = 20261124
DRAWS = 30_000
# 99.99 % of true distributions stay below: chi-squared with 1 to 5 degrees of freedom.
CHI_SQUARED = {1: 15.14, 2: 18.42, 3: 21.11, 4: 23.51, 5: 25.74}


def chi_squared(counts: Counter[str], expected: dict[str, float]) -> float:
    """How far counts are from what is expected of them."""
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
def test_power_of_two_is_the_better_of_two(padding: int) -> None:
    """Of n with distinct loads, the k-th best wins if the other is one of the n - k worse: 2 (n - k) / (n (n - 1)). With many that
    are not eligible between them, too, where drawing gives up and looks at all."""
    registry = make_fleet(
        *[{"pending": number} for number in range(5)], *[{"status": "draining"}] * padding
    )
    seed_random(SEED + padding)
    expected = {f"b{number}": 2 * (4 - number) / 20 for number in range(5)}
    assert_distributed(picks(registry, DRAWS, policy=Policy.POWER_OF_TWO), expected)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_power_of_two_favours_nobody_among_equals(count: int) -> None:
    registry = make_fleet(*[{}] * count)
    seed_random(SEED + count)
    assert_distributed(
        picks(registry, DRAWS, policy=Policy.POWER_OF_TWO),
        {f"b{number}": 1 / count for number in range(count)},
    )


def test_power_of_two_looks_at_weights_and_takes_the_only_one() -> None:
    assert set(
        picks(make_fleet({"pending": 3, "weight": 9}, {}), 20, policy=Policy.POWER_OF_TWO)
    ) == {"b0"}
    assert picks(make_fleet({}), 3, policy=Policy.POWER_OF_TWO) == ["b0"] * 3
    assert set(
        picks(make_fleet(*[{"status": "unknown"}] * 100, {}), 20, policy="power_of_two")
    ) == {"b100"}


# ---- what stands in the way


def test_every_reason_and_their_order() -> None:
    able = Model(
        "m",
        context_length=32_000,
        supports_vision=True,
        supports_tools=True,
        supports_json_mode=True,
    )
    full = {"max_pending": 1, "pending": 1}
    registry = make_fleet(
        {"model": able},
        {"model": able, **full},
        {"model": dataclasses.replace(able, context_length=8192), **full},
        {"model": dataclasses.replace(able, supports_json_mode=False, context_length=1)},
        {"model": dataclasses.replace(able, supports_tools=False, supports_json_mode=False)},
        {"model": Model("m")},
        {"model": Model("m"), "status": "unknown"},
        {"model": Model("m"), "status": "draining"},
        {"model": Model("m"), "status": "unhealthy"},
        {"model": Model("m"), "status": "unhealthy", **full},
    )
    require = Requirements(vision=True, tools=True, json_mode=True, min_context=32_000)
    told = registry.explain("m", require=require, exclude=("b9", "nobody"))
    assert {c.backend_id: c.reason for c in told} == {
        "b0": None,
        "b1": "full",
        "b2": "context 8192 < 32000",
        "b3": "no json mode",
        "b4": "no tools",
        "b5": "no vision",
        "b6": "unknown",
        "b7": "draining",
        "b8": "unhealthy",
        "b9": "excluded",
    }
    assert [c.backend_id for c in told] == [f"b{number}" for number in range(10)]
    assert [c.rank for c in told] == [1] + [None] * 9
    assert {
        c.backend_id for c in registry.explain("m", allow_unknown=True) if c.reason is None
    } == {f"b{number}" for number in (0, 3, 4, 5, 6)}


def test_the_error_says_it_in_one_line() -> None:
    registry = make_fleet({"status": "unhealthy"}, {"max_pending": 2, "pending": 2}, {})
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire("m", exclude={"b2"})
    error = caught.value
    assert isinstance(error, RegistryError)
    assert isinstance(error, LookupError)
    assert (error.model_id, error.unknown_model) == ("m", False)
    assert error.reasons == {"b0": "unhealthy", "b1": "full", "b2": "excluded"}
    assert str(error) == "no backend available for 'm': 'b0' unhealthy, 'b1' full, 'b2' excluded"
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.reasons, twin.model_id) == (str(error), error.reasons, "m")


def test_the_error_of_a_large_fleet_stays_one_line() -> None:
    registry = make_fleet(*[{"status": "draining"}] * 100)
    with pytest.raises(NoBackendAvailableError, match=r"'b9' draining, and 90 more$") as caught:
        registry.select("m")
    assert len(caught.value.reasons) == 100


@pytest.mark.parametrize("model_id", ["other", "", "\ud800"])
@pytest.mark.parametrize("policy", Policy)
def test_a_model_that_nobody_lists(model_id: str, policy: Policy) -> None:
    registry = make_fleet({})
    for choose in (registry.acquire, registry.select):
        with pytest.raises(NoBackendAvailableError, match="no backend lists it") as caught:
            choose(model_id, policy=policy)
        assert caught.value.unknown_model
        assert (caught.value.reasons, caught.value.model_id) == ({}, model_id)
    assert registry.explain(model_id, policy=policy) == []


def test_a_changed_definition_of_the_model_counts() -> None:
    registry = make_fleet({}, {})
    tools = Requirements(tools=True)
    with pytest.raises(NoBackendAvailableError):
        registry.select("m", require=tools)
    registry.update_models("b1", [Model("m", supports_tools=True)])
    assert registry.select("m", require=tools).id == "b1"
    assert [view.id for view in registry.get_backends_for_model("m")] == ["b0", "b1"]
    registry.update_models("b1", [Model("m")])
    with pytest.raises(NoBackendAvailableError):
        registry.select("m", require=tools)


@pytest.mark.parametrize("policy", Policy)
def test_a_cap_is_kept_and_opens_again(policy: Policy) -> None:
    registry = make_fleet({"max_pending": 2}, {"max_pending": 1})
    leases = [registry.acquire("m", policy=policy) for _ in range(3)]
    for choose in (registry.acquire, registry.select):
        with pytest.raises(NoBackendAvailableError, match="'b0' full, 'b1' full"):
            choose("m", policy=policy)
    freed = leases.pop()
    freed.release()
    again = registry.acquire("m", policy=policy)
    assert again.backend.id == freed.backend.id
    assert [lease.release() for lease in [*leases, again]] == [True] * 3


def test_explain_ranks_the_next_choice_first() -> None:
    registry = make_fleet(
        {"pending": 2}, {"pending": 0, "latency": 30, "priority": 4}, {"pending": 1, "weight": 3}
    )
    told = registry.explain("m")
    assert told[0] == Candidate("b2", None, 1, 1, 0, 3, 0)
    assert told[1] == Candidate("b1", None, 2, 0, 30, 1, 4)
    assert [(c.backend_id, c.rank) for c in told] == [("b2", 1), ("b1", 2), ("b0", 3)]
    for policy in EXACT:
        for _ in range(5):
            assert (
                registry.explain("m", policy=policy)[0].backend_id
                == registry.select("m", policy=policy).id
            )


# ---- the least recently chosen


def counted(registry: Registry, requests: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How often each was chosen, each released before the next."""
    counts: Counter[str] = Counter()
    for request in requests:
        with registry.acquire("m", **request) as lease:
            counts[lease.backend.id] += 1
    return dict(sorted(counts.items()))


def alternating(count: int, *kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """So many requests, of these kinds in turn."""
    return [kinds[number % len(kinds)] for number in range(count)]


PRIORITIES = [{"priority": priority} for priority in (0, 0, 1, 1, 1)]
IN_GROUPS = {"b0": 150, "b1": 150, "b2": 100, "b3": 100, "b4": 100}


def test_kinds_of_requests_that_alternate_starve_nobody() -> None:
    kinds = {"policy": "priority"}, {"policy": "priority", "exclude": ["b0", "b1"]}
    assert counted(make_fleet(*PRIORITIES), alternating(600, *kinds)) == IN_GROUPS


def test_requirements_starve_nobody() -> None:
    shapes = [
        {"model": Model("m", supports_tools=number > 1), **PRIORITIES[number]}
        for number in range(5)
    ]
    kinds = {"policy": "priority"}, {"policy": "priority", "require": Requirements(tools=True)}
    assert counted(make_fleet(*shapes), alternating(600, *kinds)) == IN_GROUPS


def test_policies_that_alternate_over_one_model_starve_nobody() -> None:
    kinds = [
        {"policy": policy, "exclude": exclude} for policy in EXACT for exclude in ((), ["b0", "b1"])
    ]
    counts = counted(make_fleet(*[{"latency": 5}] * 5), alternating(1000, *kinds))
    assert min(counts.values()) > 100


def test_a_kind_for_some_leaves_the_others_their_turns() -> None:
    """As strictly by last choice: the first two get a third of the requests that they may get."""
    counts = counted(make_fleet(*[{}] * 5), alternating(600, {}, {"exclude": ["b0", "b1"]}))
    assert [round(counts[f"b{number}"] / 10) for number in range(5)] == [10, 10, 13, 13, 13]


def test_retries_starve_nobody() -> None:
    """Every request is tried twice, the second time without the first one's choice."""
    registry = make_fleet(*[{}] * 5)
    counts: Counter[str] = Counter()
    for _ in range(500):
        with registry.acquire("m") as first:
            tried = first.backend.id
        with registry.acquire("m", exclude=[tried]) as second:
            counts.update([tried, second.backend.id])
    assert set(counts.values()) == {200}


@pytest.mark.parametrize("count", [5, 40])
def test_one_added_late_comes_soon(count: int) -> None:
    registry = make_fleet(*[{}] * count)
    picks(registry, 100)
    registry.add_backend(make_backend("late", "m"))
    registry.update_status("late", "healthy")
    assert picks(registry, count + 1).count("late") == 1
    registry.add_backend(make_backend("later", "m"))
    registry.update_status("later", "healthy")
    assert picks(registry, 1, policy="priority") == ["later"]


def test_weights_tie_by_last_choice() -> None:
    registry = make_fleet({"weight": 2}, {"weight": 2}, {}, {"weight": 2})
    kinds: tuple[dict[str, Any], ...] = ({}, {"exclude": ["b0"]})
    counts = counted(registry, alternating(400, *kinds))
    assert set(counts) == {"b0", "b1", "b3"}
    assert min(counts.values()) >= 400 // 4 - 1


@pytest.mark.parametrize("count", [4, 12, 30])
@pytest.mark.parametrize(
    "policies", [["priority"], ["smart"], ["least_pending"], ["least_pending", "priority", "smart"]]
)
@pytest.mark.parametrize("models", [["m"], ["m", "n"]])
def test_no_mix_of_requests_passes_over_an_equal(
    count: int, policies: list[PolicyValue], models: list[str]
) -> None:
    """x is passed over for y where y is chosen again and x, an equal, was not in between: never by policies that look at all;
    else once for each round that the requests share in, and once for equal stamps (src_c/rounds.h)."""
    dice = random.Random(count)
    registry = Registry()
    ids = [f"b{number}" for number in range(count)]
    tools = {id: dice.random() < 0.6 for id in ids}
    unknown = {id: dice.random() < 0.2 for id in ids}
    served = {id: [model for model in models if dice.random() < 0.8] or models[:1] for id in ids}
    for id in ids:
        listed = tuple(Model(model, supports_tools=tools[id]) for model in served[id])
        registry.add_backend(dataclasses.replace(make_backend(id), models=listed))
        registry.update_status(id, "unknown" if unknown[id] else "healthy")
    excluded = [(), *[tuple(dice.sample(ids, 2)) for _ in range(3)]]
    chosen_since: dict[tuple[str, str], int] = Counter()
    allowed = (
        1 if policies in (["priority"], ["smart"]) else 2 if count <= 16 else 2 + 2 * len(models)
    )
    for _ in range(100 * count):
        model, exclude = dice.choice(models), dice.choice(excluded)
        with_tools, with_unknown = dice.random() < 0.4, dice.random() < 0.3
        equals = {
            id
            for id in ids
            if model in served[id]
            and id not in exclude
            and (tools[id] or not with_tools)
            and (with_unknown or not unknown[id])
        }
        if not equals:
            continue
        require = Requirements(tools=with_tools)
        with registry.acquire(
            model,
            policy=dice.choice(policies),
            require=require,
            exclude=exclude,
            allow_unknown=with_unknown,
        ) as lease:
            chosen = lease.backend.id
        for other in equals - {chosen}:
            chosen_since[chosen, other] += 1
            assert chosen_since[chosen, other] <= allowed
        for other in ids:
            chosen_since[other, chosen] = 0


# ---- what changes nothing, and what is full


def test_health_checks_that_change_nothing_do_not_disturb() -> None:
    registry = make_fleet(*[{}] * 3)
    order = picks(registry, 3)
    for number in range(30):
        registry.update_status(f"b{number % 3}", "healthy")
        assert picks(registry, 1) == [order[number % 3]]
    registry.update_status(order[0], "unhealthy", "down")
    assert set(picks(registry, 6)) == set(order[1:])
    registry.update_status(order[0], "healthy")
    assert set(picks(registry, 3)) == set(order)


def test_power_of_two_draws_evenly_where_few_qualify() -> None:
    registry = make_fleet(
        *[{"status": "healthy" if number % 50 == 0 else "draining"} for number in range(300)]
    )
    seed_random(SEED)
    expected = {f"b{number}": 1 / 6 for number in range(0, 300, 50)}
    assert_distributed(picks(registry, DRAWS, policy=Policy.POWER_OF_TWO), expected)


# ---- refusals


def refused(registry: Registry, **request: Any) -> NoBackendAvailableError:
    """The error, not yet asked for anything."""
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire("m", **request)
    return caught.value


MIXED: list[dict[str, Any]] = [
    {"max_pending": 1, "pending": 1},
    {"status": "draining"},
    {"model": Model("m", context_length=100)},
    {},
]
MIXED_REASONS = {"b0": "full", "b1": "draining", "b2": "context 100 < 200", "b3": "excluded"}


@pytest.mark.parametrize("change", ["counts", "health", "models", "removal"])
def test_reasons_are_those_of_the_refusal(change: str) -> None:
    registry = make_fleet(*MIXED)
    error = refused(registry, exclude=["b3"], require=Requirements(min_context=200))
    for id in list(registry):
        if change == "counts":
            registry.decrement_pending(id) if id == "b0" else registry.increment_pending(id)
        elif change == "health":
            registry.update_status(id, "unknown", "later")
        elif change == "models":
            registry.update_models(id, [Model("n")])
        else:
            registry.remove_backend(id)
    registry.add_backend(make_backend("new", "m"))
    assert not error.unknown_model
    assert str(error).startswith("no backend available for 'm': 'b0' full, 'b1' draining, ")
    assert error.reasons == MIXED_REASONS
    assert error.args == ("m", MIXED_REASONS)
    assert error.reasons is error.reasons


@pytest.mark.parametrize(
    "twin_of", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_a_refusal_is_copied_before_it_is_asked(twin_of: Callable[[Any], Any]) -> None:
    error = refused(make_fleet(*MIXED), exclude=["b3"], require=Requirements(min_context=200))
    error.add_note("noted")
    twin = twin_of(error)
    assert (twin.reasons, twin.args, twin.model_id, str(twin)) == (
        MIXED_REASONS,
        error.args,
        "m",
        str(error),
    )
    assert (repr(twin), twin.__notes__) == (repr(error), ["noted"])
    assert (
        repr(refused(make_fleet({"status": "draining"})))
        == "NoBackendAvailableError('m', {'b0': 'draining'})"
    )
    error.args = ("other",)
    assert error.args == ("other",)


def test_reasons_are_in_order_of_registration() -> None:
    registry = make_fleet(*[{"status": "draining"}] * 4)
    registry.update_models("b1", [])
    registry.update_models("b1", [Model("m")])
    assert list(refused(registry).reasons) == ["b0", "b1", "b2", "b3"]


def test_the_registry_may_go_before_the_reasons_are_asked() -> None:
    error = refused(make_fleet(*MIXED), exclude=["b2", "b3"])
    gc.collect()
    assert error.reasons == {**MIXED_REASONS, "b2": "excluded"}


def churn(registry: Registry) -> None:
    """Enough writes for what was removed before to be reclaimed, if nobody keeps it."""
    for _ in range(500):
        registry.add_backend(make_backend("other"))
        registry.remove_backend("other")


def test_what_a_refusal_keeps_is_given_back() -> None:
    registry = make_fleet(*[{"status": "draining"}] * 50)
    told, dropped = refused(registry), refused(registry)
    for id in list(registry):
        registry.remove_backend(id)
    churn(registry)
    assert registry.stats().kept_for_views >= 50
    assert len(told.reasons) == 50
    del dropped
    gc.collect()  # its traceback knows the frame that knows it
    churn(registry)
    assert registry.stats().kept_for_views == 0
    assert len(told.reasons) == 50


def told_by(error: NoBackendAvailableError) -> tuple[dict[str, str], str, bool]:
    """All that an error tells of its refusal."""
    return error.reasons, str(error), error.unknown_model


def test_concurrent_threads_ask_one_refusal() -> None:
    for _ in range(50):
        error = refused(make_fleet(*[{"status": "draining"}] * 30))
        results = run_threads([partial(told_by, error)] * 4)
        assert all(reasons is results[0][0] and len(reasons) == 30 for reasons, _, _ in results)
        assert {(text, unknown) for _, text, unknown in results} == {(str(error), False)}


@pytest.mark.parametrize("policy", Policy)
def test_explain_ranks_equals_by_their_last_choice(policy: Policy) -> None:
    registry = make_fleet({}, {}, {}, {})
    chosen = [registry.select("m").id for _ in range(2)]
    ranked = [one.backend_id for one in registry.explain("m", policy=policy)]
    if policy is not Policy.ROUND_ROBIN:  # its turns are its own
        assert set(ranked[2:]) == set(chosen)


def test_several_kinds_take_turns_in_a_long_list() -> None:
    """Each kind of request keeps its own round, so that none of them begins anew what another one has served."""
    registry = Registry()
    for number in range(48):
        model = Model("m", supports_vision=number % 3 != 1, supports_tools=number % 3 != 2)
        registry.add_backend(dataclasses.replace(make_backend(f"b{number}"), models=(model,)))
        registry.update_status(f"b{number}", "healthy")
    kinds = [
        Requirements(vision=True),
        Requirements(tools=True),
        Requirements(vision=True, tools=True),
        None,
    ]
    counts = Counter(registry.select("m", require=kinds[number % 4]).id for number in range(4800))
    assert len(counts) == 48
    both = [counts[f"b{number}"] for number in range(0, 48, 3)]
    assert max(both) <= 1.5 * min(both)


@pytest.mark.parametrize(("count", "tries"), [(3, 2), (4, 3), (6, 5), (5, 2)])
@pytest.mark.parametrize("policy", [policy for policy in EXACT if policy is not Policy.ROUND_ROBIN])
def test_retries_with_exclude_leave_equals_equal(count: int, tries: int, policy: Policy) -> None:
    registry = make_fleet(*[{}] * count)
    counts: Counter[str] = Counter()
    for _ in range(300):
        tried: list[str] = []
        for _ in range(tries):
            with registry.acquire("m", policy=policy, exclude=tried) as lease:
                tried.append(lease.backend.id)
        counts.update(tried)
    assert max(counts.values()) - min(counts.values()) <= count
