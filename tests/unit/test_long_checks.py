"""One quick round of checks of `long`, and planted bugs that each check must detect."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from long import brief_threads, churn, counters, incarnations, snapshots, storm, watching
from support.broken import (
    LOST,
    IdsThenViews,
    KeepsRemoved,
    KeepsThreads,
    LateSnapshot,
    MissesCancellation,
    MissesChanges,
    ReleasesById,
    RepeatsChanges,
    TriesTwice,
    TwoWrites,
)
from support.mirror import DIFFERS
from support.rounds import at_once

from registry import Registry

CHECKS = (brief_threads, churn, counters, incarnations, snapshots, storm, watching)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_one_round_finds_nothing(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    assert sum(check.run(at_once)) > 0


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        (
            snapshots,
            IdsThenViews,
            "neither a nor b is healthy|no backend serves m|lacks the model|that is not healthy",
        ),
        (snapshots, TwoWrites, "torn"),
        (counters, TriesTwice, "in flight"),
        (storm, MissesCancellation, "still in flight"),
        (incarnations, ReleasesById, "a new registration was touched"),
        (watching, LateSnapshot, f"is not|{DIFFERS}|{watching.LATE}"),
        (watching, MissesChanges, f"is not|{DIFFERS}"),
        (watching, RepeatsChanges, f"is not|{watching.LATE}"),
        (churn, KeepsRemoved, "bytes leaked for each"),
        (brief_threads, KeepsThreads, "bytes leaked for each"),
    ],
)
def test_a_planted_bug_is_detected(
    check: ModuleType, broken: type[Registry], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    # One round usually suffices: each tries a planted race thousands of times.
    rounds = iter(range(20))
    with pytest.raises(AssertionError, match=message):
        list(check.run(lambda: next(rounds, None) is None, make=broken))
    # Drop the unreleased leases here, where their warnings do not matter.
    LOST.clear()
