"""Tables that never truncate a number. Where space is short, they shorten names and fold texts. In
a narrow terminal, they print one line per column for each row, like psql's expanded display.

Functions import `rich` themselves: it comes with the extra `cli`, and `--json` works without it.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Texts = Sequence[str]
Rows = Sequence[Texts]

GAP = 2  # character cells that rich adds to each column
ELLIPSIS = "…"


class Kind(Enum):
    """How a column becomes narrower when the table is too wide."""

    NAME = 1  # is shortened
    TEXT = 2  # is folded
    NUMBER = 3  # keeps its width


# The smallest width at which a name or a text is still readable.
LEAST = {Kind.NAME: 10, Kind.TEXT: 20}


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and the kind of its cells."""

    heading: str
    kind: Kind


Columns = Sequence[Column]


def print_table(
    console: Console,
    title: str,
    columns: Columns,
    rows: Rows,
    caption: str | None = None,
) -> None:
    """Prints a table that is at most as wide as the console."""
    width = console.width
    widths = _fit(columns, rows, width - GAP * len(columns))
    table = _grid(columns, rows, widths) if widths else _records(columns, rows, width)
    table.title, table.title_justify = title, "left"
    table.caption, table.caption_justify = caption, "left"
    console.print(table)


def left_out(rows: int, limit: int, what: str) -> str:
    """The line below a table that shows only its first `limit` rows."""
    return f"... and {rows - limit:,} more {what} (--json shows all)"


def _grid(columns: Columns, rows: Rows, widths: Sequence[int]) -> Table:
    table = _new_table()
    for column, width in zip(columns, widths, strict=True):
        heading = _wrapped(column.heading, width)
        if column.kind is Kind.NUMBER:
            table.add_column(heading, width=width, justify="right", no_wrap=True)
        else:
            table.add_column(heading, width=width, overflow="fold")
    for row in zip(*_shortened_cells(columns, rows, widths), strict=True):
        table.add_row(*row)
    return table


def _records(columns: Columns, rows: Rows, width: int) -> Table:
    headings = [" ".join(column.heading.split()) for column in columns]
    longest = max(map(len, headings))
    value_width = max(LEAST[Kind.TEXT], width - longest - GAP * 2)
    table = _new_table()
    table.show_header = False
    table.add_column(width=longest)
    table.add_column(width=value_width, overflow="fold")
    cells = _shortened_cells(columns, rows, [value_width] * len(columns))
    for number, row in enumerate(zip(*cells, strict=True)):
        if number:
            table.add_row()
        for heading, cell in zip(headings, row, strict=True):
            table.add_row(heading, cell)
    return table


def _new_table() -> Table:
    """An empty table without vertical lines, which would take space from the cells."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _fit(columns: Columns, rows: Rows, space: int) -> list[int] | None:
    """A width for each column, or None if a name or a text would be too narrow to read."""
    cells = _by_column(columns, rows)
    wanted = [_width([column.heading, *mine]) for column, mine in zip(columns, cells, strict=True)]
    if sum(wanted) <= space:
        return wanted
    widths = [
        _width([*column.heading.split(), *mine]) if column.kind is Kind.NUMBER else 0
        for column, mine in zip(columns, cells, strict=True)
    ]
    space -= sum(widths)
    # The narrowest column first: the others share the space that it does not need.
    words = sorted((i for i, width in enumerate(widths) if not width), key=wanted.__getitem__)
    for taken, i in enumerate(words):
        widths[i] = min(wanted[i], space // (len(words) - taken))
        space -= widths[i]
    readable = (widths[i] >= min(wanted[i], LEAST[columns[i].kind]) for i in words)
    return widths if all(readable) else None


def _by_column(columns: Columns, rows: Rows) -> list[list[str]]:
    return [[row[index] for row in rows] for index in range(len(columns))]


def _width(texts: Texts) -> int:
    """The width of the widest line, in character cells."""
    from rich.cells import cell_len

    return max(cell_len(line) for text in texts for line in text.split("\n"))


def _wrapped(heading: str, width: int) -> str:
    fits = all(len(line) <= width for line in heading.split("\n"))
    return heading if fits else "\n".join(textwrap.wrap(heading, width))


def _shortened_cells(columns: Columns, rows: Rows, widths: Sequence[int]) -> list[list[str]]:
    """The cells of each column, with names shortened to the column's width."""
    return [
        shortened(cells, width) if column.kind is Kind.NAME else cells
        for column, cells, width in zip(columns, _by_column(columns, rows), widths, strict=True)
    ]


def shortened(names: Texts, width: int) -> list[str]:
    """The names, shortened to at most `width` cells.

    A long name keeps its beginning. Names with equal beginnings keep both ends instead. Names
    whose ends are equal too stay whole, and the table folds them.
    """
    tail = (width - 1) // 2
    short = [_cut(name, width - 1, 0) if _width([name]) > width else name for name in names]
    short = _replace_equal(names, short, lambda name: _cut(name, width - 1 - tail, tail))
    return _replace_equal(names, short, str)


def _replace_equal(names: Texts, short: Texts, shorten: Callable[[str], str]) -> list[str]:
    """The short forms, with `shorten(name)` in place of each that is not unique."""
    times = Counter(short)
    pairs = zip(names, short, strict=True)
    return [shorten(name) if times[text] > 1 and text != name else text for name, text in pairs]


def _cut(name: str, head: int, tail: int) -> str:
    """The first `head` and the last `tail` cells; a wide character is kept whole or left out."""
    first, last = name[:head], name[len(name) - tail :]
    while _width([first]) > head:
        first = first[:-1]
    while _width([last]) > tail:
        last = last[1:]
    return f"{first}{ELLIPSIS}{last}"
