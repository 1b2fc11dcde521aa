"""The plots: throughput by threads, cost by fleet size, and the latency of reads during writes.

Functions import matplotlib themselves: it comes with the extra `plot`. The colors have a medium
lightness, so they are readable on white and on black.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.latency import CLOCK
from benchmarks.peers import OURS, PEERS, dashmap_native
from benchmarks.report import sides_of
from benchmarks.results import Result, Row
from registry.cli.replay.plot import INK, check_matplotlib, write

COLORS = ("#2f86d6", "#d9662b", "#2a9d63", "#c857a8", "#a8861c", "#8f76e0")
SIDES = dict(
    zip((OURS.name, *(peer.name for peer in PEERS), dashmap_native.NAME), COLORS, strict=True)
) | {CLOCK: INK}
THROUGHPUT = (
    ("increment_pending", "distinct", 0, "increment_pending, one backend per thread"),
    ("increment_pending", "same", 0, "increment_pending, one backend"),
    ("get_backend", "same", 0, "get_backend, one backend"),
    ("get_backend", "same", 1, "get_backend, 1 % writes"),
    ("acquire and release", "same", 0, "acquire and release, 1,000 candidates"),
    ("get_backends_for_model", "same", 0, "get_backends_for_model, 1,000 matching"),
)
COST = (
    "increment_pending",
    "get_backend",
    "get_backends_for_model",
    "acquire and release",
    "select",
    "add_backend and remove_backend",
)
LATENCY = ("get_backend", "acquire and release")

Draw = Callable[[Any, Sequence[Row]], None]


def check() -> None:
    """Raises InputError if matplotlib is missing."""
    check_matplotlib("a plot")


def draw(result: Result, folder: Path) -> list[Path]:
    """Writes the plots that the result has rows for, and returns their paths.

    Raises InputError if matplotlib is missing.
    """
    check()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, panels in (("throughput", throughput), ("cost", cost), ("latency", latency)):
        if result.find(name):
            path = folder / f"{name}.svg"
            write(str(path), panels(result))
            written.append(path)
    return written


def figure_of(panels: int, columns: int) -> tuple[Any, list[Any]]:
    """An empty figure and its axes."""
    from matplotlib.figure import Figure

    lines = -(-panels // columns)
    figure = Figure(figsize=(3.6 * columns, 2.7 * lines + 0.4), layout="constrained")
    return figure, list(figure.subplots(lines, columns, squeeze=False).flat)


def line(
    axes: Any, side: str, rows: Sequence[Row], across: Callable[[Row], float], scale: float
) -> None:
    """Draws a side's medians as a line and their range as a shaded band."""
    rows = sorted(rows, key=across)
    places = [across(row) for row in rows]
    figures = [row.figure for row in rows]
    is_ours = side == OURS.name
    axes.plot(
        places,
        [figure.median / scale for figure in figures],
        "o-",
        color=SIDES[side],
        label=side,
        linewidth=2.4 if is_ours else 1.4,
        markersize=4 if is_ours else 3,
        zorder=3 if is_ours else 2,
    )
    low, high = (
        [value / scale for value in each]
        for each in zip(*((f.low, f.high) for f in figures), strict=True)
    )
    axes.fill_between(places, low, high, color=SIDES[side], alpha=0.15, linewidth=0)


def plain_numbers(axis: Any) -> None:
    """Labels a logarithmic axis with plain numbers. If it has few decades, 2 and 5 get labels
    too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    axis.set_major_formatter(plain)
    axis.set_minor_locator(LogLocator(subs=(2, 5)))
    axis.set_minor_formatter(plain if high < 200 * low else NullFormatter())


def legend(figure: Any, axes: Sequence[Any], columns: int) -> None:
    """Draws one legend for all axes."""
    handles: dict[str, Any] = {}
    for one in axes:
        handles |= dict(zip(*reversed(one.get_legend_handles_labels()), strict=True))
    ordered = [side for side in SIDES if side in handles]
    figure.legend(
        [handles[side] for side in ordered],
        ordered,
        loc="outside upper center",
        ncols=min(columns, len(ordered)),
        frameon=False,
        labelcolor=INK,
    )


def throughput(result: Result) -> Any:
    """Throughput by number of threads, on a logarithmic axis. A design scales if its line rises."""
    figure, panels = figure_of(len(THROUGHPUT), 3)
    for axes, (operation, where, writes, title) in zip(panels, THROUGHPUT, strict=True):
        rows = result.find("throughput", operation, where=where, writes=writes)
        for side in sides_of(rows):
            line(
                axes,
                side,
                [row for row in rows if row.side == side],
                lambda row: float(row.parameters["threads"]),
                1e6,
            )
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(sorted({int(row.parameters["threads"]) for row in rows}))
    for axes in panels[-3:]:
        axes.set_xlabel("threads")
    for axes in panels[::3]:
        axes.set_ylabel("million operations/s")
    legend(figure, panels, 6)
    return figure


def cost(result: Result) -> Any:
    """Cost by fleet size, on logarithmic axes. A level line means that the size does not matter."""
    figure, panels = figure_of(len(COST), 3)
    for axes, operation in zip(panels, COST, strict=True):
        rows = result.find("cost", operation)
        for side in sides_of(rows):
            mine = [row for row in rows if row.side == side]
            line(axes, side, mine, lambda row: float(row.parameters["backends"]), 1e3)
        axes.set_xscale("log")
        axes.set_yscale("log")
        plain_numbers(axes.xaxis)
        plain_numbers(axes.yaxis)
        axes.set_title(operation, fontsize=9)
    for axes in panels[-3:]:
        axes.set_xlabel("backends")
    for axes in panels[::3]:
        axes.set_ylabel("µs per operation")
    legend(figure, panels, 6)
    return figure


def latency(result: Result) -> Any:
    """Latency by percentile, on an axis that stretches the tail."""
    figure, panels = figure_of(len(LATENCY), 2)
    for axes, operation in zip(panels, LATENCY, strict=True):
        rows = [
            row
            for row in result.find("latency", operation, writer="busy")
            if float(row.parameters["quantile"]) < 1
        ]
        for side in sides_of(rows):
            line(axes, side, [row for row in rows if row.side == side], rarity, 1e3)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([2, 10, 100, 1000, 10_000], ["p50", "p90", "p99", "p99.9", "p99.99"])
        axes.xaxis.minorticks_off()
        plain_numbers(axes.yaxis)
        axes.set_title(f"{operation} while another thread writes", fontsize=9)
        axes.set_xlabel("percentile")
    panels[0].set_ylabel("µs per call")
    legend(figure, panels, 3)
    return figure


def rarity(row: Row) -> float:
    """The n for which one call in n is slower than the row's quantile."""
    return 1 / (1 - float(row.parameters["quantile"]))
