"""`update_backend`: with an equal url, the registration stays and everything else takes effect.

test_replace_backend.py has other urls, test_update_limits.py the definitions that change choices.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from support.fleets import fill_used, fresh, ids_for, make_backend, make_fleet, state, the

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendType,
    DiscoverySource,
    Model,
    NoBackendAvailableError,
    Registry,
)

# The same server as http://h/v1, in other words.
SPELLINGS = ["HTTP://h/v1", "http://H/v1", "http://h:80/v1", "http://h/v1/", "http://h/v1//"]
OTHERS = ["https://h/v1", "http://h:81/v1", "http://h/V1", "http://h"]


@pytest.fixture
def used(registry: Registry) -> Registry:
    """The backends of `fill_used`."""
    return fill_used(registry)


# ---- An equal url: the registration stays.


@pytest.mark.parametrize("url", ["http://h/v1", *SPELLINGS])
def test_an_equal_url_keeps_the_registration(used: Registry, url: str) -> None:
    used.drain("b")
    before = the(used, "b")
    definition = fresh(url=url, name="new", weight=7)
    assert used.update_backend(definition) is None  # type: ignore[func-returns-value]
    after = the(used, "b")
    assert after == replace(before, url=url, name="new", weight=7)
    assert (after.serial, after.status, after.last_error) == (2, BackendStatus.UNHEALTHY, "boom")
    assert (after.pending_requests, after.total_requests, after.avg_latency_ms) == (3, 1, 40)
    assert after.last_health_check == before.last_health_check
    assert after.draining
    assert list(used) == ["a", "b", "c"]
    assert used.update_latency("b", 90) == (90 + 4 * 40) // 5


def test_everything_in_the_definition_takes_effect(used: Registry) -> None:
    definition = Backend(
        "b",
        "another name",
        "http://H:80/v1/",
        BackendType.VLLM,
        [Model("n", context_length=8), Model("o")],
        DiscoverySource.MDNS,
        {"mdns_instance": "i", "zone": "eu"},
        priority=-5,
        max_pending=3,
        weight=1000,
    )
    used.update_backend(definition)
    view = the(used, "b")
    assert view.backend == definition
    for name in ("name", "url", "backend_type", "models", "discovery_source", "metadata"):
        assert getattr(view, name) == getattr(definition, name)
    assert (view.priority, view.max_pending, view.weight) == (-5, 3, 1000)
    assert json.loads(used.to_json())["backends"][1]["url"] == "http://H:80/v1/"
    (candidate,) = used.explain("n", allow_unknown=True)
    assert (candidate.priority, candidate.weight) == (-5, 1000)


def test_settings_are_replaced(used: Registry) -> None:
    for settings in ({"key": "ONE"}, {"key": "TWO", "nested": {"a": [1, 2]}}, {}):
        used.update_backend(fresh(settings=settings))
        assert the(used, "b").backend.settings == settings
    assert the(used, "b").serial == 2


def test_an_equal_definition_changes_nothing(used: Registry) -> None:
    used.drain("b")
    before = state(used)
    used.update_backend(fresh())
    assert state(used) == before


def test_the_spelling_of_the_url_changes_and_both_are_found(used: Registry) -> None:
    used.remove_backend("a")
    used.remove_backend("c")
    for url in SPELLINGS:
        used.update_backend(fresh(url=url))
        assert the(used, "b").url == url
        assert all(used.has_backend_url(one) for one in ("http://h/v1", *SPELLINGS))
        assert not any(used.has_backend_url(one) for one in OTHERS)


def test_views_from_before_keep_the_old_definition(used: Registry) -> None:
    views = [the(used, "b"), used.get_all_backends()[1], used.get_backends_for_model("m")[1]]
    before = [view.to_json() for view in views]
    used.update_backend(fresh("b", "n", name="new"))
    used.update_backend(fresh("b", "o", url="http://new"))
    assert [view.to_json() for view in views] == before
    assert all(view.backend == fresh() for view in views)


def test_leases_of_the_registration_stay_and_count() -> None:
    registry = make_fleet({"max_pending": 2})
    leases = [registry.acquire("m") for _ in range(2)]
    for weight in range(2, 50):
        registry.update_backend(make_backend("b0", "m", max_pending=2, weight=weight))
        with pytest.raises(NoBackendAvailableError, match="'b0' full"):
            registry.acquire("m")
        assert the(registry, "b0").pending_requests == 2
    assert [lease.release(10) for lease in leases] == [True, True]
    view = the(registry, "b0")
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 2, 10)


def test_no_request_is_lost_while_weights_change() -> None:
    """As measured on the version without `update_backend`: of 120 requests the total said 68."""
    registry = make_fleet({}, {})
    for number in range(120):
        with registry.acquire("m") as lease:
            changed = f"b{number % 2}"
            registry.update_backend(make_backend(changed, "m", weight=1 + number % 9))
            assert the(registry, lease.backend.id).pending_requests == 1
    assert sum(view.total_requests for view in registry.get_all_backends()) == 120
    assert [view.pending_requests for view in registry.get_all_backends()] == [0, 0]


def test_a_lease_keeps_the_definition_that_it_was_chosen_by() -> None:
    registry = make_fleet({"weight": 2})
    lease = registry.acquire("m")
    registry.update_backend(make_backend("b0", "n", weight=9))
    registry.update_backend(make_backend("b0", "o", url="http://new"))
    registry.remove_backend("b0")
    assert lease.backend == make_backend("b0", "m", weight=2)
    lease.release()
    assert lease.backend == make_backend("b0", "m", weight=2)


# ---- Models and instances.


@pytest.mark.parametrize("url", ["http://h/v1", "http://new"])
def test_the_index_of_models_follows(used: Registry, url: str) -> None:
    used.update_backend(fresh("b", "n", "m", url=url))
    assert (ids_for(used, "m"), ids_for(used, "n")) == (["a", "b", "c"], ["b"])
    assert used.model_count() == 2
    used.update_backend(fresh("b", "o", url=url))
    assert [ids_for(used, name) for name in "mno"] == [["a", "c"], [], ["b"]]
    assert (used.model_count(), used.stats().index_entries) == (2, 3)
    used.update_backend(replace(fresh(url=url), models=()))
    assert [ids_for(used, name) for name in "mno"] == [["a", "c"], [], []]


def test_a_new_definition_of_a_model_takes_effect() -> None:
    registry = make_fleet({})
    model = Model("m", supports_tools=True, context_length=9)
    registry.update_backend(replace(make_backend("b0"), models=(model,)))
    assert registry.get_backends_for_model("m")[0].models == (model,)
    assert registry.explain("m")[0].reason is None


@pytest.mark.parametrize("url", ["http://h/v1", "http://new"])
def test_the_instance_follows(used: Registry, url: str) -> None:
    used.update_backend(fresh(url=url, metadata={"mdns_instance": "i"}))
    assert used.find_by_mdns_instance("i") == "b"
    used.update_backend(fresh(url=url, metadata={"mdns_instance": "i", "zone": "eu"}))
    assert used.find_by_mdns_instance("i") == "b"
    used.update_backend(fresh(url=url, metadata={"mdns_instance": "j"}))
    assert [used.find_by_mdns_instance(name) for name in "ij"] == [None, "b"]
    used.update_backend(fresh(url=url))
    assert [used.find_by_mdns_instance(name) for name in "ij"] == [None, None]
    used.set_mdns_instance("c", "j")
    assert used.find_by_mdns_instance("j") == "c"


# ---- Calls that raise.


def test_an_id_that_is_not_registered_is_not_found(used: Registry) -> None:
    before = state(used)
    with pytest.raises(BackendNotFoundError, match="^backend not found: 'z'$") as caught:
        used.update_backend(fresh("z", metadata={"mdns_instance": "i"}))
    assert caught.value.backend_id == "z"
    assert state(used) == before


@pytest.mark.parametrize("url", ["http://h/v1", "http://new"])
def test_an_instance_of_another_backend_is_refused(used: Registry, url: str) -> None:
    used.set_mdns_instance("a", "i")
    before = state(used)
    with pytest.raises(ValueError, match="mDNS instance of 'b'"):
        used.update_backend(
            fresh("b", "n", url=url, name="new", metadata={"mdns_instance": "i"}, weight=9)
        )
    assert state(used) == before
    with pytest.raises(ValueError, match="mdns_instance"):
        used.update_backend(fresh(url=url, metadata={"mdns_instance": ""}))
    assert state(used) == before
    used.remove_backend("a")
    used.update_backend(fresh(url=url, metadata={"mdns_instance": "i"}))
    assert used.find_by_mdns_instance("i") == "b"


@pytest.mark.parametrize("wrong", [None, "b", {"id": "b"}, Backend, Model("b"), ["b"]])
def test_anything_but_a_backend_is_a_type_error(used: Registry, wrong: Any) -> None:
    before = state(used)
    with pytest.raises(TypeError, match="^backend must be"):
        used.update_backend(wrong)
    assert state(used) == before


def test_a_view_is_no_backend_but_has_one(used: Registry) -> None:
    any_registry: Any = used
    with pytest.raises(TypeError, match="^backend must be"):
        any_registry.update_backend(the(used, "b"))
    used.update_backend(replace(the(used, "b").backend, weight=3))
    assert the(used, "b").weight == 3


def test_the_argument_is_positional(used: Registry) -> None:
    any_registry: Any = used
    with pytest.raises(TypeError):
        any_registry.update_backend(backend=fresh())


def test_a_subclass_is_stored_as_the_plain_class(used: Registry) -> None:
    class Own(Backend):
        pass

    used.update_backend(Own("b", "own", "http://h/v1", models=[Model("m")]))
    assert type(the(used, "b").backend) is Backend
    assert (the(used, "b").name, the(used, "b").serial) == ("own", 2)


def test_a_long_model_id_is_logged_when_it_enters(
    used: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "registry"):
        used.update_backend(fresh("b", "m", "x" * 1001))
        assert len(caplog.records) == 1
        used.update_backend(fresh("b", "m", "x" * 1001, weight=2))
        assert len(caplog.records) == 1
