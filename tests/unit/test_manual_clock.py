"""`ManualClock`: a registry's time, moved by hand."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from support.fleets import make_backend, the
from support.threads import run_threads

from registry import Reason, Registry
from registry.testing import ManualClock

YEAR = 86_400 * 365
NAN, INFINITY = float("nan"), float("inf")
HUGE = 10**400  # more than a float can hold


def test_a_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    assert (clock.now, repr(clock)) == (0.0, "<ManualClock: 0.0 s>")
    clock.advance(2)
    clock.advance(0.5)
    clock.advance(0)
    assert (clock.now, repr(clock)) == (2.5, "<ManualClock: 2.5 s>")


def test_a_clock_is_exact_in_nanoseconds() -> None:
    clock = ManualClock()
    for _ in range(10):
        clock.advance(0.1)
    assert clock._read() == 10**9
    clock.advance(1e-9)
    clock.advance(1_000_000.000000001)
    clock.advance(86_400 * 365 * 50)
    assert clock._read() == 10**9 + 2 + 10**15 + 86_400 * 365 * 50 * 10**9


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "from 0 to"),
        (-1e-300, ValueError, "from 0 to"),
        (NAN, ValueError, "from 0 to"),
        (INFINITY, ValueError, "from 0 to"),
        (HUGE, ValueError, "from 0 to"),
        (True, TypeError, "an int or a float, not bool"),
        ("1", TypeError, "an int or a float, not str"),
        (None, TypeError, "an int or a float, not NoneType"),
        (timedelta(1), TypeError, "an int or a float, not timedelta"),
    ],
)
def test_a_bad_move_moves_nothing(value: Any, error: type[Exception], message: str) -> None:
    clock = ManualClock()
    with pytest.raises(error, match=f"^seconds must be {message}"):
        clock.advance(value)
    assert clock.now == 0


def test_a_clock_has_a_last_moment() -> None:
    clock = ManualClock()
    clock.advance(YEAR * 100)
    with pytest.raises(ValueError, match="^seconds must keep the clock within"):
        clock.advance(1e-9)
    clock.advance(0)
    assert clock.now == YEAR * 100


def test_no_move_is_lost() -> None:
    clock = ManualClock()

    def move() -> None:
        for _ in range(2000):
            clock.advance(0.001)

    run_threads([move] * 4)
    assert clock.now == 8


def test_a_clock_belongs_to_its_process() -> None:
    for clone in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="^a ManualClock can't be copied"):
            clone(ManualClock())


def test_registries_may_share_a_clock_and_outlive_it(clock: ManualClock, made: Registry) -> None:
    other = Registry(clock=clock)
    other.add_backend(make_backend("a"))
    made.cool_down("a", 5)
    other.cool_down("a", 6)
    clock.advance(5)
    assert (the(made, "a").unavailable, the(other, "a").unavailable) == (None, Reason.COOLING_DOWN)
    del clock
    assert the(other, "a").unavailable is Reason.COOLING_DOWN
