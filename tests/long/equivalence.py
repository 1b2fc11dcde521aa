"""Random sequences of operations have equal results on the registry and on the oracle."""

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
    """Runs rounds of examples, and raises the shortest sequence that shows a difference.

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

        class Machine(RegistryMachine):
            """Compares this check's registry."""

            def make(self) -> Registry:
                return make()

        if first is not None:
            seed(first + number)(Machine)
        before = Machine.steps
        run_state_machine_as_test(Machine, settings=once)
        yield Machine.steps - before
        if until():
            return
