"""Writes the committed results into the Markdown files, between two marks in each of them.

README.md gets one plot and one table of at most ten rows, benchmarks/README.md gets everything.

make bench-reference   measures benchmarks/reference/*.json again, on both interpreters, then calls
                       this module
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from benchmarks import plots, report
from benchmarks.latency import CLOCK
from benchmarks.peers import OURS
from benchmarks.results import ROOT, Result, Row, load

REFERENCE = ROOT / "benchmarks" / "reference"
BEGIN, END = "<!-- from here on: python -m benchmarks readme -->", "<!-- to here -->"
LEGEND = (
    "Medians. Parentheses give our advantage as a ratio; **bold** marks a peer that is better. "
    "Single-call times include the cost of reading the clock."
)
WIDTH = 100  # of a line of text


@dataclass(frozen=True)
class Line:
    """One line of the overview: which rows of a result it shows, one for each side."""

    section: str
    operation: str
    parameters: dict[str, Any] = field(default_factory=dict)
    in_readme: bool = False  # also in README.md, which has room for ten


def cost(operation: str, backends: int, in_readme: bool = True) -> Line:
    """The time of one call in a fleet of this size."""
    return Line("cost", operation, {"backends": backends}, in_readme)


def throughput(operation: str, where: str, writes: int = 0, in_readme: bool = False) -> Line:
    """The operations per second of two threads."""
    parameters = {"threads": 2, "where": where, "writes": writes}
    return Line("throughput", operation, parameters, in_readme)


def latency(quantile: float, in_readme: bool = False) -> Line:
    """The time of one read while another thread writes."""
    return Line("latency", "get_backend", {"quantile": quantile, "writer": "busy"}, in_readme)


OVERVIEW = (
    cost("increment_pending", 1000),
    cost("get_backend", 1000),
    cost("get_backends_for_model", 1000),
    cost("acquire and release", 1000),
    cost("select", 1000),
    cost("update_status", 1000),
    cost("set_mdns_instance", 1000, in_readme=False),
    cost("add_backend and remove_backend", 10),
    cost("add_backend and remove_backend", 1000, in_readme=False),
    cost("add_backend and remove_backend", 100_000, in_readme=False),
    throughput("increment_pending", "distinct", in_readme=True),
    throughput("increment_pending", "same"),
    throughput("get_backend", "same"),
    throughput("get_backend", "same", writes=10),
    throughput("increment_pending", "same", writes=10),
    latency(0.5),
    latency(0.999, in_readme=True),
    Line("memory", "bytes per backend", {"models": "equal Models of its own"}, in_readme=True),
)
PLACES = {"distinct": "a backend each", "same": "one backend"}


def update(check: bool) -> int:
    """Writes the files; with `check` only compares them. Returns the exit status."""
    free, locked = load(REFERENCE / "free-threaded.json"), load(REFERENCE / "gil.json")
    texts = {
        ROOT / "README.md": summary(free),
        ROOT / "benchmarks" / "README.md": everything(free, locked),
    }
    stale = []
    for path, text in texts.items():
        old = path.read_text()
        new = between_marks(old, text)
        if new != old:
            stale.append(path)
        if not check:
            path.write_text(new)
    if not check:
        plots.draw(free, REFERENCE)
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)}: run python -m benchmarks readme", file=sys.stderr)
    return int(bool(stale))


def between_marks(old: str, text: str) -> str:
    """The file with `text` between its marks. Raises ValueError if a mark is missing."""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def summary(result: Result) -> str:
    """README.md's part: one plot, and the lines of the overview that are marked for it."""
    lines = [line for line in OVERVIEW if line.in_readme]
    plot = "![Throughput over threads](benchmarks/reference/throughput.svg)"
    return f"{plot}\n\n{legend(result)}\n\n{overview(result, lines)}"


def legend(result: Result) -> str:
    """The machine that an overview was measured on, and how to read the numbers."""
    machine = result.machine
    gil = "on" if machine.gil else "off"
    source = (
        f"Measured on {machine.processor}, {machine.cores} cores, with {machine.interpreter}, "
        f"GIL {gil}, and {machine.compiler}, at commit {machine.commit}."
    )
    return textwrap.fill(f"{source} {LEGEND}", WIDTH)


def overview(result: Result, lines: Sequence[Line]) -> str:
    """A table with a column for each side."""
    groups = [result.find(line.section, line.operation, **line.parameters) for line in lines]
    rows = [row for group in groups for row in group]
    sides = [side for side in report.sides_of(rows) if side != CLOCK]
    table = [markdown_line(["", *sides]), markdown_line(["---", *("---:" for _ in sides)])]
    for line, group in zip(lines, groups, strict=True):
        by_side = {row.side: row for row in group}
        heading = title(line.section, line.operation, next(iter(by_side.values())))
        table.append(markdown_line([heading, *cells(by_side, sides)]))
    return "\n".join(table)


def title(section: str, operation: str, row: Row) -> str:
    """The heading of a line."""
    given = row.parameters
    if section == "throughput":
        mix = f", {given['writes']} % writes" if given["writes"] else ""
        return f"`{operation}`, {given['threads']} threads, {PLACES[str(given['where'])]}{mix}"
    if section == "latency":
        quantile = report.SHOWN_QUANTILES[float(given["quantile"])]
        return f"`{operation}` while another thread writes, {quantile}"
    if section == "memory":
        return f"{operation}, {given['backends']:,} with ten models each"
    names = " and ".join(f"`{name}`" for name in operation.split(" and "))
    return f"{names}, {given['backends']:,} backends"


def cells(group: dict[str, Row], sides: Sequence[str]) -> list[str]:
    """The median of each side, and for a peer our advantage as a ratio."""
    ours = group[OURS.name]
    texts = []
    for side in sides:
        if side not in group:
            texts.append("")
            continue
        row = group[side]
        text = report.human(row.figure.median, row.unit)
        if row is not ours:
            ratio = report.advantage(ours, row).median
            text = f"{text} ({report.times(ratio)})"
            text = f"**{text}**" if ratio < 1 else text
        texts.append(text)
    return texts


def markdown_line(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def markdown(table: Table) -> str:
    """A table of the terminal, as Markdown."""
    columns = [list(column.cells) for column in table.columns]
    lines = [
        [str(column.header) for column in table.columns],
        ["---"] * len(columns),
        *map(list, zip(*columns, strict=True)),
    ]
    heading = f"### {table.title}\n\n" if table.title else ""
    return heading + "\n".join(markdown_line([str(cell) for cell in line]) for line in lines)


def everything(free: Result, locked: Result) -> str:
    """benchmarks/README.md's part: every plot, and every table of both interpreters."""
    parts = [
        f"### Overview\n\n{legend(free)}\n\n{overview(free, OVERVIEW)}",
        "![Throughput over threads](reference/throughput.svg)",
        "![Cost over fleet size](reference/cost.svg)",
        "![Read latency under writes](reference/latency.svg)",
        markdown(report.side_by_side(locked, free)),
    ]
    for result in (free, locked):
        peers = "; ".join(f"{peer}: {what}" for peer, what in result.peers.items())
        source = textwrap.fill(f"{result.machine}. {peers}.", WIDTH)
        parts.append(f"## {result.machine.interpreter}\n\n{source}")
        parts += [markdown(table) for table in report.tables(result)]
    return "\n\n".join(parts)
