"""The registry does step by step what the oracle does; and a registry that doesn't is noticed."""

from __future__ import annotations

import pytest
from hypothesis import Phase
from long import equivalence
from support.broken import WrongAverage
from support.machine import RegistryMachine


def at_once() -> bool:
    """One round is enough."""
    return True


def test_the_registry_does_what_the_oracle_does() -> None:
    assert sum(equivalence.run(at_once)) > equivalence.EXAMPLES


def test_one_that_rounds_otherwise_is_noticed() -> None:
    """A round misses it in 7 of 100 cases. The seeds are fixed, so that only another Hypothesis draws other examples,
    and of twelve rounds all miss it with a probability below 1e-10."""
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


def test_the_machine_would_see_a_difference() -> None:
    machine = RegistryMachine()
    machine.start()
    machine.add("a", [], "http://h", None, {})
    machine.real.increment_pending("a")
    with pytest.raises(AssertionError):
        machine.same_state()
    machine.teardown()
