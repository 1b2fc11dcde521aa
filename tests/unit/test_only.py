"""`only`: choices that are limited to some backends."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from support.fleets import make_fleet
from support.selection import key_for, picks
from support.threads import run_threads

from registry import (
    Backend,
    BackendStatus,
    Model,
    NoBackendAvailableError,
    Policy,
    Reason,
    Registry,
    Requirements,
)
from registry._core.binding import seed_random

POLICIES = list(Policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_else_is_considered(policy: Policy) -> None:
    registry = make_fleet({}, {"pending": 9}, {"pending": 9}, {})
    assert set(picks(registry, 20, policy=policy, affinity=key_for(policy), only=["b1", "b2"])) <= {
        "b1",
        "b2",
    }
    assert set(picks(registry, 3, policy=policy, affinity=key_for(policy), only=["b2"])) == {"b2"}
    assert registry.select("m", policy=policy, affinity=key_for(policy), only=("b1",)).id == "b1"


@pytest.mark.parametrize("policy", POLICIES)
def test_unknown_ids_are_ignored_and_repeated_ones_count_once(policy: Policy) -> None:
    registry = make_fleet({}, {})
    for ids in (["b1", "x"], ["b1", "b1", "b1"], {"b1": 0}, iter(["", "\ud800", "b1"])):
        assert registry.select("m", policy=policy, affinity=key_for(policy), only=ids).id == "b1"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("ids", [[], ["x"], ["\ud800"], ["other"]])
def test_without_a_backend_of_the_model_nobody_is_left(policy: Policy, ids: list[str]) -> None:
    registry = make_fleet({}, {})
    registry.add_backend(Backend("other", "other", "http://other", models=[Model("n")]))
    for method in (registry.acquire, registry.select):
        with pytest.raises(NoBackendAvailableError) as caught:
            method("m", policy=policy, affinity=key_for(policy), only=ids)
        assert caught.value.reasons == {"b0": "excluded", "b1": "excluded"}
        assert caught.value.kinds == {"b0": Reason.EXCLUDED, "b1": Reason.EXCLUDED}
        assert caught.value.retry_after is None
    ranked = registry.explain("m", policy=policy, affinity=key_for(policy), only=ids)
    assert [(c.backend_id, c.rank, c.kind) for c in ranked] == [
        ("b0", None, Reason.EXCLUDED),
        ("b1", None, Reason.EXCLUDED),
    ]


def test_a_model_that_nobody_serves_is_unknown_all_the_same() -> None:
    with pytest.raises(NoBackendAvailableError) as caught:
        make_fleet({}).acquire("z", only=["b0"])
    assert caught.value.unknown_model


@pytest.mark.parametrize("policy", POLICIES)
def test_exclude_and_only_both_hold(policy: Policy) -> None:
    registry = make_fleet({}, {}, {})
    assert set(
        picks(
            registry, 4, policy=policy, affinity=key_for(policy), only=["b0", "b1"], exclude=["b0"]
        )
    ) == {"b1"}
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire("m", policy=policy, affinity=key_for(policy), only=["b0"], exclude=["b0"])
    assert set(caught.value.reasons.values()) == {"excluded"}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_other_rules_hold_for_those_that_are_left(policy: Policy) -> None:
    registry = make_fleet({"max_pending": 1, "pending": 1}, {}, {}, {}, {})
    registry.update_status("b1", BackendStatus.UNHEALTHY)
    registry.drain("b2")
    registry.update_status("b3", BackendStatus.UNKNOWN)
    ids = ["b0", "b1", "b2", "b3"]
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire("m", policy=policy, affinity=key_for(policy), only=ids)
    assert caught.value.reasons == {
        "b0": "full",
        "b1": "unhealthy",
        "b2": "draining",
        "b3": "unknown",
        "b4": "excluded",
    }
    assert (
        registry.select(
            "m", policy=policy, affinity=key_for(policy), only=ids, allow_unknown=True
        ).id
        == "b3"
    )
    with pytest.raises(NoBackendAvailableError, match="b4' no tools"):
        registry.select(
            "m",
            policy=policy,
            affinity=key_for(policy),
            only=["b4"],
            require=Requirements(tools=True),
        )


@pytest.mark.parametrize("policy", POLICIES)
def test_the_requirement_is_that_of_the_definition_now(policy: Policy) -> None:
    registry = make_fleet({}, {})
    need = Requirements(tools=True)
    registry.update_models("b1", [Model("n"), Model("m", supports_tools=True)])
    assert (
        registry.select(
            "m", policy=policy, affinity=key_for(policy), only=["b0", "b1"], require=need
        ).id
        == "b1"
    )
    registry.update_models("b1", [Model("n")])
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.select("m", policy=policy, affinity=key_for(policy), only=["b1"])
    assert caught.value.reasons == {"b0": "excluded"}
    assert (
        registry.select(
            "n", policy=policy, affinity=key_for(policy), only=["b1"], allow_unknown=True
        ).id
        == "b1"
    )


@pytest.mark.parametrize(
    ("policy", "shapes", "expected"),
    [
        (Policy.LEAST_PENDING, [{}, {"pending": 2}, {"pending": 3, "weight": 4}], "b2"),
        (Policy.POWER_OF_TWO, [{}, {"pending": 2}, {"pending": 3, "weight": 4}], "b2"),
        (Policy.LOWEST_LATENCY, [{"latency": 1}, {"latency": 7}, {"latency": 6}], "b2"),
        # b2 has no sample: it counts as the best average of the two, which is not that of b0.
        (Policy.LOWEST_LATENCY, [{"latency": 1}, {"latency": 7}, {"pending": 1}], "b1"),
        (Policy.PRIORITY, [{"priority": 0}, {"priority": 2}, {"priority": 1}], "b2"),
        (Policy.SMART, [{}, {"priority": 2}, {"priority": 1}], "b2"),
    ],
)
def test_the_policy_chooses_among_those_that_are_left(
    policy: Policy, shapes: list[dict[str, Any]], expected: str
) -> None:
    registry = make_fleet(*shapes)
    ranked = registry.explain("m", policy=policy, affinity=key_for(policy), only=["b2", "b1"])
    assert set(picks(registry, 3, policy=policy, affinity=key_for(policy), only=["b2", "b1"])) == {
        expected
    }
    assert policy is Policy.POWER_OF_TWO or ranked[0].backend_id == expected
    assert ranked[-1].backend_id == "b0"


@pytest.mark.parametrize(
    "policy",
    [Policy.LEAST_PENDING, Policy.LOWEST_LATENCY, Policy.PRIORITY, Policy.SMART],
)
def test_equal_ones_take_turns_and_explain_knows_whose_turn_it_is(policy: Policy) -> None:
    registry = make_fleet(*({} for _ in range(20)))
    ids = ["b3", "b17", "b8"]
    for _ in range(4):
        seen = []
        for _ in ids:
            first = registry.explain("m", policy=policy, affinity=key_for(policy), only=ids)[
                0
            ].backend_id
            seen += picks(registry, 1, policy=policy, affinity=key_for(policy), only=ids)
            assert seen[-1] == first
        assert sorted(seen) == sorted(ids)


def test_a_repeated_id_has_no_greater_share() -> None:
    registry = make_fleet({}, {}, {})
    seed_random(1)
    seen = Counter(picks(registry, 2000, policy=Policy.RANDOM, only=["b1", "b1", "b1", "b2"]))
    assert 900 < seen["b1"] < 1100


def requests_for_all_between_limited_ones(policy: Policy) -> Counter[str]:
    """Who gets 100 requests for all five, each followed by one for b0 or b1."""
    registry = make_fleet(*({} for _ in range(5)))
    seen: Counter[str] = Counter()
    for number in range(100):
        seen.update(picks(registry, 1, policy=policy, affinity=key_for(policy)))
        picks(registry, 1, policy=policy, affinity=key_for(policy), only=[f"b{number % 2}"])
    return seen


def test_a_limited_request_takes_no_credit_from_others() -> None:
    seen = requests_for_all_between_limited_ones(Policy.ROUND_ROBIN)
    assert seen == {f"b{number}": 20 for number in range(5)}


def test_a_limited_request_is_a_turn_too() -> None:
    """The others were chosen longer ago, so they take the requests for all, in turn."""
    seen = requests_for_all_between_limited_ones(Policy.LEAST_PENDING)
    rest = [seen[name] for name in ("b2", "b3", "b4")]
    assert max(rest) - min(rest) <= 1
    assert sum(rest) >= 98


def test_panic_counts_those_that_are_left() -> None:
    registry = make_fleet({}, {})
    for _ in range(5):
        registry.acquire("m", only=["b0"]).release(failed=True)
    assert registry.explain("m")[-1].kind is Reason.EJECTED
    # Of one backend nobody would be left, so its ejection is ignored.
    assert picks(registry, 2, only=["b0"]) == ["b0", "b0"]
    assert picks(registry, 2, only=["b0", "b1"]) == ["b1", "b1"]


def test_a_cap_is_never_passed() -> None:
    registry = make_fleet(*({"max_pending": 3} for _ in range(8)))
    leases = []

    def take() -> None:
        while True:
            try:
                leases.append(registry.acquire("m", only=["b2", "b5"]))
            except NoBackendAvailableError:
                return

    run_threads([take] * 8)
    counts = {view.id: view.pending_requests for view in registry.get_all_backends()}
    assert {id: count for id, count in counts.items() if count} == {"b2": 3, "b5": 3}
    for lease in leases:
        assert lease.release()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_backend_is_found_at_every_instant_of_its_changes(policy: Policy) -> None:
    """Among others, one backend is replaced and redefined, and its neighbour comes and goes."""
    registry = Registry()
    for name in ("a", "b", "c"):
        registry.add_backend(Backend(name, name, f"http://{name}", models=[Model("m")]))
    done: list[None] = []

    def change() -> None:
        for number in range(200):
            models = [Model("n"), Model("m")][number % 2 :]
            registry.update_backend(Backend("a", "a", f"http://a{number % 3}", models=models))
            registry.remove_backend("b")
            registry.add_backend(Backend("b", "b", "http://b", models=[Model("m")]))
        done.append(None)

    def choose() -> None:
        while not done:
            for ids in (["a"], ["b", "a"]):
                with registry.acquire(
                    "m", policy=policy, affinity=key_for(policy), only=ids, allow_unknown=True
                ) as lease:
                    assert lease.backend.id in ids

    run_threads([change, choose, choose])
