"""What a replay shows: a progress bar while it works, then a table and the check, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registry.replay.engine import OPERATIONS_PER_REQUEST, Outcome

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 40


@contextmanager
def progress_bar(console: Console, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the console's terminal; where there is none, nothing is shown."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("replay", total=total)
        yield lambda done: bar.update(task, completed=done)


def verdict(outcome: Outcome) -> str:
    """The check in one line."""
    if outcome.adds_up:
        return f"0 left in flight; totals add up to {outcome.total:,} requests"
    return (
        f"{outcome.left_in_flight:,} left in flight; totals {outcome.total:,}, finished {outcome.done:,}, "
        f"refused {outcome.rejected:,} of {outcome.requests:,} requests"
    )


def print_tables(console: Console, outcome: Outcome) -> None:
    """The backends by requests, the throughput, and the check."""
    from rich.table import Table

    table = Table(title="What the registry knows", title_justify="left")
    table.add_column("backend", overflow="ellipsis", no_wrap=True)
    for heading in ("models", "requests", "most in flight", "avg latency (ms)"):
        table.add_column(heading, justify="right")
    views = sorted(outcome.views, key=lambda view: -view.total_requests)
    for view in views[:ROWS]:
        numbers = (len(view.models), view.total_requests, outcome.most_in_flight[view.id], view.avg_latency_ms)
        table.add_row(view.id, *(f"{number:,}" for number in numbers))
    console.print(table)
    if len(views) > ROWS:
        console.print(f"... and {len(views) - ROWS} more backends")
    rate = outcome.done / outcome.seconds
    console.print(
        f"{rate:,.0f} requests/s, {rate * OPERATIONS_PER_REQUEST:,.0f} registry operations/s: {outcome.threads} threads, "
        f"GIL {'on' if outcome.gil else 'off'}, {outcome.seconds:.2f} s",
        highlight=False,
    )
    console.print(f"{'OK' if outcome.adds_up else 'FAILED'}: {verdict(outcome)}", highlight=False)


def as_json(outcome: Outcome) -> str:
    """The same as one JSON document."""
    rate = outcome.done / outcome.seconds
    document = {
        "backends": [
            {
                "id": view.id,
                "models": len(view.models),
                "requests": view.total_requests,
                "most_in_flight": outcome.most_in_flight[view.id],
                "avg_latency_ms": view.avg_latency_ms,
                "pending_requests": view.pending_requests,
            }
            for view in outcome.views
        ],
        "requests": outcome.requests,
        "finished": outcome.done,
        "refused": outcome.rejected,
        "total_requests": outcome.total,
        "left_in_flight": outcome.left_in_flight,
        "adds_up": outcome.adds_up,
        "threads": outcome.threads,
        "gil": outcome.gil,
        "seconds": round(outcome.seconds, 6),
        "requests_per_second": round(rate, 1),
        "operations_per_second": round(rate * OPERATIONS_PER_REQUEST, 1),
    }
    return json.dumps(document, indent=2)
