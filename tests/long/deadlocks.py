"""Deadlock watch: every pair of operations in both orders on the same ids from two threads, and in the middle of it signal handlers and
finalizers that call both.

A call of the core can be interrupted where it runs code of its caller: an iterable that it reads. Those given here collect garbage
whose finalizer calls the registry. A registry that keeps to 'no user code under a lock' cannot hang whatever the others do.
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
CALLS = 50  # in each round without an interruption of our own: what signals hit
TICK = 2e-4  # seconds between two signals


def run(
    until: Callable[[], bool],
    *,
    make: str = "registry:Registry",
    firsts: Iterable[str] = OPERATIONS,
    seconds: tuple[str, ...] = tuple(OPERATIONS),
    hang: float = 60.0,
) -> Iterator[int]:
    """Each pair ends, whatever interrupts it. One child for each first operation."""
    for first in itertools.cycle(firsts):
        run_clean_child(
            f"from long import deadlocks as d; d.pairs({make!r}, {first!r}, {seconds!r})", hang
        )
        yield len(seconds)
        if until():
            return


class Collected:
    """Calls when it is collected."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.cycle, self.action = self, action

    def __del__(self) -> None:
        self.action()


def interrupting(values: Iterable[Any], action: Callable[[], Any]) -> Iterator[Any]:
    """The values; a garbage collection that ends in `action` comes before each."""
    for value in values:
        Collected(action)
        gc.collect()
        yield value


def attempt(registry: Any, operation: str, **given: Any) -> None:
    """The call, whether it finds what it asks for or not."""
    with suppress(RegistryError, ValueError):
        call(registry, operation, **given)


def pairs(make: str, first: str, seconds: tuple[str, ...]) -> None:
    """In an interpreter of its own, whose main thread gets the signals."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore", ResourceWarning)
    gc.freeze()  # a collection looks at nothing but what the calls have made
    for second in seconds:
        registry = filled(made(make))
        pair(registry, first, second)
        views = registry.get_all_backends()
        assert [view.id for view in views] == list(registry)


def pair(registry: Any, first: str, second: str) -> None:
    """Both operations, in both orders, at once."""

    def both(*order: str) -> None:
        for operation in order:
            attempt(registry, operation)

    def interrupted(*order: str) -> None:
        for operation, other in zip(order, reversed(order), strict=True):
            # Garbage comes in the iterables that the call takes, or before it.
            names = [
                name
                for name in OPERATIONS[operation]
                if name in ("ids", "samples", "models", "exclude")
            ]
            values = {
                name: interrupting(ARGUMENTS[name](), lambda: both(other, operation))  # noqa: B023
                for name in names
            }
            Collected(lambda: both(other, operation))  # noqa: B023
            attempt(registry, operation, **values)
            with suppress(RegistryError):  # or each pair would have it once only
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
