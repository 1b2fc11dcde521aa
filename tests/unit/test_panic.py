"""Panic: where ejections would leave too few backends, a choice ignores them."""

from __future__ import annotations

from typing import Any

import pytest
from support.fleets import eject, finish, kind_of, make_backend, make_timed, only, refusal, the
from support.selection import key_for

from registry import (
    Backend,
    Ejection,
    Model,
    NoBackendAvailableError,
    Policy,
    Reason,
    Registry,
    Requirements,
)


def chosen(registry: Registry, policy: Policy) -> str:
    """The backend of a request that says nothing."""
    lease = registry.acquire("m", policy=policy, affinity=key_for(policy))
    lease.release(abandoned=True)
    return lease.backend.id


@pytest.mark.parametrize("policy", Policy)
def test_where_nobody_would_be_left_ejections_are_ignored(policy: Policy) -> None:
    registry, _ = make_timed("a", "b")
    eject(registry, "a")
    assert chosen(registry, policy) == "b"
    assert kind_of(registry, "a", policy=policy, affinity=key_for(policy)) is Reason.EJECTED
    eject(registry, "b")
    assert kind_of(registry, "a", policy=policy, affinity=key_for(policy)) is None
    leases = [registry.acquire("m", policy=policy, affinity=key_for(policy)) for _ in range(40)]
    assert {lease.backend.id for lease in leases} == {"a", "b"}
    for lease in leases:
        lease.release(abandoned=True)


def test_a_full_backend_counts_as_left() -> None:
    registry, _ = make_timed("a", "b", cap=1)
    eject(registry, "a")
    lease = registry.acquire("m")
    assert refusal(registry).kinds == {"a": Reason.EJECTED, "b": Reason.FULL}
    lease.release()


@pytest.mark.parametrize("tokens", [10, 100])
def test_a_backend_that_is_full_of_tokens_counts_as_left(tokens: int) -> None:
    registry, _ = make_timed("a", "b")
    eject(registry, "a")
    registry.update_backend(make_backend("b", "m", max_pending_tokens=10))
    lease = registry.acquire("m", only=["b"], tokens=tokens)
    with pytest.raises(NoBackendAvailableError) as refused:
        registry.acquire("m", tokens=1)
    assert refused.value.kinds == {"a": Reason.EJECTED, "b": Reason.FULL}
    lease.release()


def test_a_panic_at_a_share() -> None:
    registry, _ = make_timed(*"abcd", ejection=Ejection(panic=0.5))
    eject(registry, "a")
    assert kind_of(registry, "a") is Reason.EJECTED  # three of four are left
    registry.drain("d")
    assert kind_of(registry, "a") is Reason.EJECTED  # two of three
    registry.cool_down("c", 5)
    assert kind_of(registry, "a") is None  # one of two
    assert {chosen(registry, policy) for policy in Policy} <= {"a", "b"}


def test_without_panic_nobody_is_chosen() -> None:
    registry, clock = make_timed("a", ejection=Ejection(panic=None))
    eject(registry)
    error = refusal(registry)
    assert (error.kinds, error.retry_after) == ({"a": Reason.EJECTED}, 30.0)
    clock.advance(30)
    trial = registry.acquire("m")
    error = refusal(registry)
    assert (error.kinds, error.retry_after) == ({"a": Reason.ON_TRIAL}, None)
    trial.release()
    registry.acquire("m").release()


def pair(policy: Policy) -> Registry:
    """A registry whose backend a, with tools, is ejected. Its backend b has a cap of 1."""
    registry, _ = make_timed("a")
    registry.update_backend(with_model("a", supports_tools=True))
    registry.add_backend(with_model("b"))
    registry.update_backend(with_model("b", cap=1))
    registry.update_status("b", "healthy")
    eject(registry)
    assert kind_of(registry, policy=policy, affinity=key_for(policy)) is Reason.EJECTED
    return registry


def with_model(backend_id: str, cap: int | None = None, **fields: Any) -> Backend:
    """A definition that serves m with these fields."""
    plain = make_backend(backend_id, max_pending=cap)
    return Backend(plain.id, plain.name, plain.url, models=[Model("m", **fields)], max_pending=cap)


# What makes b no candidate at all, and the arguments of the request.
NO_CANDIDATE: dict[str, tuple[Any, dict[str, Any]]] = {
    "excluded": (lambda _: None, {"exclude": ["b"]}),
    "requirement": (lambda _: None, {"require": Requirements(tools=True)}),
    "unhealthy": (lambda registry: registry.update_status("b", "unhealthy"), {}),
    "unknown": (lambda registry: registry.update_status("b", "unknown"), {}),
    "status draining": (lambda registry: registry.update_status("b", "draining"), {}),
    "draining": (lambda registry: registry.drain("b"), {}),
    "cooling down": (lambda registry: registry.cool_down("b", 60), {}),
}


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("why", NO_CANDIDATE)
def test_only_those_that_are_eligible_otherwise_are_counted(policy: Policy, why: str) -> None:
    """Where b can't take the request in any case, a is the only one, and nobody is left."""
    registry = pair(policy)
    change, arguments = NO_CANDIDATE[why]
    change(registry)
    assert kind_of(registry, policy=policy, affinity=key_for(policy), **arguments) is None
    assert registry.select("m", policy=policy, affinity=key_for(policy), **arguments).id == "a"


def test_an_unknown_backend_counts_where_it_is_allowed() -> None:
    registry = pair(Policy.LEAST_PENDING)
    registry.update_status("b", "unknown")
    assert kind_of(registry, allow_unknown=True) is Reason.EJECTED
    assert registry.select("m", allow_unknown=True).id == "b"


@pytest.mark.parametrize("policy", Policy)
def test_a_full_backend_is_left_under_each_policy(policy: Policy) -> None:
    registry = pair(policy)
    lease = registry.acquire("m", policy=policy, affinity=key_for(policy))
    error = refusal(registry, policy=policy, affinity=key_for(policy))
    assert error.kinds == {"a": Reason.EJECTED, "b": Reason.FULL}
    assert error.retry_after == 30.0
    lease.release()


@pytest.mark.parametrize("policy", Policy)
def test_a_backend_full_of_tokens_is_left(policy: Policy) -> None:
    registry, _ = make_timed("a", "b")
    registry.update_backend(make_backend("b", "m", max_pending_tokens=10))
    eject(registry, "a")
    lease = registry.acquire("m", policy=policy, affinity=key_for(policy), tokens=11)
    error = refusal(registry, policy=policy, affinity=key_for(policy))
    assert error.kinds == {"a": Reason.EJECTED, "b": Reason.FULL}
    assert kind_of(registry, "a", policy=policy, affinity=key_for(policy)) is Reason.EJECTED
    lease.release()


@pytest.mark.parametrize("is_out", [False, True])
def test_one_whose_time_is_over_counts_as_on_trial(is_out: bool) -> None:
    registry, clock = make_timed("a", "b", "c")
    eject(registry, "b")
    clock.advance(30)
    eject(registry, "a")
    registry.increment_pending_many(["a", "c"] * 100)
    trial = registry.acquire("m") if is_out else None
    assert kind_of(registry, "b") is (Reason.ON_TRIAL if is_out else None)
    assert kind_of(registry, "a") is Reason.EJECTED  # c is left
    registry.drain("c")
    assert (kind_of(registry, "a"), kind_of(registry, "b")) == (None, None)
    if trial is not None:
        trial.release()
        assert kind_of(registry, "a") is Reason.EJECTED  # b is restored, so it is left


def test_each_model_counts_its_own_backends() -> None:
    registry, _ = make_timed("a", "b")
    registry.update_backend(make_backend("a", "m", "n"))
    for _ in range(5):
        registry.acquire("n").release(failed=True)
    assert the(registry, "a").unavailable is Reason.EJECTED
    assert registry.select("n").id == "a"
    assert {registry.select("m").id for _ in range(20)} == {"b"}


def test_a_share_of_one_ignores_every_ejection() -> None:
    registry, _ = make_timed("a", "b", ejection=Ejection(panic=1))
    for _ in range(5):
        registry.acquire("m", **only(registry, "a")).release(failed=True)
    assert the(registry, "a").unavailable is Reason.EJECTED
    assert kind_of(registry) is None


@pytest.mark.parametrize("policy", Policy)
def test_a_lone_backend_is_never_without_traffic(policy: Policy) -> None:
    registry, clock = make_timed("a")
    for seconds in (0, 30, 60, 0, 1000):
        clock.advance(seconds)
        leases = [registry.acquire("m", policy=policy, affinity=key_for(policy)) for _ in range(20)]
        for lease in leases:
            lease.release(failed=True)
    assert the(registry, "a").failed_requests == 100
    finish(registry, "a")
    assert the(registry, "a").unavailable is None
