"""The registry does step by step what the oracle does; and a registry that doesn't is noticed."""

from __future__ import annotations

import pytest
from broken import WrongAverage
from hypothesis import Phase
from long import equivalence
from machine import RegistryMachine


def at_once() -> bool:
    """One round is enough."""
    return True


def test_the_registry_does_what_the_oracle_does() -> None:
    assert sum(equivalence.run(at_once)) > equivalence.EXAMPLES


def test_one_that_rounds_otherwise_is_noticed() -> None:
    with pytest.raises(AssertionError):
        list(equivalence.run(at_once, make=WrongAverage, phases=[Phase.generate]))


def test_the_machine_would_see_a_difference() -> None:
    machine = RegistryMachine()
    machine.start()
    machine.add("a", [], "http://h", None, {})
    machine.real.increment_pending("a")
    with pytest.raises(AssertionError):
        machine.same_state()
    machine.teardown()
