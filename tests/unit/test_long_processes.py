"""Forks, exits, subinterpreters and deadlocks: one small round of each long check.

Each check must also detect planted bugs.
"""

from __future__ import annotations

import os

import pytest
from long import deadlocks, exits, forks, subinterpreters
from support.calls import OPERATIONS
from support.rounds import at_once

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_forked_children_can_use_the_registry_at_once() -> None:
    assert sum(forks.run(at_once)) == forks.PER_CHILD


@needs_fork
def test_a_lock_held_across_fork_is_detected() -> None:
    with pytest.raises(AssertionError, match="a child hung"):
        list(forks.run(at_once, make="support.broken:ForgetsForks", hang=1.0))


def test_an_interpreter_can_exit_in_mid_call() -> None:
    assert sum(exits.run(at_once)) == len(exits.ENDS)


@pytest.mark.parametrize(
    ("broken", "message", "hang"),
    [("WaitsAtExit", "Timeout", 2.0), ("CrashesAtExit", "exit status -11", exits.HANG)],
)
def test_a_bad_exit_is_detected(broken: str, message: str, hang: float) -> None:
    with pytest.raises(AssertionError, match=message):
        list(exits.run(at_once, make=f"support.broken:{broken}", hang=hang))


def test_subinterpreters_work_or_are_refused_clearly() -> None:
    assert sum(subinterpreters.run(at_once, interpreters=4)) == 8


@pytest.mark.parametrize("module", ["support.broken_import", "no_such_module"])
def test_an_import_that_fails_in_another_way_is_detected(module: str) -> None:
    with pytest.raises(AssertionError, match="exit status 1: "):
        list(subinterpreters.run(at_once, module=module, interpreters=1, limit=20.0))


@pytest.mark.parametrize("first", ["add_backend", "acquire", "update_latency_many", "reconcile"])
def test_operations_that_interrupt_each_other_end(first: str) -> None:
    assert sum(deadlocks.run(at_once, firsts=(first,))) == len(OPERATIONS)


@pytest.mark.parametrize(
    ("broken", "first", "second"),
    [
        ("TwoOrders", "get_backends_for_model", "update_models"),
        ("NotReentrant", "increment_total_requests", "increment_total_requests"),
        ("CallsUserCodeUnderItsLock", "increment_pending_many", "increment_total_requests"),
    ],
)
def test_a_deadlock_is_detected(broken: str, first: str, second: str) -> None:
    with pytest.raises(AssertionError, match="Timeout"):
        list(
            deadlocks.run(
                at_once,
                make=f"support.broken:{broken}",
                firsts=(first,),
                seconds=(second,) * 5,
                hang=3.0,
            )
        )
