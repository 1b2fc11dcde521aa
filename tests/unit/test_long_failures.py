"""Random failures under threads: a short round of the long check, and planted bugs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest
from long import failures
from support import broken_storms
from support.broken import LOST
from support.broken_storms import (
    CoolsDownInSteps,
    KeepsDropped,
    NeverTriesAgain,
    ShowsTheLastViews,
    TriesAgainAtOnce,
)
from support.rounds import at_once

from registry import NoBackendAvailableError, Registry

REQUESTS = 300


@pytest.fixture(autouse=True)
def leases_may_be_dropped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The warning of a lease that is collected unreleased is no failure here."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    yield
    LOST.clear()
    gc.collect()  # the traceback of a planted bug has leases


def test_one_round_finds_nothing() -> None:
    assert sum(failures.run(at_once, requests=REQUESTS)) > 0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (TriesAgainAtOnce, "two trials at a time"),
        (KeepsDropped, "in flight|two trials at a time"),
        (CoolsDownInSteps, "failed requests are lost"),
        (ShowsTheLastViews, r"until|in flight|requests are lost"),
        (NeverTriesAgain, "not on trial|no backend available"),
    ],
)
def test_a_planted_bug_is_detected(broken: type[Registry], message: str) -> None:
    rounds = iter(range(20))
    with pytest.raises((AssertionError, NoBackendAvailableError), match=message):
        list(failures.run(lambda: next(rounds, None) is None, make=broken, requests=REQUESTS))


def test_every_planted_bug_is_in_a_test() -> None:
    planted = {name for name, kind in vars(broken_storms).items() if is_planted(kind)}
    tested = {name for name, kind in globals().items() if is_planted(kind)}
    assert planted == tested


def is_planted(kind: object) -> bool:
    """Whether this is a registry of support.broken_storms."""
    is_registry = isinstance(kind, type) and issubclass(kind, Registry)
    return is_registry and kind.__module__ == broken_storms.__name__
