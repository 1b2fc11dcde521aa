"""The checks of a long run: one row for each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Check:
    """A command that ends with the line `work: N`."""

    name: str
    unit: str
    command: Callable[[int], list[str]]  # Takes the number of seconds to run.
    weight: float  # The share of the time for timed checks; 0 if the check has a fixed cost.
    goal: int = 0  # The work that a long run must reach.
    folder: Path = ROOT


# Modules of this package, and about how many seconds each takes to reach its goal.
MODULES = {
    "histories": 70,
    "equivalence": 120,
    "snapshots": 60,
    "watching": 60,
    "counters": 20,
    "storm": 10,
    "waits": 20,
    "places": 30,
    "incarnations": 20,
    "failures": 30,
    "swaps": 60,
    "replacements": 10,
    "limits": 15,
    "churn": 60,
    "brief_threads": 60,
    "forks": 30,
    "exits": 60,
    "subinterpreters": 30,
    "crafted_keys": 10,
    "hostile": 30,
    "deadlocks": 60,
    "fuzz": 60,
}


def in_c(
    name: str, target: str, weight: float, only: str = "", unit: str = "checks", goal: int = 0
) -> Check:
    """A target of the Makefile of the C tests."""

    def command(seconds: int) -> list[str]:
        return [
            "make",
            "--no-print-directory",
            "-C",
            "tests/c",
            f"ONLY={only}",
            f"SECONDS={seconds}",
            target,
        ]

    return Check(name, unit, command, weight, goal)


def in_python(name: str, python: str) -> Check:
    """A module of this package on one interpreter."""
    module = importlib.import_module(f"long.{name}")
    title = f"{name.replace('_', ' ')}, {environment(python)}"

    def command(seconds: int) -> list[str]:
        return [python, "-m", "long.one", name, str(seconds)]

    return Check(title, module.UNIT, command, MODULES[name], module.GOAL, ROOT / "tests")


def environment(python: str) -> str:
    """The name of the environment that the interpreter belongs to."""
    return Path(python).parents[1].name


def runs_on(name: str, python: str) -> bool:
    """Whether the check supports this interpreter."""
    only = getattr(importlib.import_module(f"long.{name}"), "PYTHONS", None)
    return only is None or environment(python) in only


def checks(pythons: Sequence[str]) -> Iterator[Check]:
    """All checks, those with a fixed cost first. The timed checks share the rest of the time."""
    sanitized = [sys.executable, "tests/sanitizers/check"]
    yield Check("protocols, model-checked", "states", lambda _: ["tests/spin/check"], 0)
    yield Check("planted bugs in the core", "plants", lambda _: ["tests/c/plant"], 0)
    yield Check("planted bugs for the sanitizers", "plants", lambda _: [*sanitized, "plants"], 0)
    yield Check("suite, address, leak, undefined", "tests", lambda _: [*sanitized, "address"], 0)
    yield Check(
        "extension, thread sanitizer",
        "tests",
        lambda s: [*sanitized, "thread", "--seconds", str(s)],
        60,
    )
    yield in_c("core", "run", 5)
    yield in_c("core, thread sanitizer", "run-tsan", 60)
    yield in_c("core, address, leak, undefined", "run-asan", 30)
    yield in_c("core, torture", "run-torture", 60)
    yield in_c("reclamation, torture", "run-torture", 40, "reclamation", "reads", 10**8)
    for name in MODULES:
        yield from (in_python(name, python) for python in pythons if runs_on(name, python))
