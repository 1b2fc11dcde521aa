"""The state machine notices each planted bug in the rules of outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase
from long import equivalence
from support.broken_failures import CONTRACTS, REGISTRIES
from support.machine import FailuresMachine
from support.oracle import OracleRegistry

from registry import Registry

ROUNDS = 30


def detects(**planted: Any) -> None:
    """Passes if a round finds the bug. The seeds are fixed, so that needs no luck."""
    rounds = iter(range(ROUNDS - 1))
    with pytest.raises(AssertionError):
        list(
            equivalence.run(
                lambda: next(rounds, None) is None,
                kinds=[FailuresMachine],
                phases=[Phase.generate],
                first=0,
                **planted,
            )
        )


@pytest.mark.parametrize("make", REGISTRIES)
def test_a_registry_that_breaks_a_rule_is_detected(make: Callable[..., Registry]) -> None:
    detects(make=make)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_contract_with_another_rule_is_detected(contract: type[OracleRegistry]) -> None:
    detects(contract=contract)
