"""Small concurrent histories have a linear order, and histories of broken registries have none."""

from __future__ import annotations

from typing import Any

import pytest
from long import histories
from support.broken import CheckThenAct, StaleReads
from support.broken_failures import (
    AbandonedEjects,
    RestsLate,
    TwoTrials,
)
from support.linearizability import Spec, Step, definition, explains
from support.oracle import OracleRegistry
from support.rounds import at_once

from registry import Model, Registry

# More than ten times as many histories as it takes to find any of these bugs.
MANY = 50_000


def test_concurrent_histories_have_an_order() -> None:
    assert sum(histories.run(at_once)) == histories.ROUND


@pytest.mark.parametrize("broken", [CheckThenAct, StaleReads, RestsLate])
def test_concurrent_histories_of_a_broken_registry_have_no_order(broken: type[Registry]) -> None:
    with pytest.raises(AssertionError, match="thread 0"):
        list(histories.run(at_once, make=broken, histories=MANY))


@pytest.mark.parametrize("contract", [TwoTrials, AbandonedEjects])
def test_concurrent_histories_have_no_order_by_another_rule(
    contract: type[OracleRegistry],
) -> None:
    with pytest.raises(AssertionError, match="thread 0"):
        list(histories.run(at_once, contract=contract, histories=MANY))


# ---- The search itself, on histories written by hand.


def filled() -> Spec:
    """Two backends with no requests in flight."""
    spec = Spec(OracleRegistry())
    for backend_id in ("a", "b"):
        spec.oracle.add_backend(definition(backend_id, (Model("m"),)))
    return spec


def step(thread: int, began: int, ended: int, name: str, backend_id: str, seen: Any) -> Step:
    """A step that counts on one backend."""
    return Step(
        thread, began, ended, name, lambda spec: getattr(spec.oracle, name)(backend_id), seen
    )


def test_overlapping_steps_may_be_ordered_either_way() -> None:
    for first, second in ((1, 2), (2, 1)):
        steps = [
            step(0, 0, 10, "increment_pending", "a", first),
            step(1, 5, 15, "increment_pending", "a", second),
        ]
        assert explains(steps, filled())


def test_a_step_that_ended_is_ordered_before_one_that_began_later() -> None:
    steps = [
        step(0, 0, 4, "increment_pending", "a", 2),
        step(1, 5, 15, "increment_pending", "a", 1),
    ]
    assert not explains(steps, filled())


def test_a_lost_count_has_no_order() -> None:
    steps = [step(thread, 0, 9, "increment_pending", "a", 1) for thread in range(2)]
    assert not explains(steps, filled())


def test_steps_of_one_call_keep_their_order() -> None:
    steps = [step(0, 0, 9, "increment_pending", "a", 2), step(0, 0, 9, "increment_pending", "a", 1)]
    assert not explains(steps, filled())


def test_two_threads_cannot_both_miss_each_others_count() -> None:
    """Each thread counts on its own backend and then reads the other thread's.

    In any order, the later one of the two reads sees the other thread's count.
    """
    steps = [
        step(0, 0, 9, "increment_pending", "a", 1),
        step(0, 10, 19, "decrement_pending", "b", 0),
        step(1, 0, 9, "increment_pending", "b", 1),
        step(1, 10, 19, "decrement_pending", "a", 0),
    ]
    assert explains(steps, filled())
    at_zero = Step(0, 10, 19, "get", lambda spec: spec.oracle.entries["b"].pending, 0)
    other = Step(1, 10, 19, "get", lambda spec: spec.oracle.entries["a"].pending, 0)
    assert not explains([steps[0], at_zero, steps[2], other], filled())
