"""Runs every reliability check, one at a time: `make check-long MINUTES=N`.

Checks with a fixed cost run first. The timed checks share the rest of the N minutes; each does at
least one round. A table ends the output, and the exit status is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from long.table import Check, checks
from rich.console import Console
from rich.table import Table

GRACE = 900  # Seconds beyond its share after which a check counts as hung.
TAIL = 60  # Lines of a failed check's output to show.


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    check: Check
    work: int
    seconds: float
    failure: str  # Empty if the check passed.


def execute(check: Check, share: float, console: Console) -> Outcome:
    """Runs one check, and shows its last line of output as progress."""
    began = time.monotonic()
    last: deque[str] = deque(maxlen=TAIL)
    hung = threading.Event()
    with (
        console.status(check.name) as status,
        subprocess.Popen(
            check.command(round(share)),
            cwd=check.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process,
    ):

        def kill() -> None:
            hung.set()
            os.killpg(process.pid, signal.SIGKILL)

        watch = threading.Timer(share + GRACE, kill)
        watch.start()
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.rstrip("\n"))
            status.update(f"{check.name}: {last[-1]}")
        returned = process.wait()
        watch.cancel()
    work = next((int(line.split(":")[-1]) for line in reversed(last) if "work: " in line), 0)
    failure = (
        "hung"
        if hung.is_set()
        else f"exit status {returned}"
        if returned
        else ""
        if work
        else "no work done"
    )
    if failure:
        console.print(*last, sep="\n", markup=False, highlight=False)
    return Outcome(check, work, time.monotonic() - began, failure)


def share_of(check: Check, waiting: Sequence[Check], left: float) -> float:
    """The seconds for this check: its share of the time that is left for it and later checks."""
    return max(0.0, left) * check.weight / (sum(one.weight for one in waiting) or 1)


def report(outcomes: Sequence[Outcome]) -> Table:
    """A table with one row for each check."""
    table = Table(
        "check",
        "seconds",
        "work",
        "of goal",
        "result",
        caption="the goals are those of a long run: see tests/long",
    )
    for outcome in outcomes:
        check = outcome.check
        table.add_row(
            check.name,
            f"{outcome.seconds:.0f}",
            f"{outcome.work:,} {check.unit}",
            f"{outcome.work / check.goal:.0%}" if check.goal else "",
            outcome.failure or "ok",
        )
    return table


def main(arguments: Sequence[str]) -> int:
    """Runs all checks, or those that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m long", description=__doc__)
    parser.add_argument("minutes", type=float, help="the time for all checks together")
    parser.add_argument(
        "pythons",
        nargs="+",
        help="interpreters of environments with the package and its extra `test`",
    )
    parser.add_argument("--only", default="", help="run only checks whose name contains this")
    given = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    waiting = [check for check in checks(given.pythons) if given.only in check.name]
    end = time.monotonic() + 60 * given.minutes
    outcomes = []
    while waiting:
        check = waiting[0]
        outcome = execute(check, share_of(check, waiting, end - time.monotonic()), console)
        waiting.pop(0)
        outcomes.append(outcome)
        console.print(
            f"{check.name}: {outcome.work:,} {check.unit} in {outcome.seconds:.0f} s: "
            f"{outcome.failure or 'ok'}"
        )
    console.print(report(outcomes))
    return 1 if not outcomes or any(outcome.failure for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
