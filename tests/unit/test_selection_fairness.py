"""Mixed requests starve no backend: kinds of requests, policies, models and retries alternate."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet
from support.selection import EXACT

from registry import Model, Policy, PolicyValue, Registry, Requirements


def counted(registry: Registry, requests: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How often each backend is chosen when each lease is released before the next request."""
    counts: Counter[str] = Counter()
    for request in requests:
        with registry.acquire("m", **request) as lease:
            counts[lease.backend.id] += 1
    return dict(sorted(counts.items()))


def alternating(count: int, *kinds: dict[str, Any]) -> list[dict[str, Any]]:
    """`count` requests that alternate between the kinds."""
    return [kinds[number % len(kinds)] for number in range(count)]


PRIORITIES = [{"priority": priority} for priority in (0, 0, 1, 1, 1)]
IN_GROUPS = {"b0": 150, "b1": 150, "b2": 100, "b3": 100, "b4": 100}


def test_alternating_kinds_of_requests_starve_no_backend() -> None:
    kinds = {"policy": "priority"}, {"policy": "priority", "exclude": ["b0", "b1"]}
    assert counted(make_fleet(*PRIORITIES), alternating(600, *kinds)) == IN_GROUPS


def test_requirements_starve_no_backend() -> None:
    shapes = [
        {"model": Model("m", supports_tools=number > 1), **PRIORITIES[number]}
        for number in range(5)
    ]
    kinds = {"policy": "priority"}, {"policy": "priority", "require": Requirements(tools=True)}
    assert counted(make_fleet(*shapes), alternating(600, *kinds)) == IN_GROUPS


def test_alternating_policies_for_one_model_starve_no_backend() -> None:
    kinds = [
        {"policy": policy, "exclude": exclude} for policy in EXACT for exclude in ((), ["b0", "b1"])
    ]
    counts = counted(make_fleet(*[{"latency": 5}] * 5), alternating(1000, *kinds))
    assert min(counts.values()) > 100


def test_requests_that_exclude_some_leave_them_their_turns() -> None:
    """If the last choice decides alone, b0 and b1 each get a third of the 300 requests for all."""
    counts = counted(make_fleet(*[{}] * 5), alternating(600, {}, {"exclude": ["b0", "b1"]}))
    assert [round(counts[f"b{number}"] / 10) for number in range(5)] == [10, 10, 13, 13, 13]


def test_retries_starve_no_backend() -> None:
    """Every request is tried twice, the second time without the first choice."""
    registry = make_fleet(*[{}] * 5)
    counts: Counter[str] = Counter()
    for _ in range(500):
        with registry.acquire("m") as first:
            tried = first.backend.id
        with registry.acquire("m", exclude=[tried]) as second:
            counts.update([tried, second.backend.id])
    assert set(counts.values()) == {200}


def test_ties_between_weighted_backends_go_by_last_choice() -> None:
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
def test_no_mix_of_requests_passes_over_an_equal_backend(
    count: int, policies: list[PolicyValue], models: list[str]
) -> None:
    """An equal backend is passed over a bounded number of times.

    x is passed over for y when y is chosen again and x, an equal, was not chosen in between.
    Policies that look at all candidates never pass over an equal. The others may do so once for
    equal stamps, and once for each round that the requests share: see src_c/choose/rounds.h.
    """
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
            lease.release(0)  # a measured latency would make backends unequal
        for other in equals - {chosen}:
            chosen_since[chosen, other] += 1
            assert chosen_since[chosen, other] <= allowed
        for other in ids:
            chosen_since[other, chosen] = 0


def test_several_kinds_of_requests_rotate_in_a_long_list() -> None:
    """Each kind of request keeps a round of its own.

    So no kind starts over with backends that another kind has just been given.
    """
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
def test_retries_with_exclude_choose_equal_backends_equally_often(
    count: int, tries: int, policy: Policy
) -> None:
    registry = make_fleet(*[{}] * count)
    counts: Counter[str] = Counter()
    for _ in range(300):
        tried: list[str] = []
        for _ in range(tries):
            with registry.acquire("m", policy=policy, exclude=tried) as lease:
                tried.append(lease.backend.id)
                lease.release(0)  # a measured latency would make backends unequal
        counts.update(tried)
    assert max(counts.values()) - min(counts.values()) <= count
