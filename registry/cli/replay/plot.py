"""In flight over simulated time, as an SVG with a line per policy.

matplotlib is imported where it is used: it is the extra `plot`.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from registry.cli.replay.outcome import Outcome
from registry.cli.terminal import InputError
from registry.selection import Policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 120
# All of medium lightness, to be read on white and on black.
INK = "#808890"
STYLES = {
    Policy.LEAST_PENDING: ("#2f86d6", "-"),
    Policy.POWER_OF_TWO: ("#d9662b", "-"),
    Policy.LOWEST_LATENCY: ("#2a9d63", "-"),
    Policy.ROUND_ROBIN: ("#c857a8", "-"),
    Policy.RANDOM: ("#a8861c", "-"),
    Policy.PRIORITY: ("#8f76e0", "--"),
    Policy.SMART: (INK, "--"),
}


def check_path(path: str) -> None:
    """`OSError` where nothing can be written there; leaves no file behind."""
    is_new = not os.path.lexists(path)
    with open(path, "ab"):
        pass
    if is_new:
        os.remove(path)


def check_extra(what: str) -> None:
    """`InputError` without matplotlib; `what` is what it is for."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InputError(f"{what} needs matplotlib: pip install 'backend-registry[plot]'") from None


def draw(path: str, outcomes: Sequence[Outcome]) -> None:
    """Writes the picture; equal outcomes give equal bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel("simulated time (s)")
    axes.set_ylabel("requests in flight")
    for outcome in outcomes:
        color, dashes = STYLES[outcome.policy]
        times, in_flight = averages(outcome)
        axes.plot(
            times,
            in_flight,
            dashes,
            color=color,
            label=outcome.policy.value,
            gid=f"policy-{outcome.policy}",
        )
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK)
    write(path, figure)


def write(path: str, figure: Figure) -> None:
    """As an SVG to be read on white and on black: the frame in `INK`, no background. `OSError` with the path."""
    from matplotlib import rc_context

    for axes in figure.axes:
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.title.set_color(INK)
        axes.tick_params(which="both", colors=INK)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=INK, alpha=0.25)
    content = BytesIO()
    with rc_context({"svg.hashsalt": "registry", "svg.fonttype": "none"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    try:
        with open(path, "wb") as file:
            file.write(content.getvalue())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def averages(outcome: Outcome) -> tuple[list[float], list[float]]:
    """The time from the first start to the last end in `POINTS` equal parts: their middles, and the average in flight
    over all backends in each. Empty where nothing was served."""
    record = outcome.record
    starts = sorted(record.starts)
    ends = sorted(
        start + latency / 1000
        for start, latency in zip(record.starts, record.latencies, strict=True)
    )
    if not starts or ends[-1] == starts[0]:
        return [], []
    started, ended = ([0.0, *accumulate(times)] for times in (starts, ends))

    def served(until: float) -> float:
        """Seconds in flight up to this time, added up over all requests."""
        before, over = bisect_right(starts, until), bisect_right(ends, until)
        return (until * before - started[before]) - (until * over - ended[over])

    step = (ends[-1] - starts[0]) / POINTS
    edges = [starts[0] + step * number for number in range(POINTS + 1)]
    return (
        [edge + step / 2 for edge in edges[:-1]],
        [(served(right) - served(left)) / step for left, right in pairwise(edges)],
    )
