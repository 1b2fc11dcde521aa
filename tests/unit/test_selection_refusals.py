"""Why a backend is not chosen: the reasons that `explain` and errors give."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from support.fleets import make_backend, make_fleet
from support.selection import key_for
from support.threads import run_threads

from registry import Model, NoBackendAvailableError, Policy, Registry, RegistryError, Requirements


def test_every_reason_and_its_precedence() -> None:
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
    listed = registry.explain("m", require=require, exclude=("b9", "unregistered"))
    assert {c.backend_id: c.reason for c in listed} == {
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
    assert [c.backend_id for c in listed] == [f"b{number}" for number in range(10)]
    assert [c.rank for c in listed] == [1] + [None] * 9
    assert {
        c.backend_id for c in registry.explain("m", allow_unknown=True) if c.reason is None
    } == {f"b{number}" for number in (0, 3, 4, 5, 6)}


def test_the_error_gives_all_reasons_in_one_line() -> None:
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
def test_a_model_that_no_backend_lists_is_unknown(model_id: str, policy: Policy) -> None:
    registry = make_fleet({})
    for choose in (registry.acquire, registry.select):
        with pytest.raises(NoBackendAvailableError, match="no backend lists it") as caught:
            choose(model_id, policy=policy, affinity=key_for(policy))
        assert caught.value.unknown_model
        assert (caught.value.reasons, caught.value.model_id) == ({}, model_id)
    assert registry.explain(model_id, policy=policy, affinity=key_for(policy)) == []


def test_a_new_definition_of_the_model_takes_effect() -> None:
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


# ---- An error formats its reasons when they are first read.


def refused(registry: Registry, **request: Any) -> NoBackendAvailableError:
    """The error of a refused request, before its reasons are formatted."""
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
def test_reasons_are_those_at_the_time_of_the_refusal(change: str) -> None:
    registry = make_fleet(*MIXED)
    error = refused(registry, exclude=["b3"], require=Requirements(min_context=200))
    for backend_id in list(registry):
        if change == "counts":
            count = registry.decrement_pending if backend_id == "b0" else registry.increment_pending
            count(backend_id)
        elif change == "health":
            registry.update_status(backend_id, "unknown", "later")
        elif change == "models":
            registry.update_models(backend_id, [Model("n")])
        else:
            registry.remove_backend(backend_id)
    registry.add_backend(make_backend("new", "m"))
    assert not error.unknown_model
    assert str(error).startswith("no backend available for 'm': 'b0' full, 'b1' draining, ")
    assert error.reasons == MIXED_REASONS
    assert error.args == ("m", MIXED_REASONS)
    assert error.reasons is error.reasons


@pytest.mark.parametrize(
    "twin_of", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_a_refusal_can_be_copied_before_its_reasons_are_read(twin_of: Callable[[Any], Any]) -> None:
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


def test_reasons_can_be_read_after_the_registry_is_gone() -> None:
    error = refused(make_fleet(*MIXED), exclude=["b2", "b3"])
    gc.collect()
    assert error.reasons == {**MIXED_REASONS, "b2": "excluded"}


def churn(registry: Registry) -> None:
    """Makes enough writes to reclaim everything that was removed before, unless a view keeps it."""
    for _ in range(500):
        registry.add_backend(make_backend("other"))
        registry.remove_backend("other")


def test_a_refusal_frees_what_it_keeps() -> None:
    registry = make_fleet(*[{"status": "draining"}] * 50)
    read, dropped = refused(registry), refused(registry)
    for backend_id in list(registry):
        registry.remove_backend(backend_id)
    churn(registry)
    assert registry.stats().kept_for_views >= 50
    assert len(read.reasons) == 50
    del dropped
    gc.collect()  # The traceback refers to the frame that refers to the error.
    churn(registry)
    assert registry.stats().kept_for_views == 0
    assert len(read.reasons) == 50


def report_of(error: NoBackendAvailableError) -> tuple[dict[str, str], str, bool]:
    """Everything that an error reports about its refusal."""
    return error.reasons, str(error), error.unknown_model


def test_concurrent_threads_can_read_one_refusal() -> None:
    for _ in range(50):
        error = refused(make_fleet(*[{"status": "draining"}] * 30))
        results = run_threads([partial(report_of, error)] * 4)
        assert all(reasons is results[0][0] and len(reasons) == 30 for reasons, _, _ in results)
        assert {(text, unknown) for _, text, unknown in results} == {(str(error), False)}
