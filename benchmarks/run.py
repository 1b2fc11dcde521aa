"""One run of the suite."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import bulk, cost, goals, growth, latency, memory, throughput, watching
from benchmarks.budget import BUDGETS, Budget, Step
from benchmarks.measure import interleaved, nanoseconds
from benchmarks.operations import loop
from benchmarks.peers import PEERS, dashmap_native
from benchmarks.results import Goal, Result, Row, machine, now

SECTIONS: dict[str, ModuleType] = {
    module.SECTION: module for module in (cost, throughput, latency, growth, memory, bulk, watching)
}
GOALS = "goals"


def run(
    suite: str, sections: Sequence[str], console: Console, budget: Budget | None = None
) -> Result:
    """Measures all sections, or the named ones, and shows a progress bar."""
    budget = budget or BUDGETS[suite]
    wanted = sections or [*SECTIONS, GOALS]
    steps = [Step("the builtin hash", lambda: reference(budget))]
    steps += [
        step for name, module in SECTIONS.items() if name in wanted for step in module.steps(budget)
    ]
    groups = list(goals.groups()) if GOALS in wanted else []
    rows: list[Row] = []
    measured: list[Goal] = []
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(steps) + len(groups))
        for step in steps:
            progress.update(task, description=step.name)
            rows += step.run()
            progress.advance(task)
        for group in groups:
            progress.update(task, description=f"goals: {group.name}")
            measured += group.measure(budget)
            progress.advance(task)
    return Result(now(), suite, machine(), versions(), rows, measured)


def reference(budget: Budget) -> list[Row]:
    """Measures the builtin hash, which shows how fast the interpreter and the machine are."""
    count = round(budget.seconds * 1e8)
    empty, hashed = (
        nanoseconds(loop(statement, {"id": "backend-5"}), count)
        for statement in ("pass", cost.REFERENCE)
    )
    nothing, measured = interleaved(budget.rounds, empty, hashed)
    net = [value - overhead for value, overhead in zip(measured, nothing, strict=True)]
    return [Row(cost.SECTION, cost.REFERENCE, "builtin", "ns", net)]


def versions() -> dict[str, str]:
    """The version of each peer, or why it is missing."""
    native = dashmap_native.missing() or "in this tree, with DashMap 6"
    found = {peer.name: peer.missing() or peer.release() or "in this tree" for peer in PEERS}
    return found | {dashmap_native.NAME: native}
