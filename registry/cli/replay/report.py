"""The output of a replay: tables and the check of its counts, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
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
FAULTY = (
    *("failed\nattempts", "failed\nrequests", "refused", "to faulty"),
    "longest\nrecovery (s)",
)
FAULTS = ("from (s)", "to (s)", "requests", "failed", "recovery (s)")
READING = ("prefix\nhits", "mean", *(f"p{percent}" for percent in PERCENTS))
FIRST_TOKEN = (
    "prefix hits: of the blocks of all prompts, the share that the engines' caches had. mean, p50, "
    "p95, p99: time to the first token in simulated ms."
)
KNOWS_ALL = " knows_all: who sees every engine's cache and queue chooses the soonest first token."
RECOVERY = (
    "recovery: simulated time from the end of a fault to the start of the first request that the "
    "backend then serves."
)
SHARE = (
    "A failed attempt is retried once on another backend. to faulty: the share that met a fault, "
    "of the attempts during faults. " + RECOVERY + " never: none was served."
)


def verdict(outcome: Outcome) -> str:
    """The result of the check, in one line."""
    refused = f"{outcome.record.rejected:,} refused"
    if outcome.adds_up:
        retries = f", {outcome.record.retries:,} of them retries" if outcome.faults else ""
        return f"OK: 0 left in flight; totals add up to {outcome.total:,} requests{retries}" + (
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
    if outcome.faults:
        _print_faults(console, outcome)
    p50, p95, p99 = _latencies(outcome)
    console.print(
        f"evenness {_evenness(outcome)}; simulated latency p50 {p50}, p95 {p95}, p99 {p99} ms",
        soft_wrap=True,
    )
    if outcome.has_engines:
        hits, mean, *ranks = _reading(outcome)
        percentiles = ", ".join(f"p{p} {rank}" for p, rank in zip(PERCENTS, ranks, strict=True))
        console.print(
            f"prefix hits {hits}; simulated time to first token mean {mean}, {percentiles} ms",
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
        rows.append([outcome.name, rate, most, _evenness(outcome), *_latencies(outcome)])
    print_table(console, title, columns, rows, EVENNESS)
    if outcomes[0].has_engines:
        columns = [Column("policy", Kind.NAME), *_number_columns(READING)]
        rows = [[outcome.name, *_reading(outcome)] for outcome in outcomes]
        title = "The time to the first token with each policy"
        caption = FIRST_TOKEN + KNOWS_ALL
        print_table(console, title, columns, rows, caption)
    if outcomes[0].faults:
        columns = [Column("policy", Kind.NAME), *_number_columns(FAULTY)]
        title = f"The {len(outcomes[0].faults)} faults with each policy"
        rows = [[outcome.name, *_faulty(outcome)] for outcome in outcomes]
        print_table(console, title, columns, rows, SHARE)
    if len({verdict(outcome) for outcome in outcomes}) == 1:
        console.print(f"every policy: {verdict(outcomes[0])}", soft_wrap=True)
        return
    for outcome in outcomes:
        console.print(f"{outcome.name}: {verdict(outcome)}", soft_wrap=True)


def _print_faults(console: Console, outcome: Outcome) -> None:
    columns = [Column("backend", Kind.NAME), Column("fault", Kind.NAME), *_number_columns(FAULTS)]
    rows = []
    record = outcome.record
    for index, fault in enumerate(outcome.faults):
        ends = fault.end < inf
        numbers = (record.to_faulty[index], record.failures[index])
        rows.append(
            [
                *(printable(fault.backend), fault.kind),
                *(f"{fault.start:,.0f}", f"{fault.end:,.0f}" if ends else "-"),
                *(f"{number:,}" for number in numbers),
                _recovery(outcome.recovery(index)) if ends else "-",
            ]
        )
    print_table(console, "The faults, and the requests that met them", columns, rows, RECOVERY)
    failures, failed, _, share, _ = _faulty(outcome)
    console.print(
        f"{failures} failed attempts, {record.retries:,} retries, {failed} failed requests; "
        f"{share} of the attempts during faults met one",
        soft_wrap=True,
    )


def _faulty(outcome: Outcome) -> list[str]:
    """The figures of `FAULTY`."""
    record, share, times = outcome.record, outcome.faulty_share, outcome.recoveries
    known = [time for time in times if time is not None]
    return [
        *(f"{n:,}" for n in (record.failures.total(), record.failed, record.rejected)),
        "-" if share is None else f"{share:.1%}",
        "-" if not times else _recovery(max(known) if len(known) == len(times) else None),
    ]


def _recovery(time: float | None) -> str:
    return "never" if time is None else f"{time:,.1f}"


def _reading(outcome: Outcome) -> list[str]:
    """The figures of `READING`."""
    share = outcome.prefix_hit_share
    times = (outcome.mean_to_first_token, *outcome.percentiles_to_first_token(*PERCENTS))
    return [
        "-" if share is None else f"{share:.1%}",
        *("-" if time is None else f"{time:,.0f}" for time in times),
    ]


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
        "policy": outcome.name,
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
        **(_reading_as_json(outcome) if outcome.has_engines else {}),
        "threads": outcome.threads,
        "gil": outcome.gil,
        "seconds": round(outcome.seconds, 6),
        "requests_per_second": round(rate, 1),
        "operations_per_second": round(rate * OPERATIONS_PER_REQUEST, 1),
        **(_faults_as_json(outcome) if outcome.faults else {}),
    }


def _reading_as_json(outcome: Outcome) -> dict[str, Any]:
    share = outcome.prefix_hit_share
    names = ("mean", *(f"p{p}" for p in PERCENTS))
    times = (outcome.mean_to_first_token, *outcome.percentiles_to_first_token(*PERCENTS))
    return {
        "prefix_hit_share": None if share is None else round(share, 4),
        "ttft_ms": {
            name: None if time is None else round(time, 3)
            for name, time in zip(names, times, strict=True)
        },
    }


def _faults_as_json(outcome: Outcome) -> dict[str, Any]:
    record, share = outcome.record, outcome.faulty_share
    rows = []
    for index, fault in enumerate(outcome.faults):
        recovery = outcome.recovery(index)
        rows.append(
            {
                "backend": fault.backend,
                "kind": fault.kind,
                "from": fault.start,
                "to": fault.end if fault.end < inf else None,
                "requests": record.to_faulty[index],
                "failed": record.failures[index],
                "recovery": None if recovery is None else round(recovery, 3),
            }
        )
    return {
        "failed_attempts": record.failures.total(),
        "retries": record.retries,
        "failed_requests": record.failed,
        "faulty_share": None if share is None else round(share, 4),
        "faults": rows,
    }


def document(outcomes: Sequence[Outcome], several: bool) -> str:
    """One JSON document: the only outcome or, if `several`, a list of outcomes under `policies`.

    Rows that are not a policy are in a list of their own, `for_comparison`, if there are any.
    """
    if not several:
        return json.dumps(as_json(outcomes[0]), indent=2)
    lists: dict[str, list[Any]] = {"policies": []}
    for outcome in outcomes:
        key = "policies" if outcome.variant is None else "for_comparison"
        lists.setdefault(key, []).append(as_json(outcome))
    return json.dumps(lists, indent=2)
