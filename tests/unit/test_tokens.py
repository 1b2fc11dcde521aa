"""Tokens in flight: what leases count, the policy that compares them, and the cap on them."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.fleets import make_backend
from support.selection import key_for
from support.threads import run_threads

from registry import (
    Backend,
    BackendView,
    Lease,
    Model,
    NoBackendAvailableError,
    Policy,
    Reason,
    Registry,
    load_fleet,
)

BIG = 2**32 - 1


def fleet(*shapes: dict[str, Any]) -> Registry:
    """Healthy backends b0, b1, ... that serve m."""
    registry = Registry()
    for number, shape in enumerate(shapes):
        registry.add_backend(make_backend(f"b{number}", "m", **shape))
        registry.update_status(f"b{number}", "healthy")
    return registry


def tokens_of(registry: Registry, backend_id: str = "b0") -> int:
    view = registry.get_backend(backend_id)
    assert view is not None
    return view.pending_tokens


# ---- leases


def test_a_sum_follows_its_leases() -> None:
    registry = fleet({})
    first, second = registry.acquire("m", tokens=300), registry.acquire("m", tokens=BIG)
    plain = registry.acquire("m")
    assert (first.tokens, second.tokens, plain.tokens) == (300, BIG, 0)
    assert tokens_of(registry) == 300 + BIG
    assert first.set_tokens(40)
    assert plain.set_tokens(2)
    assert (first.tokens, tokens_of(registry)) == (40, 42 + BIG)
    second.release(failed=True)
    assert tokens_of(registry) == 42
    first.release()
    plain.release(abandoned=True)
    assert tokens_of(registry) == 0


def test_the_first_token_ends_the_work() -> None:
    registry = fleet({})
    one, two = registry.acquire("m", tokens=10), registry.acquire("m", tokens=20)
    assert one.first_token()
    assert (one.tokens, tokens_of(registry)) == (0, 20)
    assert two.first_token(tokens=5)
    assert not two.first_token(tokens=9)
    assert (two.tokens, tokens_of(registry)) == (5, 5)
    one.set_tokens(3)
    assert not one.first_token()
    assert tokens_of(registry) == 8
    one.release()
    two.release()
    assert tokens_of(registry) == 0


@pytest.mark.parametrize(
    "outcome", [{}, {"failed": True}, {"abandoned": True}, {"retry_after": 0}, {"retry_after": 5}]
)
def test_a_released_lease_has_no_tokens(outcome: dict[str, Any]) -> None:
    registry = fleet({})
    lease = registry.acquire("m", tokens=7)
    assert lease.release(**outcome)
    assert (lease.tokens, tokens_of(registry)) == (0, 0)
    assert not lease.set_tokens(5)
    assert not lease.first_token(tokens=5)
    assert (lease.tokens, tokens_of(registry)) == (0, 0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_abandoned_lease_gives_its_tokens_back() -> None:
    registry = fleet({})
    lease: Lease | None = registry.acquire("m", tokens=7)
    assert lease is not None
    lease.set_tokens(8)
    lease = None
    gc.collect()
    assert tokens_of(registry) == 0


def test_tokens_belong_to_a_registration() -> None:
    registry = fleet({})
    lease = registry.acquire("m", tokens=7)
    registry.update_backend(make_backend("b0", "m", "n", weight=3))
    assert tokens_of(registry) == 7
    registry.update_backend(replace(make_backend("b0", "m"), url="http://elsewhere"))
    assert tokens_of(registry) == 0
    assert lease.set_tokens(9)
    assert (lease.tokens, tokens_of(registry)) == (9, 0)
    lease.release()
    assert tokens_of(registry) == 0


def test_a_removal_and_a_watch_show_the_sum() -> None:
    registry = fleet({})
    with registry.watch() as watch, registry.acquire("m", tokens=7):
        registry.drain("b0")
        assert registry.remove_backend("b0").pending_tokens == 7
        changes = list(iter(lambda: watch.get(timeout=0), None))
    assert [change.before.pending_tokens for change in changes if change.before] == [7, 7]


# ---- arguments


@pytest.mark.parametrize("given", [-1, BIG + 1, 10**30])
def test_a_number_out_of_range_is_refused(given: int) -> None:
    registry = fleet({})
    lease = registry.acquire("m")
    calls: list[Callable[[], object]] = [
        lambda: registry.acquire("m", tokens=given),
        lambda: registry.select("m", tokens=given),
        lambda: registry.explain("m", tokens=given),
        lambda: lease.set_tokens(given),
        lambda: lease.first_token(tokens=given),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^tokens must be from 0 to 4294967295, not "):
            call()
    assert lease.first_token()
    lease.release()


@pytest.mark.parametrize("given", [None, True, 1.0, "1", [1]])
def test_another_type_is_refused(given: Any) -> None:
    registry = fleet({})
    with registry.acquire("m") as lease:
        for call in (lease.set_tokens, lambda tokens: registry.acquire("m", tokens=tokens)):
            with pytest.raises(TypeError, match=r"^tokens must be an int, not "):
                call(given)


@pytest.mark.parametrize("cap", [0, -1, 2**64])
def test_a_cap_out_of_range_is_refused(cap: int) -> None:
    with pytest.raises(ValueError, match=r"^max_pending_tokens must be from 1 to 18446744073709"):
        make_backend("a", max_pending_tokens=cap)
    document = json.loads(make_backend("a").to_json()) | {"max_pending_tokens": cap}
    with pytest.raises(ValueError, match="max_pending_tokens"):
        Backend.from_json(json.dumps(document))


# ---- definitions and views


def test_the_cap_survives_every_form(tmp_path: Path) -> None:
    registry = fleet({"max_pending_tokens": 2**64 - 1}, {})
    views = registry.get_all_backends()
    assert [view.max_pending_tokens for view in views] == [2**64 - 1, None]
    assert list(json.loads(views[0].to_json()))[-2:] == ["pending_tokens", "max_pending_tokens"]
    with registry.acquire("m", only=["b0"], tokens=5):
        (view, _) = registry.get_all_backends()
        forms = [
            BackendView.from_json(view.to_json()),
            copy.deepcopy(view),
            pickle.loads(pickle.dumps(view)),
            replace(view),
        ]
        assert all((one, one.pending_tokens) == (view, 5) for one in forms)
    assert Backend.from_json(view.backend.to_json()) == view.backend
    assert pickle.loads(pickle.dumps(view.backend)) == view.backend
    file = tmp_path / "fleet.toml"
    file.write_text('[[backends]]\nname = "a"\nurl = "http://a"\nmax_pending_tokens = 900_000\n')
    assert [one.max_pending_tokens for one in load_fleet(file)] == [900_000]


def test_another_cap_is_an_update() -> None:
    registry = fleet({})
    wanted = [make_backend("b0", "m", max_pending_tokens=5)]
    assert registry.reconcile(wanted).updated == ("b0",)
    assert registry.reconcile(wanted).unchanged == ("b0",)


# ---- the policy


@pytest.mark.parametrize(
    ("weights", "sums", "tokens", "chosen"),
    [
        ([1, 1], [10, 9], 5, "b1"),
        ([1, 3], [10, 29], 0, "b1"),  # 10 or 29/3
        ([1, 3], [10, 31], 0, "b0"),
        ([1, 3], [10, 29], 1, "b1"),  # 11 or 10
        ([1, 3], [0, 20], 9, "b0"),  # 9 or 29/3
        ([1, 3], [0, 20], 11, "b1"),  # 11 or 31/3
        ([1000, 999], [BIG, BIG], BIG, "b0"),
        ([999, 1000], [BIG, BIG], BIG, "b1"),
    ],
)
def test_least_tokens_compares_exactly(
    weights: list[int], sums: list[int], tokens: int, chosen: str
) -> None:
    registry = fleet(*({"weight": weight} for weight in weights))
    leases = [registry.acquire("m", only=[f"b{i}"], tokens=sums[i]) for i in range(2)]
    assert registry.select("m", policy="least_tokens", tokens=tokens).id == chosen
    ranked = registry.explain("m", policy=Policy.LEAST_TOKENS, tokens=tokens)
    assert ranked[0].backend_id == chosen
    for lease in leases:
        lease.release()


def test_equal_sums_go_by_requests() -> None:
    registry = fleet({}, {"weight": 2})
    registry.increment_pending("b0")
    leases = [registry.acquire("m", policy="least_tokens") for _ in range(7)]
    views = registry.get_all_backends()
    assert [view.pending_requests for view in views] in ([2, 6], [3, 5])
    for lease in leases:
        lease.release()


# ---- the cap


@pytest.mark.parametrize("policy", Policy)
def test_no_policy_passes_the_cap(policy: Policy) -> None:
    registry = fleet({"max_pending_tokens": 100}, {"max_pending_tokens": 100})
    choice: dict[str, Any] = {"policy": policy, "affinity": key_for(policy)}
    one = registry.acquire("m", **choice, tokens=60)
    two = registry.acquire("m", **choice, tokens=60)
    assert {one.backend.id, two.backend.id} == {"b0", "b1"}
    with pytest.raises(NoBackendAvailableError) as refused:
        registry.acquire("m", **choice, tokens=41)
    assert refused.value.kinds == {"b0": Reason.FULL, "b1": Reason.FULL}
    kinds = [each.kind for each in registry.explain("m", **choice, tokens=41)]
    assert kinds == [Reason.FULL] * 2
    assert [each.kind for each in registry.explain("m", **choice, tokens=40)] == [None] * 2
    one.set_tokens(59)
    with registry.acquire("m", **choice, tokens=41) as lease:
        assert lease.backend.id == one.backend.id
    one.release()
    two.release()


@pytest.mark.parametrize("policy", Policy)
def test_a_big_request_goes_where_nothing_is_in_flight(policy: Policy) -> None:
    registry = fleet({"max_pending_tokens": 10}, {"max_pending_tokens": 10})
    choice: dict[str, Any] = {"policy": policy, "affinity": key_for(policy)}
    small = registry.acquire("m", **choice, only=["b0"])  # in flight, but without tokens
    big = registry.acquire("m", **choice, tokens=BIG)
    assert (small.backend.id, big.backend.id) == ("b0", "b1")
    with pytest.raises(NoBackendAvailableError):
        registry.acquire("m", **choice, tokens=11)
    with registry.acquire("m", **choice, tokens=10) as other:
        assert other.backend.id == "b0"
    small.release()
    big.release()


def test_a_cap_of_another_kind_holds_too() -> None:
    registry = fleet({"max_pending": 1, "max_pending_tokens": 10})
    with registry.acquire("m"), pytest.raises(NoBackendAvailableError):
        registry.acquire("m")


def test_set_tokens_may_pass_the_cap() -> None:
    registry = fleet({"max_pending_tokens": 10})
    with registry.acquire("m", tokens=10) as lease:
        assert lease.set_tokens(11)
        assert tokens_of(registry) == 11
        with pytest.raises(NoBackendAvailableError):
            registry.acquire("m")


def test_a_cap_leaves_other_reasons_first() -> None:
    registry = fleet({"max_pending_tokens": 10})
    with registry.acquire("m", tokens=10):
        registry.drain("b0")
        assert [each.kind for each in registry.explain("m", tokens=1)] == [Reason.DRAINING]


def test_capped_backends_take_turns() -> None:
    registry = fleet(*({"max_pending_tokens": 10} for _ in range(20)))
    chosen = [registry.select("m").id for _ in range(60)]
    assert all(len(set(chosen[i : i + 20])) == 20 for i in (0, 20, 40))


# ---- threads

THREADS, CALLS, CAP = 8, 400, 500


@pytest.mark.parametrize("policy", ["least_tokens", "least_pending", "power_of_two"])
def test_threads_never_pass_the_cap(policy: Any) -> None:
    registry = fleet({"max_pending_tokens": CAP}, {"max_pending_tokens": CAP})

    def use(seed: int) -> int:
        rng, taken = random.Random(seed), 0
        for _ in range(CALLS):
            try:
                with registry.acquire("m", policy=policy, tokens=rng.randrange(CAP)) as lease:
                    taken += 1
                    assert all(view.pending_tokens <= CAP for view in registry.get_all_backends())
                    assert lease.tokens <= CAP
            except NoBackendAvailableError:
                pass
        return taken

    taken = run_threads([partial(use, seed) for seed in range(THREADS)])
    assert sum(taken) > THREADS
    assert [tokens_of(registry, one) for one in ("b0", "b1")] == [0, 0]


def test_the_sum_is_exact_after_every_race() -> None:
    registry = fleet({}, {})
    for number in range(200):
        lease = registry.acquire("m", policy="least_tokens", tokens=number % 3)
        calls: list[Callable[[], object]] = [
            lease.release,
            partial(lease.set_tokens, 5),
            partial(lease.first_token, tokens=6),
            partial(lease.set_tokens, 7),
        ]
        run_threads(calls if number % 2 else calls[::-1])
        assert lease.tokens == 0
        assert [tokens_of(registry, one) for one in ("b0", "b1")] == [0, 0]


def test_a_model_of_several_backends_counts_each() -> None:
    registry = fleet({}, {}, {})
    leases = [registry.acquire("m", policy="least_tokens", tokens=4) for _ in range(9)]
    assert [view.pending_tokens for view in registry.get_backends_for_model("m")] == [12] * 3
    assert Model("m") in registry.get_all_backends()[0].models
    for lease in leases:
        lease.release()
