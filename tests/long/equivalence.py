"""Random sequences of operations have equal results on the registry and on the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from support.machine import (
    FailuresMachine,
    PromptsMachine,
    RegistryMachine,
    TokensMachine,
    with_make,
)
from support.oracle import OracleRegistry

from registry import Registry

UNIT = "steps"
GOAL = 10**5

EXAMPLES = 40  # of each machine
STEPS = 60
PHASES = (Phase.generate, Phase.shrink)
KINDS = (RegistryMachine, FailuresMachine, TokensMachine, PromptsMachine)


def run(
    until: Callable[[], bool],
    *,
    make: Callable[..., Registry] = Registry,
    contract: Callable[..., OracleRegistry] = OracleRegistry,
    kinds: Sequence[type[RegistryMachine]] = KINDS,
    phases: Sequence[Phase] = PHASES,
    first: int | None = None,
) -> Iterator[int]:
    """Runs rounds of examples, and raises the shortest sequence that shows a difference.

    `make` gets the settings that the oracle has.

    The examples are new each time, unless `first` gives the seed of the first round.
    """

    once = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=False,  # If CI is set, the default would repeat the examples.
        phases=phases,
        # Pyright does not know what iterating over an Enum class yields.
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )
    for number in itertools.count():
        before = RegistryMachine.steps
        for kind in kinds:
            machine = with_make(kind, make, contract)
            if first is not None:
                seed(first + number)(machine)
            run_state_machine_as_test(machine, settings=once)
        yield RegistryMachine.steps - before
        if until():
            return
