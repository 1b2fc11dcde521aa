"""The tables of a result. `benchmarks.readme` turns them into Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.cost import REFERENCE
from benchmarks.measure import Figure, ratios
from benchmarks.peers import OURS
from benchmarks.results import PER_SECOND, Result, Row

VERDICTS = {True: "met", False: "NOT MET", None: ""}
SCALES = {
    "ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")),
    "bytes": ((1e6, "MB"), (1e3, "kB"), (1, "B")),
    PER_SECOND: ((1e6, "M/s"), (1e3, "k/s"), (1, "/s")),
}
WIDE = 1000  # a width in characters that every table fits into
SHOWN_QUANTILES = {0.5: "p50", 0.99: "p99", 0.999: "p99.9", 1.0: "max"}


def human(value: float, unit: str) -> str:
    """The value in three digits, with a suitable unit."""
    scale, name = next((pair for pair in SCALES[unit] if abs(value) >= pair[0]), SCALES[unit][-1])
    scaled = value / scale
    digits = 0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
    return f"{scaled:,.{digits}f} {name}"


def spread(row: Row) -> str:
    """The median and the range of a row."""
    figure = row.figure
    middle, low, high = (human(each, row.unit) for each in (figure.median, figure.low, figure.high))
    return f"{middle} ({low} to {high})"


def advantage(ours: Row, theirs: Row) -> Figure:
    """Our advantage as a ratio, round by round; above 1 ours is faster, or smaller."""
    pair = (ours.values, theirs.values) if ours.unit == PER_SECOND else (theirs.values, ours.values)
    return ratios(*pair)


def sides_of(rows: Iterable[Row]) -> list[str]:
    """The names of the sides: ours first, then the others in order of appearance."""
    return sorted(dict.fromkeys(row.side for row in rows), key=lambda side: side != OURS.name)


def comparison(rows: Sequence[Row], title: str, first: Sequence[str]) -> Table:
    """A table with a line for each operation and its parameters, and a column for each side.

    A cell has the median and, for the other designs, our advantage as a ratio.
    """
    sides = sides_of(rows)
    table = Table(title=title, title_justify="left")
    for name in first:
        table.add_column(name)
    for side in sides:
        table.add_column(side, justify="right")
    groups: dict[tuple[object, ...], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row.operation, *row.parameters.values()), {})[row.side] = row
    for key, group in groups.items():
        table.add_row(*(label(part) for part in key), *(cell(group, side) for side in sides))
    return table


def label(part: object) -> str:
    """A parameter as text."""
    return f"{part:,}" if isinstance(part, int) else str(part)


def cell(group: dict[str, Row], side: str) -> str:
    """The cell of a side, given the rows of all sides."""
    row, ours = group.get(side), group.get(OURS.name)
    if row is None:
        return ""
    if ours is None or row is ours:
        return human(row.figure.median, row.unit)
    return f"{human(row.figure.median, row.unit)}  {times(advantage(ours, row).median)}"


def times(ratio: float) -> str:
    """A ratio in at least two digits."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def quantile_table(rows: Sequence[Row]) -> Table:
    """The table of latencies."""
    table = Table(
        "read", "writer", "side", *SHOWN_QUANTILES.values(), title="Latency", title_justify="left"
    )
    cells: dict[tuple[str, int | float | str, str], dict[object, str]] = {}
    for row in rows:
        key = row.operation, row.parameters["writer"], row.side
        cells.setdefault(key, {})[row.parameters["quantile"]] = human(row.figure.median, row.unit)
    for key, by_quantile in cells.items():
        table.add_row(*map(str, key), *(by_quantile[quantile] for quantile in SHOWN_QUANTILES))
    return table


def goal_table(result: Result) -> Table:
    """The table of goals."""
    table = Table("what", "goal", "measured", "", title="Goals", title_justify="left")
    for goal in result.goals:
        table.add_row(goal.what, goal.goal, str(goal.measured), VERDICTS[goal.met])
    return table


TITLES = {
    "cost": ("Cost of an operation, one thread", ("operation", "backends")),
    "throughput": ("Throughput of all threads", ("operation", "threads", "backend", "% writes")),
    "growth": ("Removing and adding as the fleet grows", ("operation", "backends")),
    "memory": ("Memory", ("", "backends", "models")),
    "bulk": ("Single and bulk counts", ("operation", "batch", "threads")),
    "watches": ("Watches", ("operation", "watches")),
}


def tables(result: Result) -> Iterator[Table]:
    """The tables of all sections. A number with an x is our advantage over the value before it."""
    for section, (title, first) in TITLES.items():
        if rows := [row for row in result.find(section) if row.operation != REFERENCE]:
            yield comparison(rows, title, first)
    if rows := result.find("latency"):
        yield quantile_table(rows)
    if result.goals:
        yield goal_table(result)


def show(result: Result, console: Console) -> None:
    """Prints the machine, the peers and all tables."""
    console.print(str(result.machine), highlight=False)
    for peer, what in result.peers.items():
        console.print(f"{peer}: {what}", highlight=False)
    for row in result.find("cost", REFERENCE):
        console.print(f"{REFERENCE}: {spread(row)}", highlight=False)
    print_whole(console, *tables(result))


def print_whole(console: Console, *tables: Table) -> None:
    """Prints the tables with all their numbers.

    Names are folded. If the terminal is too narrow for the numbers, lines are longer than its
    width.
    """
    for table in tables:
        for column in table.columns:
            column.overflow = "fold"
        least = console.measure(table, options=console.options.update_width(WIDE)).minimum
        if least > console.width:
            table.width = least
        console.print(table, crop=False)


def side_by_side(one: Result, other: Result) -> Table:
    """Our registry on two interpreters: costs with 1,000 backends, throughput and bulk counts.

    A ratio above 1x means that the second interpreter is better.
    """
    names = (one.machine.interpreter, other.machine.interpreter)
    table = Table(
        "operation", "", *names, "second / first", title="Side by side", title_justify="left"
    )
    others = {row.key: row for row in other.rows}
    for row in one.rows:
        is_shown = row.section in ("throughput", "bulk") or row.parameters.get("backends") == 1000
        if (
            row.side != OURS.name
            or row.key not in others
            or not is_shown
            or row.section in ("latency", "memory")
        ):
            continue
        where = ", ".join(f"{name} {label(value)}" for name, value in row.parameters.items())
        second = others[row.key]
        ratio = row.figure.median / second.figure.median
        better = 1 / ratio if row.unit == PER_SECOND else ratio
        cells = (human(each.figure.median, each.unit) for each in (row, second))
        table.add_row(row.operation, where, *cells, times(better))
    return table
