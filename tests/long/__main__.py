"""Every check of reliability, for a set time, one at a time: what `make check-long MINUTES=N` runs.

Timed checks share what is left of N minutes once those with a set cost are done; each does one round at least. Ends with one table, and
with exit status 1 if a check failed.
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

GRACE = 900  # seconds that a check may take beyond its share before it is taken for hung
TAIL = 60  # lines of a failed check that are shown


@dataclass(frozen=True)
class Outcome:
    """How a check ended."""

    check: Check
    work: int
    seconds: float
    failure: str  # empty: none


def execute(check: Check, share: float, console: Console) -> Outcome:
    """Runs one check, with its last line as progress."""
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
    """Seconds for this check, of those that are left for it and all that wait."""
    return max(0.0, left) * check.weight / (sum(one.weight for one in waiting) or 1)


def report(outcomes: Sequence[Outcome]) -> Table:
    """One row for each check."""
    table = Table(
        "check",
        "seconds",
        "work",
        "of goal",
        "result",
        caption="the goal is a long run's: see tests/long",
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
    """Runs all checks, or those named."""
    parser = argparse.ArgumentParser(prog="python -m long", description=__doc__)
    parser.add_argument("minutes", type=float, help="for all together")
    parser.add_argument(
        "pythons",
        nargs="+",
        help="interpreters of environments that have the package and its extra `test`",
    )
    parser.add_argument("--only", default="", help="those whose name contains this")
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
            f"{check.name}: {outcome.work:,} {check.unit} in {outcome.seconds:.0f} s: {outcome.failure or 'ok'}"
        )
    console.print(report(outcomes))
    return 1 if not outcomes or any(outcome.failure for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
