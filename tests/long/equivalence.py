"""Stateful equivalence: random sequences of all operations, leases included, on the registry and on the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from support.machine import RegistryMachine

from registry import Registry

UNIT = "steps"
GOAL = 10**5

EXAMPLES = 60
STEPS = 60
PHASES = (Phase.generate, Phase.shrink)


def run(
    until: Callable[[], bool],
    *,
    make: Callable[[], Registry] = Registry,
    phases: Sequence[Phase] = PHASES,
    first: int | None = None,
) -> Iterator[int]:
    """Rounds of examples, new ones each time, or, from a first seed on, the same ones each time; a difference is
    raised with the shortest sequence that shows it."""

    once = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=False,  # else, where CI is set, each round would have the same examples
        phases=phases,
        # The type of its iteration is unknown to pyright.
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )
    for number in itertools.count():

        class Machine(RegistryMachine):
            """For this registry."""

            def make(self) -> Registry:
                return make()

        if first is not None:
            seed(first + number)(Machine)
        before = Machine.steps
        run_state_machine_as_test(Machine, settings=once)
        yield Machine.steps - before
        if until():
            return
