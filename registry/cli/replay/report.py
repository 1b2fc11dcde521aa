"""The output of a replay: tables and the check of its counts, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from registry._messages import printable
from registry.cli.replay.outcome import Outcome
from registry.cli.table import Column, Kind, left_out, print_table

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 40
OPERATIONS_PER_REQUEST = 2  # acquire and release; the replay's own get_backend is not counted
PERCENTS = (50, 95, 99)
FIGURES = ("models", "requests", "most in flight", "avg latency (ms)")
COMPARED = ("requests/s", "most in\nflight", "evenness", *(f"p{percent}" for percent in PERCENTS))
EVENNESS = (
    "evenness: the greatest load of a backend divided by the mean load (load: time average of "
    "in flight / weight); 1.00 is even. p50, p95, p99: latency in simulated ms."
)


def verdict(outcome: Outcome) -> str:
    """The result of the check, in one line."""
    refused = f"{outcome.record.rejected:,} refused"
    if outcome.adds_up:
        return f"OK: 0 left in flight; totals add up to {outcome.total:,} requests" + (
            f", {refused}" if outcome.record.rejected else ""
        )
    return (
        f"FAILED: {outcome.left_in_flight:,} left in flight; totals {outcome.total:,}, "
        f"finished {outcome.record.done:,}, {refused} of {outcome.requests:,} requests"
    )


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints the backends with the most requests, the policy's figures, and the check."""
    columns = [Column("backend", Kind.NAME), *_number_columns(FIGURES)]
    views = sorted(outcome.views, key=lambda view: -view.total_requests)
    rows = []
    for view in views[:ROWS]:
        most = outcome.record.most_in_flight[view.id]
        numbers = (len(view.models), view.total_requests, most, view.avg_latency_ms)
        rows.append([printable(view.id), *(f"{number:,}" for number in numbers)])
    print_table(console, f"The registry after the replay, policy {outcome.policy}", columns, rows)
    if len(views) > ROWS:
        console.print(left_out(len(views), ROWS, "backends"))
    p50, p95, p99 = _latencies(outcome)
    console.print(
        f"evenness {_evenness(outcome)}; simulated latency p50 {p50}, p95 {p95}, p99 {p99} ms",
        soft_wrap=True,
    )
    rate = outcome.requests_per_second
    console.print(
        f"{rate:,.0f} requests/s, {rate * OPERATIONS_PER_REQUEST:,.0f} registry operations/s: "
        f"{_setting(outcome)}, {outcome.seconds:.2f} s",
        soft_wrap=True,
    )
    console.print(verdict(outcome), soft_wrap=True)


def print_comparison(console: Console, outcomes: Sequence[Outcome]) -> None:
    """Prints one row per policy, and the checks."""
    title = f"{outcomes[0].requests:,} requests with each policy: {_setting(outcomes[0])}"
    columns = [Column("policy", Kind.NAME), *_number_columns(COMPARED)]
    rows = []
    for outcome in outcomes:
        rate, most = f"{outcome.requests_per_second:,.0f}", f"{outcome.most_in_flight:,}"
        rows.append([outcome.policy, rate, most, _evenness(outcome), *_latencies(outcome)])
    print_table(console, title, columns, rows, EVENNESS)
    if len({verdict(outcome) for outcome in outcomes}) == 1:
        console.print(f"every policy: {verdict(outcomes[0])}", soft_wrap=True)
        return
    for outcome in outcomes:
        console.print(f"{outcome.policy}: {verdict(outcome)}", soft_wrap=True)


def _number_columns(headings: Sequence[str]) -> list[Column]:
    return [Column(heading, Kind.NUMBER) for heading in headings]


def _latencies(outcome: Outcome) -> list[str]:
    return [
        "-" if latency is None else f"{latency:,}" for latency in outcome.percentiles(*PERCENTS)
    ]


def _evenness(outcome: Outcome) -> str:
    return "-" if outcome.evenness is None else f"{outcome.evenness:.2f}"


def _setting(outcome: Outcome) -> str:
    threads = "thread" if outcome.threads == 1 else "threads"
    return f"{outcome.threads} {threads}, GIL {'on' if outcome.gil else 'off'}"


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The figures of one policy, for a JSON document."""
    rate, evenness = outcome.requests_per_second, outcome.evenness
    return {
        "policy": outcome.policy.value,
        "backends": [
            {
                "id": view.id,
                "models": len(view.models),
                "requests": view.total_requests,
                "most_in_flight": outcome.record.most_in_flight[view.id],
                "avg_latency_ms": view.avg_latency_ms,
                "pending_requests": view.pending_requests,
            }
            for view in outcome.views
        ],
        "requests": outcome.requests,
        "finished": outcome.record.done,
        "refused": outcome.record.rejected,
        "total_requests": outcome.total,
        "left_in_flight": outcome.left_in_flight,
        "adds_up": outcome.adds_up,
        "most_in_flight": outcome.most_in_flight,
        "evenness": None if evenness is None else round(evenness, 4),
        "latency_ms": {
            f"p{p}": latency
            for p, latency in zip(PERCENTS, outcome.percentiles(*PERCENTS), strict=True)
        },
        "threads": outcome.threads,
        "gil": outcome.gil,
        "seconds": round(outcome.seconds, 6),
        "requests_per_second": round(rate, 1),
        "operations_per_second": round(rate * OPERATIONS_PER_REQUEST, 1),
    }


def document(outcomes: Sequence[Outcome], several: bool) -> str:
    """One JSON document: the only outcome or, if `several`, a list of outcomes under `policies`."""
    parts = [as_json(outcome) for outcome in outcomes]
    return json.dumps({"policies": parts} if several else parts[0], indent=2)
