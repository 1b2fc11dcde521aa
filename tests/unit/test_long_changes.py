"""A fleet changes while threads use it: a short round of each long check, and planted bugs."""

from __future__ import annotations

from types import ModuleType

import pytest
from long import equivalence, histories, hostile, limits, replacements, swaps
from support import broken_changes
from support.broken_changes import (
    ChecksSerialsFirst,
    HealthEndsDrains,
    KeepsOldCaps,
    LosesThePlace,
    ReconcilesBeforeItChecks,
    ReconcilesInSteps,
    RenewsTheUnchanged,
    UpdatesByRemoving,
    UpdatesEndDrains,
)
from support.rounds import at_once

from registry import Registry

LOOKS = 100


@pytest.mark.parametrize(
    "check", [swaps, replacements, limits], ids=lambda check: check.__name__.partition(".")[2]
)
def test_concurrent_use_sees_one_fleet_at_a_time(check: ModuleType) -> None:
    assert sum(check.run(at_once, looks=LOOKS)) > 0


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        (swaps, ReconcilesInSteps, "mixture"),
        (replacements, UpdatesByRemoving, "x is missing"),
        (replacements, LosesThePlace, "x is missing"),
        (replacements, ChecksSerialsFirst, "marked by a probe of another server"),
        (replacements, HealthEndsDrains, "no longer drained|chosen although drained"),
        (replacements, UpdatesEndDrains, "no longer drained|chosen although drained"),
        (limits, UpdatesByRemoving, "more in flight than any cap"),
    ],
)
def test_a_planted_bug_is_detected_concurrently(
    check: ModuleType, broken: type[Registry], message: str
) -> None:
    rounds = iter(range(20))
    with pytest.raises(AssertionError, match=message):
        list(check.run(lambda: next(rounds, None) is None, make=broken, looks=LOOKS))


@pytest.mark.parametrize(
    "broken",
    [
        KeepsOldCaps,
        LosesThePlace,
        RenewsTheUnchanged,
        UpdatesByRemoving,
        UpdatesEndDrains,
        HealthEndsDrains,
    ],
)
def test_the_oracle_detects_a_planted_bug(broken: type[Registry]) -> None:
    """The seeds are fixed, as in test_stateful.py."""
    rounds = iter(range(11))
    with pytest.raises(AssertionError):
        list(
            equivalence.run(
                lambda: next(rounds, None) is None,
                make=broken,
                phases=[equivalence.PHASES[0]],
                first=0,
            )
        )


@pytest.mark.parametrize("broken", [ReconcilesInSteps, UpdatesByRemoving])
def test_histories_of_a_planted_bug_have_no_order(broken: type[Registry]) -> None:
    with pytest.raises(AssertionError, match="thread 0"):
        list(histories.run(at_once, make=broken, histories=5000))


def test_a_list_that_is_checked_too_late_is_detected() -> None:
    with pytest.raises(AssertionError, match="reconcile.* something has changed"):
        list(hostile.run(at_once, make=ReconcilesBeforeItChecks, length=5000))


def test_every_planted_bug_is_in_a_test() -> None:
    planted = {name for name, kind in vars(broken_changes).items() if is_planted(kind)}
    tested = {name for name, kind in globals().items() if is_planted(kind)}
    assert planted == tested


def is_planted(kind: object) -> bool:
    """Whether this is a class of support.broken_changes."""
    return getattr(kind, "__module__", "") == broken_changes.__name__
