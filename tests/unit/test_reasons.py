"""`Reason`: what a candidate and a refusal tell programs."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from support.fleets import finish, kind_of, make_timed, refusal, the

from registry import (
    Backend,
    BackendView,
    Candidate,
    Ejection,
    NoBackendAvailableError,
    Reason,
    Registry,
    Requirements,
)
from registry._core import binding
from registry.testing import ManualClock


def test_the_reasons_have_the_order_and_the_values_of_the_page() -> None:
    values = [
        *("excluded", "unhealthy", "draining", "unknown", "no vision", "no tools", "no json mode"),
        *("short context", "cooling down", "ejected", "on trial", "waiting", "full"),
    ]
    assert [member.value for member in Reason] == values
    assert [member.name for member in Reason] == [
        value.replace(" ", "_").upper() for value in values
    ]


def test_a_bind_with_other_reasons_is_an_import_error() -> None:
    for given in ((), (*Reason, Reason.FULL)):
        with pytest.raises(ImportError):
            binding.bind(Backend, Backend, BackendView, (), given)  # type: ignore[arg-type]


def test_a_candidate_has_its_kind(made: Registry) -> None:
    made.cool_down("a", 5)
    (candidate,) = made.explain("m")
    assert (candidate.reason, candidate.kind) == ("cooling down", Reason.COOLING_DOWN)
    assert type(candidate.reason) is str
    made.restore("a")
    assert made.explain("m")[0].kind is None
    assert [field.name for field in dataclasses.fields(Candidate)][-1] == "kind"
    assert Candidate("a", None, 1, 0, 0, 1, 0).kind is None


def test_an_error_has_kinds_and_the_time_to_come_back(made: Registry, clock: ManualClock) -> None:
    made.cool_down("a", 5)
    clock.advance(3.5)
    error = refusal(made)
    clock.advance(1)  # the time of the refusal counts
    assert error.retry_after == 1.5
    assert error.kinds == {"a": Reason.COOLING_DOWN}
    assert error.reasons == {"a": "cooling down"}
    assert error.retry_after == 1.5
    assert str(error) == "no backend available for 'm': 'a' cooling down"
    made.restore("a")
    error = refusal(made, exclude=["a"])
    assert (error.kinds, error.retry_after) == ({"a": Reason.EXCLUDED}, None)
    with pytest.raises(NoBackendAvailableError) as caught:
        made.acquire("other")
    assert (caught.value.kinds, caught.value.retry_after) == ({}, None)


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_a_copy_of_an_error_has_everything(made: Registry, clone: Callable[[Any], Any]) -> None:
    made.cool_down("a", 5)
    for error in (
        refusal(made),
        NoBackendAvailableError("m", {"a": "full"}, {"a": Reason.FULL}, 2.5),
    ):
        twin = clone(error)
        assert (twin.model_id, twin.reasons) == (error.model_id, error.reasons)
        assert (twin.kinds, twin.retry_after) == (error.kinds, error.retry_after)
        assert (twin.args, str(twin), repr(twin)) == (error.args, str(error), repr(error))
        assert twin.args == ("m", error.reasons)


def test_an_error_made_in_python_needs_no_kinds() -> None:
    error = NoBackendAvailableError("m", {"a": "full"})
    assert (error.kinds, error.retry_after) == ({}, None)
    given = {"a": Reason.FULL}
    error = NoBackendAvailableError("m", kinds=given, retry_after=1)
    assert (error.reasons, error.kinds, error.retry_after) == ({}, given, 1)
    assert error.kinds is not given


def test_an_id_that_was_forced_has_a_kind(made: Registry) -> None:
    object.__setattr__(the(made, "a").backend, "id", 5)
    made.drain("a")
    assert refusal(made).kinds == {"5": Reason.DRAINING}


def test_of_several_reasons_the_first_in_the_order_is_told() -> None:
    """From the last reason to the first: each is added to those before it."""
    registry, clock = make_timed("a", "b", cap=1, ejection=Ejection(consecutive_failures=1))
    finish(registry, "a", failed=True)
    registry.increment_pending("b")
    clock.advance(30)
    trial = registry.acquire("m")
    assert the(registry, "a").pending_requests == 1  # it is full as well
    assert kind_of(registry) is Reason.ON_TRIAL
    trial.release(failed=True)
    registry.increment_pending("a")
    assert kind_of(registry) is Reason.EJECTED
    registry.cool_down("a", 5)
    assert kind_of(registry) is Reason.COOLING_DOWN
    require = Requirements(min_context=5000)
    assert kind_of(registry, require=require) is Reason.SHORT_CONTEXT
    registry.drain("a")
    assert kind_of(registry, require=require) is Reason.DRAINING
    registry.update_status("a", "unknown")
    assert kind_of(registry, require=require) is Reason.UNKNOWN
    assert kind_of(registry, require=require, allow_unknown=True) is Reason.DRAINING
    registry.update_status("a", "unhealthy")
    assert kind_of(registry, require=require) is Reason.UNHEALTHY
    assert kind_of(registry, require=require, exclude=["a"]) is Reason.EXCLUDED
    error = refusal(registry, exclude=["a"])
    assert error.kinds == {"a": Reason.EXCLUDED, "b": Reason.FULL}
    assert error.retry_after is None  # time alone does not bring a back
