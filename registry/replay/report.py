"""What a replay shows at its end: a table and the check, or one JSON document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from registry._terminal import left_out, new_table, printable
from registry.replay.engine import OPERATIONS_PER_REQUEST, Outcome

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 40


def verdict(outcome: Outcome) -> str:
    """The check in one line."""
    if outcome.adds_up:
        return f"OK: 0 left in flight; totals add up to {outcome.total:,} requests"
    return (
        f"FAILED: {outcome.left_in_flight:,} left in flight; totals {outcome.total:,}, finished {outcome.done:,}, "
        f"refused {outcome.rejected:,} of {outcome.requests:,} requests"
    )


def print_tables(console: Console, outcome: Outcome) -> None:
    """The backends with the most requests, the throughput, and the check."""
    table = new_table("What the registry knows")
    table.add_column("backend", overflow="ellipsis", no_wrap=True)
    for heading in ("models", "requests", "most in flight", "avg latency (ms)"):
        table.add_column(heading, justify="right")
    views = sorted(outcome.views, key=lambda view: -view.total_requests)
    for view in views[:ROWS]:
        numbers = (len(view.models), view.total_requests, outcome.most_in_flight[view.id], view.avg_latency_ms)
        table.add_row(printable(view.id), *(f"{number:,}" for number in numbers))
    console.print(table)
    if len(views) > ROWS:
        console.print(left_out(len(views), ROWS, "backends"))
    rate = outcome.done / outcome.seconds
    console.print(
        f"{rate:,.0f} requests/s, {rate * OPERATIONS_PER_REQUEST:,.0f} registry operations/s: {outcome.threads} "
        f"thread{'' if outcome.threads == 1 else 's'}, GIL {'on' if outcome.gil else 'off'}, {outcome.seconds:.2f} s",
        soft_wrap=True,
    )
    console.print(verdict(outcome), soft_wrap=True)


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
