"""What the Markdown files say of the committed results: everything between their two marks is written here.

make bench-reference   measures benchmarks/reference/*.json anew, on both interpreters, and calls this
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks import plots, report
from benchmarks.latency import CLOCK
from benchmarks.peers import OURS
from benchmarks.results import ROOT, Result, Row, load

REFERENCE = ROOT / "benchmarks" / "reference"
BEGIN, END = "<!-- from here on: python -m benchmarks readme -->", "<!-- to here -->"
SUMMARY: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *(
        ("cost", name, {"backends": 1000})
        for name in ("increment_pending", "get_backend", "get_backends_for_model")
    ),
    *(
        ("cost", name, {"backends": 1000})
        for name in ("acquire and release", "select", "update_status")
    ),
    ("cost", "set_mdns_instance", {"backends": 1000}),
    *(
        ("cost", "add_backend and remove_backend", {"backends": size})
        for size in (10, 1000, 100_000)
    ),
    *(
        ("throughput", "increment_pending", {"threads": 2, "where": place, "writes": 0})
        for place in ("distinct", "same")
    ),
    *(
        ("throughput", "get_backend", {"threads": 2, "where": "same", "writes": writes})
        for writes in (0, 10)
    ),
    ("throughput", "increment_pending", {"threads": 2, "where": "same", "writes": 10}),
    *(
        ("latency", "get_backend", {"quantile": quantile, "writer": "busy"})
        for quantile in (0.5, 0.999)
    ),
    ("memory", "bytes per backend", {"models": "equal Models of its own"}),
)
PLACES = {"distinct": "a backend each", "same": "one backend"}


def update(check: bool) -> int:
    """Writes the files, or says whether they would change: the exit status."""
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
    print(
        *(f"{path.relative_to(ROOT)}: run python -m benchmarks readme" for path in stale),
        sep="\n",
        file=sys.stderr,
    )
    return int(bool(stale))


def between_marks(old: str, text: str) -> str:
    """The file with other text between its marks; ValueError where it has none."""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def summary(result: Result) -> str:
    """For people who come by: two pictures and a table."""
    rows = [
        row
        for section, operation, given in SUMMARY
        for row in result.find(section, operation, **given)
    ]
    sides = [side for side in report.sides_of(rows) if side != CLOCK]
    lines = [
        "![Throughput over threads](benchmarks/reference/throughput.svg)",
        "![Cost over fleet size](benchmarks/reference/cost.svg)",
        "",
        f"{result.machine}; medians. In brackets: how many times as good ours is; **bold** where a peer is better. "
        "Times of single calls have the clock's own in them. Made by `make bench-reference`.",
        "",
        markdown_line(["", *sides]),
        markdown_line(["---", *("---:" for _ in sides)]),
    ]
    for section, operation, given in SUMMARY:
        group = {row.side: row for row in result.find(section, operation, **given)}
        lines.append(
            markdown_line(
                [title(section, operation, next(iter(group.values()))), *cells(group, sides)]
            )
        )
    return "\n".join(lines)


def title(section: str, operation: str, row: Row) -> str:
    """What a line of the table is about."""
    given = row.parameters
    if section == "throughput":
        mix = f", {given['writes']} % writes" if given["writes"] else ""
        return f"`{operation}`, {given['threads']} threads, {PLACES[str(given['where'])]}{mix}"
    if section == "latency":
        return f"`{operation}` while another thread writes, {report.SHOWN_QUANTILES[float(given['quantile'])]}"
    if section == "memory":
        return f"{operation}, {given['backends']:,} with ten models each"
    return f"{' and '.join(f'`{name}`' for name in operation.split(' and '))}, {given['backends']:,} backends"


def cells(group: dict[str, Row], sides: Sequence[str]) -> list[str]:
    """A median for each side, with ours' advantage over it."""
    ours = group[OURS.name]
    told = []
    for side in sides:
        if side not in group:
            told.append("")
            continue
        row = group[side]
        text = report.human(row.figure.median, row.unit)
        if row is not ours:
            ratio = report.advantage(ours, row).median
            text = f"{text} ({report.times(ratio)})"
            text = f"**{text}**" if ratio < 1 else text
        told.append(text)
    return told


def markdown_line(cells: Sequence[str]) -> str:
    """Of a table."""
    return f"| {' | '.join(cells)} |"


def markdown(table: Table) -> str:
    """A table of the terminal's as Markdown."""
    columns = [list(column.cells) for column in table.columns]
    lines = [
        [str(column.header) for column in table.columns],
        ["---"] * len(columns),
        *map(list, zip(*columns, strict=True)),
    ]
    heading = f"### {table.title}\n\n" if table.title else ""
    return heading + "\n".join(markdown_line([str(cell) for cell in line]) for line in lines)


def everything(free: Result, locked: Result) -> str:
    """For people who want the rest: every table of both interpreters."""
    parts = [
        f"![Read latency under writes](reference/latency.svg)\n\n{markdown(report.side_by_side(locked, free))}"
    ]
    for result in (free, locked):
        peers = "; ".join(f"{peer}: {what}" for peer, what in result.peers.items())
        parts.append(f"## {result.machine.interpreter}\n\n{result.machine}. {peers}.")
        parts += [markdown(table) for table in report.tables(result)]
    return "\n\n".join(parts)
