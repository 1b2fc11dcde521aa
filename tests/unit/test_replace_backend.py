"""`update_backend` with another url: a new registration takes the place of the old one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from support.fleets import fill_used, fresh, ids_for, make_backend, make_fleet, the
from support.selection import key_for

from registry import (
    BackendStatus,
    DuplicateBackendError,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
)


@pytest.fixture
def used(registry: Registry) -> Registry:
    """The backends of `fill_used`."""
    return fill_used(registry)


@pytest.mark.parametrize(
    "url", ["https://h/v1", "http://h:81/v1", "http://h/V1", "http://h", "http://g/v1"]
)
def test_another_url_is_a_new_registration(used: Registry, url: str) -> None:
    used.drain("b")
    latest = max(view.serial for view in used.get_all_backends())
    began = datetime.now(UTC) - timedelta(milliseconds=1)
    used.update_backend(fresh(url=url, weight=5))
    view = the(used, "b")
    assert view.serial > latest
    assert (view.status, view.last_error, view.draining) == (BackendStatus.UNKNOWN, None, False)
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 0, 0)
    assert began <= view.last_health_check <= datetime.now(UTC) + timedelta(milliseconds=1)
    assert view.backend == fresh(url=url, weight=5)
    assert used.update_latency("b", 7) == 7


def test_the_first_sample_of_the_new_server_counts(used: Registry) -> None:
    used.update_backend(fresh(url="http://new"))
    assert [used.update_latency("b", sample) for sample in (0, 100)] == [0, 20]


def test_urls_of_the_old_server_are_forgotten(used: Registry) -> None:
    for backend_id in "ac":
        used.update_backend(fresh(backend_id, url="http://other"))
    assert used.has_backend_url("http://h/v1")
    used.update_backend(fresh(url="http://new"))
    assert used.has_backend_url("HTTP://NEW:80/")
    assert not used.has_backend_url("http://h/v1")
    used.update_backend(fresh("a", url="http://new"))
    used.update_backend(fresh("b", url="http://other"))
    assert used.has_backend_url("http://new")
    used.update_backend(fresh("a", url="http://other"))
    assert not used.has_backend_url("http://new")


def test_the_place_in_every_order_is_kept(used: Registry) -> None:
    used.update_backend(fresh("b", url="http://new"))
    used.update_backend(fresh("a", url="http://new"))
    for view in used.get_all_backends():
        used.update_status(view.id, "healthy")
    assert list(used) == ["a", "b", "c"]
    assert [view.id for view in used.get_all_backends()] == ["a", "b", "c"]
    assert [view.id for view in used.get_healthy_backends()] == ["a", "b", "c"]
    assert ids_for(used, "m") == ["a", "b", "c"]
    assert [one["id"] for one in json.loads(used.to_json())["backends"]] == ["a", "b", "c"]


def test_the_place_is_kept_while_others_come_and_go(used: Registry) -> None:
    used.update_backend(fresh("a", "m", "n", url="http://new"))
    used.add_backend(fresh("d", "n"))
    used.update_backend(fresh("b", "n", url="http://new"))
    used.add_model("c", Model("n"))
    used.remove_backend("d")
    used.add_backend(fresh("e", "m", "n"))
    used.add_backend(fresh("d", "n", "m"))
    used.update_backend(fresh("a", "n", url="http://other"))
    used.add_model("b", Model("m"))
    assert list(used) == ["a", "b", "c", "e", "d"]
    assert ids_for(used, "n") == ["a", "b", "c", "e", "d"]
    assert ids_for(used, "m") == ["b", "c", "e", "d"]
    used.remove_backend("a")
    used.add_backend(fresh("a", "m", url="http://other"))
    assert ids_for(used, "m") == ["b", "c", "e", "d", "a"]


def test_the_place_is_kept_in_a_large_fleet(registry: Registry) -> None:
    ids = [f"b{number}" for number in range(300)]
    for backend_id in ids:
        registry.add_backend(make_backend(backend_id, "m"))
    for turn in range(3):
        for backend_id in ids[turn::7] + ids[::-11]:
            registry.update_backend(make_backend(backend_id, "m", url=f"http://{turn}"))
            registry.update_backend(make_backend(backend_id, "n", url=f"http://{turn}"))
        for backend_id in ids[::-1]:
            registry.add_model(backend_id, Model("m"))
        assert list(registry) == ids_for(registry, "m") == ids
    assert ids_for(registry, "n") == [
        view.id for view in registry.get_all_backends() if len(view.models) == 2
    ]


def test_leases_of_the_old_server_stay_with_the_old_server() -> None:
    registry = make_fleet({"max_pending": 1})
    old = registry.acquire("m")
    registry.update_backend(make_backend("b0", "m", url="http://new", max_pending=1))
    assert the(registry, "b0").pending_requests == 0
    new = registry.acquire("m", allow_unknown=True)
    assert old.active
    assert old.backend.url != new.backend.url == "http://new"
    assert old.release(5000)
    view = the(registry, "b0")
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (1, 0, 0)
    assert new.release(3)
    view = the(registry, "b0")
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 1, 3)


def test_a_lease_outlives_many_replacements() -> None:
    registry = make_fleet({})
    leases = []
    for number in range(1000):
        leases.append(registry.acquire("m", allow_unknown=True))
        registry.update_backend(make_backend("b0", "m", url=f"http://h{number}"))
    assert len({lease.backend.url for lease in leases}) == 1000
    assert all(lease.release(1) for lease in leases)
    view = the(registry, "b0")
    assert (view.pending_requests, view.total_requests) == (0, 0)


@pytest.mark.parametrize("policy", Policy)
def test_a_new_server_is_unknown_until_it_is_checked(policy: Policy) -> None:
    registry = make_fleet({})
    registry.update_backend(make_backend("b0", "m", url="http://new"))
    with pytest.raises(NoBackendAvailableError, match="'b0' unknown"):
        registry.select("m", policy=policy, affinity=key_for(policy))
    registry.update_status("b0", "healthy")
    assert registry.select("m", policy=policy, affinity=key_for(policy)).url == "http://new"


def test_removing_and_adding_work_after_a_replacement(used: Registry) -> None:
    used.update_backend(fresh(url="http://new"))
    with pytest.raises(DuplicateBackendError):
        used.add_backend(fresh())
    assert used.remove_backend("b").url == "http://new"
    assert list(used) == ids_for(used, "m") == ["a", "c"]
    assert not used.has_backend_url("http://new")
    used.add_backend(fresh())
    assert list(used) == ids_for(used, "m") == ["a", "c", "b"]
