"""Compares this build with the build of another worktree, in one run.

Each build runs in a process of its own, with the interpreter and the benchmarks of this tree; only
`registry` comes from the other one. The processes take turns. They are started anew several times,
because the layout of memory, and with it the time of a call, differs from process to process. Of
many short rounds the best ones are compared, so the work of other programs does not count.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rich.table import Table

import registry
from benchmarks.fleet import filled
from benchmarks.measure import Figure, calibrated, figure, interleaved, taken_by
from benchmarks.operations import OPERATIONS, loop
from benchmarks.report import human
from benchmarks.results import ROOT

TOLERATED = 1.03  # the slowdown that the project accepts as noise
SIZES = (10, 1000)
IDLE, BUSY = "idle", "busy"
SECONDS = 0.002  # of a round: a program that is interrupted loses only some rounds
ROUNDS = 50
PROCESSES = 3
SERVE = (
    "import registry, sys; sys.path.insert(0, {root!r}); from benchmarks import against; "
    "against.serve({seconds})"
)


@dataclass(frozen=True)
class Case:
    """An operation in a fleet of this size, which is idle or has a request on every backend."""

    operation: str
    size: int
    state: str = IDLE


@dataclass(frozen=True)
class Change:
    """The best times of both builds in nanoseconds, for each pair of processes."""

    case: Case
    pairs: list[tuple[float, float]]

    @property
    def before(self) -> float:
        """The best time of the other build."""
        return min(old for old, _ in self.pairs)

    @property
    def after(self) -> float:
        """The best time of this build."""
        return min(new for _, new in self.pairs)

    @property
    def slowdown(self) -> float:
        """After divided by before; above 1 this build is slower."""
        return self.after / self.before

    @property
    def by_process(self) -> Figure:
        """The quotients of the pairs of processes."""
        return figure([new / old for old, new in self.pairs])

    @property
    def is_slower(self) -> bool:
        """Whether this build has become slower than the project accepts."""
        return self.slowdown > TOLERATED


def cases(names: Sequence[str]) -> Iterator[Case]:
    """The operations whose names contain one of `names`, or all. Choices are also made while the
    fleet is busy."""
    for operation in OPERATIONS:
        if not names or any(name in operation.name for name in names):
            for size in SIZES:
                yield Case(operation.name, size)
                if operation.name.startswith("acquire"):
                    yield Case(operation.name, size, BUSY)


class Build:
    """A process that measures the registry of one worktree."""

    def __init__(self, root: Path, seconds: float | None = None) -> None:
        code = SERVE.format(root=str(ROOT), seconds=seconds or SECONDS)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if not Path(self.answer()).is_relative_to(root):
            self.close()
            raise ValueError(f"{root} has no package `registry`")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def ask(self, request: object) -> Any:
        """Sends one request and returns the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(request)}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        """The next answer. Raises ValueError if the process has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise ValueError("a build cannot be measured: its error is above")
        return json.loads(line)


def serve(seconds: float) -> None:
    """The loop of a `Build`'s process.

    A case is answered with a number of calls, or None if this build lacks the operation; a number
    of calls with nanoseconds per call.
    """
    run: Callable[[int], None] | None = None
    print(json.dumps(registry.__file__), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, int):
            assert run is not None
            answer: float | None = taken_by(run, request) / request * 1e9
        else:
            run = prepared(Case(*request))
            answer = None if run is None else calibrated(run, seconds)
        print(json.dumps(answer), flush=True)


def prepared(case: Case) -> Callable[[int], None] | None:
    """The loop of a case, in a fleet of its own."""
    for operation in OPERATIONS:
        if operation.name == case.operation:
            made, ids = filled(case.size)
            if case.state == BUSY:
                made.increment_pending_many(ids)
            return loop(operation.statement, operation.names(made, ids))
    return None


def measure(case: Case, before: Build, after: Build, rounds: int) -> tuple[float, float] | None:
    """The best time of each build; None if one of them lacks the operation."""
    request = [case.operation, case.size, case.state]
    counts = [build.ask(request) for build in (before, after)]
    if None in counts:
        return None
    count = min(counts)
    old, new = interleaved(rounds, lambda: before.ask(count), lambda: after.ask(count))
    return min(old), min(new)


def compare(before: Path, names: Sequence[str]) -> list[Change]:
    """Measures the cases that both builds have."""
    best: dict[Case, list[tuple[float, float]]] = {}
    for _ in range(PROCESSES):
        with Build(before) as old, Build(ROOT) as new:
            for case in cases(names):
                if pair := measure(case, old, new, ROUNDS):
                    best.setdefault(case, []).append(pair)
    if not best:
        raise ValueError(f"no operation of both builds has such a name: {' '.join(names)}")
    return [Change(case, pairs) for case, pairs in best.items()]


def table_of(changes: Sequence[Change]) -> Table:
    """A table of all cases."""
    titles = ("before", "after", "after / before", "by process")
    table = Table("operation", "backends", "", *titles, "")
    for change in changes:
        table.add_row(
            change.case.operation,
            f"{change.case.size:,}",
            change.case.state,
            human(change.before, "ns"),
            human(change.after, "ns"),
            f"{change.slowdown:.3f}",
            str(change.by_process),
            "SLOWER" if change.is_slower else "",
        )
    return table
