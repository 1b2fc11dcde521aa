"""`python -m benchmarks`: runs the suite, and shows and compares its results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import against, compare, plots, readme, report
from benchmarks.budget import BUDGETS
from benchmarks.results import ROOT, Result, load, save
from benchmarks.run import GOALS, SECTIONS, run
from registry.cli.replay.plot import check_path
from registry.cli.terminal import InputError


def parser() -> argparse.ArgumentParser:
    """The parser, with one subcommand for each task."""
    top = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Runs the benchmark suite, and shows and compares its results.",
    )
    commands = top.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run", help="measure, show the tables, write a result and its plots")
    one.add_argument("sections", nargs="*", choices=[[], *SECTIONS, GOALS], help="default: all")
    one.add_argument("--suite", choices=list(BUDGETS), default="quick")
    one.add_argument("--output", type=Path, help="default: results/TIME-INTERPRETER.json")
    one = commands.add_parser("show", help="print the tables of a result")
    one.add_argument("result", type=Path)
    one = commands.add_parser("plot", help="draw the plots of a result")
    one.add_argument("result", type=Path)
    one.add_argument("--folder", type=Path, help="default: the result's path without .json")
    one = commands.add_parser(
        "compare", help="print what changed between two results; exit status 1 on a regression"
    )
    one.add_argument("before", type=Path)
    one.add_argument("after", type=Path)
    one = commands.add_parser(
        "against",
        help="compare this build with another worktree's in one run; exit status 1 if it is slower",
    )
    one.add_argument("before", type=Path, help="the other worktree, built for this interpreter")
    one.add_argument("names", nargs="*", help="parts of names of operations; default: all")
    one = commands.add_parser(
        "side-by-side", help="compare two interpreters, such as one with the GIL and one without"
    )
    one.add_argument("first", type=Path)
    one.add_argument("second", type=Path)
    one = commands.add_parser(
        "readme", help="write the tables of the committed results into the Markdown files"
    )
    one.add_argument(
        "--check", action="store_true", help="only check that the files are up to date"
    )
    return top


def default_output(result: Result) -> Path:
    """A path that has the time before the interpreter, so a listing is in order of time."""
    interpreter = result.machine.interpreter.replace("CPython ", "python")
    return ROOT / "results" / f"{result.when[:19].replace(':', '')}-{interpreter}.json"


def measure(given: argparse.Namespace, console: Console) -> int:
    """Runs the suite. Checks first that it can write its output, because it takes minutes."""
    if given.output is not None:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        check_path(str(given.output))
    plots.check()
    result = run(given.suite, given.sections, console)
    path = given.output or default_output(result)
    save(result, path)
    report.show(result, console)
    console.print(
        *(f"wrote {file}" for file in (path, *plots.draw(result, path.with_suffix("")))), sep="\n"
    )
    return 0


def changed(given: argparse.Namespace, console: Console) -> int:
    """Prints what changed. The exit status is 1 on a regression."""
    before, after = load(given.before), load(given.after)
    if (before.machine.processor, before.machine.interpreter) != (
        after.machine.processor,
        after.machine.interpreter,
    ):
        console.print(
            f"different machines or interpreters: {before.machine} / {after.machine}",
            style="yellow",
        )
    changes = compare.compare(before, after)
    if not changes:
        raise ValueError("the two results have no row in common")
    report.print_whole(console, compare.table_of(changes))
    return int(any(change.verdict == "REGRESSION" for change in changes))


def measured_against(given: argparse.Namespace, console: Console) -> int:
    """Prints the quotients of both builds. The exit status is 1 if this one is slower."""
    changes = against.compare(given.before.resolve(), given.names)
    report.print_whole(console, against.table_of(changes))
    return int(any(change.is_slower for change in changes))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    given = parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        if given.command == "run":
            return measure(given, console)
        if given.command == "compare":
            return changed(given, console)
        if given.command == "against":
            return measured_against(given, console)
        if given.command == "readme":
            return readme.update(given.check)
        if given.command == "show":
            report.show(load(given.result), console)
        elif given.command == "plot":
            folder = given.folder or given.result.with_suffix("")
            console.print(*plots.draw(load(given.result), folder), sep="\n")
        else:
            report.print_whole(console, report.side_by_side(load(given.first), load(given.second)))
    except (OSError, ValueError, InputError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
