"""Draining is the operator's decision, health is an observation; neither overwrites the other.

test_serials.py has drains of one registration; `wait_idle` and `idle` have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet, state, the
from support.selection import key_for, picks
from support.threads import run_threads, until_done

from registry import (
    BackendNotFoundError,
    BackendStatus,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
    Requirements,
)


def healthy(registry: Registry) -> list[str]:
    """The ids of the backends that are ready for requests."""
    return [view.id for view in registry.get_healthy_backends()]


def reasons(registry: Registry, **request: Any) -> dict[str, str | None]:
    """Why each backend is not chosen."""
    return {c.backend_id: c.reason for c in registry.explain("m", **request)}


# ---- What a drain does.


def test_drain_sets_a_flag_and_resume_clears_it(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    assert the(registry, "a").draining is False
    for _ in range(2):
        assert registry.drain("a") is None  # type: ignore[func-returns-value]
        assert the(registry, "a").draining is True
    for _ in range(2):
        assert registry.resume("a") is None  # type: ignore[func-returns-value]
        assert the(registry, "a").draining is False


def test_every_query_shows_the_flag() -> None:
    registry = make_fleet({}, {})
    registry.drain("b0")
    for views in (registry.get_all_backends(), registry.get_backends_for_model("m")):
        assert [(view.id, view.draining) for view in views] == [("b0", True), ("b1", False)]
    assert '"draining":true' in registry.to_json()
    assert registry.remove_backend("b0").draining


def test_a_view_never_changes() -> None:
    registry = make_fleet({})
    before = the(registry, "b0")
    registry.drain("b0")
    during = the(registry, "b0")
    registry.resume("b0")
    assert (before.draining, during.draining) == (False, True)
    assert the(registry, "b0") == before == replace(during, draining=False)


def test_nothing_else_changes() -> None:
    registry = make_fleet({"pending": 2, "latency": 9})
    registry.update_status("b0", "unhealthy", "boom")
    before = the(registry, "b0")
    registry.drain("b0")
    assert the(registry, "b0") == replace(before, draining=True)
    registry.resume("b0")
    assert the(registry, "b0") == before


@pytest.mark.parametrize("policy", Policy)
def test_no_policy_chooses_a_backend_that_drains(policy: Policy) -> None:
    registry = make_fleet({"priority": -9, "weight": 9}, {"pending": 9}, {"pending": 9})
    registry.drain("b0")
    chosen = set(picks(registry, 60, policy=policy, affinity=key_for(policy)))
    assert chosen == {"b1", "b2"} or (policy is Policy.AFFINITY and chosen < {"b1", "b2"})
    registry.drain("b1")
    registry.drain("b2")
    for choose in (registry.acquire, registry.select):
        with pytest.raises(NoBackendAvailableError) as caught:
            choose("m", policy=policy, affinity=key_for(policy), allow_unknown=True)
        assert caught.value.reasons == dict.fromkeys(["b0", "b1", "b2"], "draining")
    registry.resume("b1")
    assert picks(registry, 5, policy=policy, affinity=key_for(policy)) == ["b1"] * 5


@pytest.mark.parametrize("policy", Policy)
def test_a_drain_takes_effect_among_many(policy: Policy) -> None:
    registry = make_fleet(*[{}] * 40)
    picks(registry, 17, policy=policy, affinity=key_for(policy))
    for number in range(40):
        if number != 25:
            registry.drain(f"b{number}")
    assert picks(registry, 10, policy=policy, affinity=key_for(policy)) == ["b25"] * 10
    registry.resume("b3")
    registry.drain("b25")
    assert picks(registry, 10, policy=policy, affinity=key_for(policy)) == ["b3"] * 10


def test_healthy_backends_leave_it_out_and_other_queries_do_not() -> None:
    registry = make_fleet({}, {}, {"status": "unhealthy"})
    registry.drain("b0")
    assert healthy(registry) == ["b1"]
    assert list(registry) == ["b0", "b1", "b2"]
    assert len(registry.get_all_backends()) == len(registry.get_backends_for_model("m")) == 3
    registry.resume("b0")
    assert healthy(registry) == ["b0", "b1"]


def test_requests_in_flight_go_on() -> None:
    registry = make_fleet({})
    lease = registry.acquire("m")
    registry.drain("b0")
    assert lease.active
    assert the(registry, "b0").pending_requests == 1
    assert registry.increment_pending("b0") == 2
    assert registry.decrement_pending("b0") == 1
    assert lease.release(10)
    view = the(registry, "b0")
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 1, 10)


# ---- Health.


@pytest.mark.parametrize("status", BackendStatus)
def test_status_and_drain_do_not_overwrite_each_other(status: BackendStatus) -> None:
    registry = make_fleet({})
    registry.drain("b0")
    registry.update_status("b0", status, "seen")
    view = the(registry, "b0")
    assert (view.status, view.draining) == (status, True)
    assert view.last_error == (None if status is BackendStatus.HEALTHY else "seen")
    assert healthy(registry) == []
    with pytest.raises(NoBackendAvailableError):
        registry.select("m", allow_unknown=True)
    registry.resume("b0")
    assert (the(registry, "b0").status, the(registry, "b0").draining) == (status, False)
    assert healthy(registry) == (["b0"] if status is BackendStatus.HEALTHY else [])


def test_a_backend_can_drain_before_it_was_checked(registry: Registry) -> None:
    registry.add_backend(make_backend("b0", "m"))
    registry.drain("b0")
    registry.update_status("b0", "healthy")
    assert reasons(registry) == {"b0": "draining"}


def test_the_status_draining_is_replaced_by_the_next_one() -> None:
    registry = make_fleet({"status": "draining"})
    assert not the(registry, "b0").draining
    registry.update_status("b0", "healthy")
    assert healthy(registry) == ["b0"]
    registry.update_status("b0", "draining")
    registry.drain("b0")
    registry.resume("b0")
    assert the(registry, "b0").status is BackendStatus.DRAINING
    assert reasons(registry) == {"b0": "draining"}


# ---- The reason.


def test_the_reason_comes_after_those_of_the_status() -> None:
    able = Model("m", context_length=9)
    registry = make_fleet(
        {"model": able},
        {"model": able, "max_pending": 1, "pending": 1},
        {"model": able, "status": "unhealthy"},
        {"model": able, "status": "unknown"},
        {"model": able, "status": "draining"},
        {"model": able},
    )
    for number in range(6):
        registry.drain(f"b{number}")
    expected = {
        "b0": "draining",
        "b1": "draining",
        "b2": "unhealthy",
        "b3": "unknown",
        "b4": "draining",
        "b5": "excluded",
    }
    demanding = Requirements(vision=True, tools=True, json_mode=True, min_context=10)
    for require in (None, demanding):
        request: dict[str, Any] = {"exclude": ["b5"], "require": require}
        assert reasons(registry, **request) == expected
        assert reasons(registry, allow_unknown=True, **request) == {**expected, "b3": "draining"}
        with pytest.raises(NoBackendAvailableError) as caught:
            registry.acquire("m", **request)
        assert caught.value.reasons == expected
    assert "'b0' draining, 'b1' draining, 'b2' unhealthy" in str(caught.value)


def test_a_backend_that_drains_has_no_rank() -> None:
    registry = make_fleet({}, {})
    registry.drain("b0")
    assert [(c.backend_id, c.rank) for c in registry.explain("m")] == [("b1", 1), ("b0", None)]


# ---- How long it lasts.


def remove_and_add(registry: Registry) -> None:
    """Another registration of the same server."""
    registry.remove_backend("b0")
    registry.add_backend(make_backend("b0", "m"))


SAME: dict[str, Callable[[Registry], object]] = {
    "update_backend": lambda r: r.update_backend(make_backend("b0", "n", weight=3)),
    "reconcile": lambda r: r.reconcile([make_backend("b0", "n", weight=3)]),
    "unchanged": lambda r: r.reconcile([make_backend("b0", "m")]),
    "update_models": lambda r: r.update_models("b0", [Model("n")]),
    "add_model": lambda r: r.add_model("b0", Model("n")),
    "remove_model": lambda r: r.remove_model("b0", "m"),
    "set_mdns_instance": lambda r: r.set_mdns_instance("b0", "i"),
}
RENEWED: dict[str, Callable[[Registry], object]] = {
    "update_backend": lambda r: r.update_backend(make_backend("b0", "m", url="http://new")),
    "reconcile": lambda r: r.reconcile([make_backend("b0", "m", url="http://new")]),
    "removed and added": remove_and_add,
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_it_lasts_as_long_as_the_registration(change: Callable[[Registry], object]) -> None:
    registry = make_fleet({})
    registry.drain("b0")
    change(registry)
    assert the(registry, "b0").draining
    assert healthy(registry) == []
    registry.resume("b0")
    change(registry)
    assert not the(registry, "b0").draining


@pytest.mark.parametrize("change", RENEWED.values(), ids=RENEWED)
def test_another_registration_does_not_drain(change: Callable[[Registry], object]) -> None:
    registry = make_fleet({})
    registry.drain("b0")
    change(registry)
    assert not the(registry, "b0").draining
    registry.update_status("b0", "healthy")
    assert healthy(registry) == picks(registry, 1) == ["b0"]


# ---- Errors.


@pytest.mark.parametrize("name", ["drain", "resume"])
def test_an_id_that_is_not_registered_is_not_found(name: str) -> None:
    registry = make_fleet({})
    before = state(registry)
    for unknown in ("z", "", "\ud800", "b0\0"):
        with pytest.raises(BackendNotFoundError) as caught:
            getattr(registry, name)(unknown)
        assert caught.value.backend_id == unknown
    assert state(registry) == before


@pytest.mark.parametrize("name", ["drain", "resume"])
@pytest.mark.parametrize("wrong", [None, 5, b"b0", ["b0"]])
def test_an_id_of_a_wrong_type_is_a_type_error(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match="^backend_id"):
        getattr(make_fleet({}), name)(wrong)


# ---- Threads.


def test_concurrent_reports_never_undo_a_drain() -> None:
    registry = make_fleet({}, {})
    registry.drain("b0")

    def report() -> None:
        for number in range(1500):
            registry.update_status("b0", list(BackendStatus)[number % 4])

    def look() -> None:
        assert the(registry, "b0").draining
        assert healthy(registry) == ["b1"]
        assert registry.select("m").id == "b1"

    until_done(lambda: run_threads([report] * 3), look, look, look)


def test_concurrent_drains_and_reports_are_all_kept() -> None:
    """Each thread writes to its own part of the state; the last write of each must be there."""
    registry = make_fleet({})

    def operate() -> None:
        for _ in range(1000):
            registry.drain("b0")
            assert the(registry, "b0").draining
            registry.resume("b0")
            assert not the(registry, "b0").draining

    def report() -> None:
        for number in range(1000):
            status = list(BackendStatus)[number % 3]
            registry.update_status("b0", status)
            assert the(registry, "b0").status is status

    def define() -> None:
        for number in range(1000):
            registry.update_backend(make_backend("b0", "m", weight=1 + number % 5))
            assert the(registry, "b0").weight == 1 + number % 5

    run_threads([operate, report, define])
    view = the(registry, "b0")
    assert (view.draining, view.status, view.weight) == (False, BackendStatus.HEALTHY, 5)
