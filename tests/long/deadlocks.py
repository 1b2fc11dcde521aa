"""No pair of operations can deadlock.

Two threads run each pair in both orders on the same ids, while signal handlers and finalizers call
both operations, too. The core runs its caller's code only when it reads an iterable. The iterables
here collect garbage whose finalizer calls the registry. A registry that runs no user code under a
lock cannot hang.
"""

from __future__ import annotations

import gc
import itertools
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from support.calls import ARGUMENTS, OPERATIONS, call, filled
from support.children import made, run_clean_child

from registry import Backend, RegistryError

UNIT = "pairs"
GOAL = len(OPERATIONS) ** 2

ROUNDS = 10
CALLS = 50  # Calls in each round that only signals interrupt.
TICK = 2e-4  # Seconds between two signals.


def run(
    until: Callable[[], bool],
    *,
    make: str = "registry:Registry",
    firsts: Iterable[str] = OPERATIONS,
    seconds: tuple[str, ...] = tuple(OPERATIONS),
    hang: float = 60.0,
) -> Iterator[int]:
    """Each pair ends, whatever interrupts it. One child runs all pairs of a first operation."""
    for first in itertools.cycle(firsts):
        run_clean_child(
            f"from long import deadlocks as d; d.pairs({make!r}, {first!r}, {seconds!r})", hang
        )
        yield len(seconds)
        if until():
            return


class Collected:
    """Calls `action` when the garbage collector frees it."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.cycle, self.action = self, action

    def __del__(self) -> None:
        self.action()


def interrupting(values: Iterable[Any], action: Callable[[], Any]) -> Iterator[Any]:
    """Yields the values, and before each lets a garbage collection call `action`."""
    for value in values:
        Collected(action)
        gc.collect()
        yield value


def attempt(registry: Any, operation: str, **given: Any) -> None:
    """Makes the call, and ignores the contract's errors."""
    with suppress(RegistryError, ValueError):
        call(registry, operation, **given)


def pairs(make: str, first: str, seconds: tuple[str, ...]) -> None:
    """Runs in a child, whose main thread receives the signals."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore", ResourceWarning)
    gc.freeze()  # Collections then look only at objects that the calls create.
    for second in seconds:
        registry = filled(made(make))
        pair(registry, first, second)
        views = registry.get_all_backends()
        assert [view.id for view in views] == list(registry)


def pair(registry: Any, first: str, second: str) -> None:
    """Runs both operations in both orders at the same time."""

    def both(*order: str) -> None:
        for operation in order:
            attempt(registry, operation)

    def interrupted(*order: str) -> None:
        for operation, other in zip(order, reversed(order), strict=True):
            # The garbage is freed inside the iterables that the call reads, or before the call.
            names = [
                name
                for name in OPERATIONS[operation]
                if name in ("ids", "samples", "models", "exclude", "backends")
            ]
            values = {
                name: interrupting(ARGUMENTS[name](), lambda: both(other, operation))  # noqa: B023
                for name in names
            }
            Collected(lambda: both(other, operation))  # noqa: B023
            attempt(registry, operation, **values)
            with suppress(RegistryError):  # The next call can then add it again.
                registry.remove_backend("y")
            with suppress(RegistryError):
                registry.add_backend(Backend("x", "x", "http://x", models=[ARGUMENTS["model"]()]))

    def repeat(*order: str) -> None:
        for _ in range(ROUNDS):
            interrupted(*order)
            for _ in range(CALLS):
                both(*order)

    def tick(*_: Any) -> None:
        both(first, second)
        signal.setitimer(signal.ITIMER_REAL, 0 if done.is_set() else TICK)

    done = threading.Event()

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, TICK)
    thread = threading.Thread(target=repeat, args=(second, first), daemon=True)
    thread.start()
    repeat(first, second)
    thread.join()
    done.set()
    signal.setitimer(signal.ITIMER_REAL, 0)
