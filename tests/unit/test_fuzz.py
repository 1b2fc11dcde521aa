"""Replays the inputs that the fuzzer kept, and checks that they detect planted bugs.

`long.fuzz` does the search itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import broken
from support.fuzz import CORPUS, RULES, TARGETS, calls, documents, fleets, steps

from registry import _json
from registry.fleet import file

KEPT = {target: sorted((CORPUS / target).iterdir()) for target in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs_break_no_promise(target: str) -> None:
    assert len(KEPT[target]) > 20
    for path in KEPT[target]:
        TARGETS[target](path.read_bytes())


def test_kept_inputs_use_every_call() -> None:
    assert len({name for path in KEPT["calls"] for name, _ in steps(path.read_bytes())}) == len(
        RULES
    )


def test_a_wrong_average_is_detected() -> None:
    with pytest.raises(AssertionError):
        replay(lambda data: calls(data, broken.WrongAverage), KEPT["calls"])


def test_an_error_without_a_place_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json, "decode", _json.decode)
    broken.names_no_place()
    with pytest.raises(AssertionError, match="names no place"):
        replay(documents, KEPT["documents"])


def test_a_crash_on_unknown_keys_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_warn_in_table", file._warn_in_table)
    broken.breaks_on_unknown_keys()
    with pytest.raises(KeyError):
        replay(fleets, KEPT["fleets"])


def replay(target: Callable[[bytes], None], paths: list[Path]) -> None:
    """Runs the target on each input."""
    for path in paths:
        target(path.read_bytes())
