"""The registry does step by step what the oracle does, and a difference is detected."""

from __future__ import annotations

import pytest
from hypothesis import Phase
from long import equivalence
from support.broken import ForgetsPrompts, KeepsAllPrompts, WrongAverage
from support.machine import PromptsMachine, RegistryMachine
from support.rounds import at_once

from registry import Registry


def test_the_registry_does_what_the_oracle_does() -> None:
    assert sum(equivalence.run(at_once)) > equivalence.EXAMPLES


def test_different_rounding_is_detected() -> None:
    """Each round misses the bug with a probability of 0.07, and all twelve with less than 1e-10.

    The seeds are fixed, so the examples change only with the version of Hypothesis.
    """
    rounds = iter(range(11))
    with pytest.raises(AssertionError):
        list(
            equivalence.run(
                lambda: next(rounds, None) is None,
                make=WrongAverage,
                phases=[Phase.generate],
                first=0,
            )
        )


@pytest.mark.parametrize("make", [ForgetsPrompts, KeepsAllPrompts])
def test_a_mistake_about_prompts_is_detected(make: type[Registry]) -> None:
    """The seeds are fixed, as above."""
    rounds = iter(range(11))
    with pytest.raises(AssertionError):
        list(
            equivalence.run(
                lambda: next(rounds, None) is None,
                make=make,
                kinds=[PromptsMachine],
                phases=[Phase.generate],
                first=0,
            )
        )


def test_a_difference_of_states_is_detected() -> None:
    machine = RegistryMachine()
    machine.start()
    machine.add("a", [], "http://h", None, {})
    machine.real.increment_pending("a")
    with pytest.raises(AssertionError):
        machine.same_state()
    machine.teardown()
