"""What changed between two results.

The other designs and the builtins are the same in both results, so the change of their rows is
the machine's drift. Each section corrects our rows by the median drift of its other rows. One of
our rows has changed if its corrected median moved by more than a tenth and the interquartile ranges
of its rounds do not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles

from rich.table import Table

from benchmarks.peers import OURS
from benchmarks.report import human
from benchmarks.results import PER_SECOND, Result, Row

THRESHOLD = 0.1


@dataclass(frozen=True)
class Change:
    """One of our rows, in both results."""

    before: Row
    after: Row
    worse: float  # slowdown (or growth) as a ratio, without drift; below 1 is better
    verdict: str  # empty if the change is noise


def drift(section: str, before: dict[object, Row], after: dict[object, Row]) -> float:
    """The slowdown of the machine, as a ratio."""
    changes = [
        slowdown(row, after[key])
        for key, row in before.items()
        if key in after and row.section == section and row.side != OURS.name
    ]
    return median(changes) if changes else 1.0


def slowdown(before: Row, after: Row) -> float:
    """The slowdown of the median, as a ratio; above 1 is worse."""
    ratio = after.figure.median / before.figure.median
    return 1 / ratio if before.unit == PER_SECOND else ratio


def middle(row: Row) -> tuple[float, float]:
    """The interquartile range of the rounds."""
    if len(row.values) < 2:
        return row.values[0], row.values[0]
    low, _, high = quantiles(row.values, n=4, method="inclusive")
    return low, high


def verdict(before: Row, after: Row, drifted: float) -> str:
    """The verdict on a row, given the machine's drift."""
    worse = slowdown(before, after) / drifted
    scale = 1 / drifted if before.unit == PER_SECOND else drifted
    (low, high), (new_low, new_high) = middle(before), middle(after)
    is_apart = new_low / scale > high or new_high / scale < low
    if not is_apart or 1 / (1 + THRESHOLD) <= worse <= 1 + THRESHOLD:
        return ""
    return "REGRESSION" if worse > 1 else "better"


def compare(before: Result, after: Result) -> list[Change]:
    """The changes of our rows, in the order of the first result."""
    old: dict[object, Row] = {row.key: row for row in before.rows}
    new: dict[object, Row] = {row.key: row for row in after.rows}
    drifts = {section: drift(section, old, new) for section in {row.section for row in before.rows}}
    changes = []
    for key, row in old.items():
        if row.side == OURS.name and key in new and row.figure.median > 0:
            drifted = drifts[row.section]
            worse = slowdown(row, new[key]) / drifted
            changes.append(Change(row, new[key], worse, verdict(row, new[key], drifted)))
    return changes


def table_of(changes: list[Change]) -> Table:
    """A table of the changes that are not noise."""
    changed = [change for change in changes if change.verdict]
    table = Table("operation", "", "before", "after", "slowdown without drift", "")
    for change in changed:
        row = change.before
        where = ", ".join(f"{name} {value}" for name, value in row.parameters.items())
        cells = (human(each.figure.median, each.unit) for each in (row, change.after))
        table.add_row(
            f"{row.section}: {row.operation}", where, *cells, f"{change.worse:.2f}", change.verdict
        )
    table.caption = (
        f"{len(changes) - len(changed)} of {len(changes)} rows changed no more than noise"
    )
    return table
