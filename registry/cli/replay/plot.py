"""The plot of a replay: an SVG with one line per policy.

It shows the requests in flight over simulated time and, where backends have engines, below that the
share of the requests that had their first token within a time.

Functions import matplotlib themselves: it comes with the extra `plot`.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from io import BytesIO
from itertools import accumulate, pairwise
from math import ceil
from typing import TYPE_CHECKING

from registry import Policy
from registry.cli.replay.outcome import Outcome
from registry.cli.terminal import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 120  # in each line
# Colors of medium lightness, which are readable on white and on black.
INK = "#808890"
STYLES: dict[str, tuple[str, str]] = {
    Policy.LEAST_PENDING: ("#2f86d6", "-"),
    Policy.POWER_OF_TWO: ("#d9662b", "-"),
    Policy.LOWEST_LATENCY: ("#2a9d63", "-"),
    Policy.ROUND_ROBIN: ("#c857a8", "-"),
    Policy.RANDOM: ("#a8861c", "-"),
    Policy.PRIORITY: ("#8f76e0", "--"),
    Policy.SMART: (INK, "--"),
    Policy.AFFINITY: ("#2f86d6", "--"),
    Policy.LEAST_TOKENS: ("#d64550", "--"),
    Policy.HOT_COLD: ("#7a4fa3", "--"),
    # What policies are compared with.
    "least_tokens_no_prefix": ("#d64550", ":"),
    "knows_all": (INK, ":"),
}


def check_path(path: str) -> None:
    """Raises `OSError` if the file cannot be written. Leaves the directory as it was."""
    is_new = not os.path.lexists(path)
    with open(path, "ab"):
        pass
    if is_new:
        os.remove(path)


def check_matplotlib(what: str) -> None:
    """Raises `InputError` if matplotlib is missing. `what` names the option that needs it."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise InputError(f"{what} needs matplotlib: pip install 'backend-registry[plot]'") from None


def draw(path: str, outcomes: Sequence[Outcome]) -> None:
    """Writes the plot. Equal outcomes give equal bytes."""
    from matplotlib.figure import Figure

    has_engines = any(outcome.has_engines for outcome in outcomes)
    figure = Figure(figsize=(9, 9 if has_engines else 4.5), layout="constrained")
    axes = figure.add_subplot(2 if has_engines else 1, 1, 1)
    axes.set_xlabel("simulated time (s)")
    axes.set_ylabel("requests in flight")
    for outcome in outcomes:
        color, dashes = STYLES[outcome.name]
        times, in_flight = averages(outcome)
        axes.plot(
            times,
            in_flight,
            dashes,
            color=color,
            label=outcome.name,
            gid=f"policy-{outcome.name}",
        )
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=INK)
    if has_engines:
        _draw_first_tokens(figure, outcomes)
    write(path, figure)


def _draw_first_tokens(figure: Figure, outcomes: Sequence[Outcome]) -> None:
    axes = figure.add_subplot(2, 1, 2)
    axes.set_xlabel("time to the first token (s)")
    axes.set_ylabel("share of the requests")
    axes.set_xscale("log")
    for outcome in outcomes:
        color, dashes = STYLES[outcome.name]
        axes.plot(*distribution(outcome), dashes, color=color, gid=f"first-token-{outcome.name}")
    axes.set_ylim(0, 1)


def write(path: str, figure: Figure) -> None:
    """Writes a transparent SVG with its frame in `INK`. An `OSError` names the path."""
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


def distribution(outcome: Outcome) -> tuple[list[float], list[float]]:
    """The points of a line: times to the first token in seconds, and the share of the requests
    whose first token came by then, at up to `POINTS` times of equal distance in rank."""
    times = sorted(outcome.record.first_tokens)
    points = min(POINTS, len(times))
    ranks = [ceil(len(times) * (number + 1) / points) for number in range(points)]
    return [times[rank - 1] / 1000 for rank in ranks], [rank / len(times) for rank in ranks]


def averages(outcome: Outcome) -> tuple[list[float], list[float]]:
    """The points of a line: times, and the average number in flight around each.

    The time from the first start to the last end is divided into `POINTS` equal intervals. Each
    point is the middle of an interval and the average over it, of all backends together. Empty
    if nothing was served.
    """
    record = outcome.record
    starts = sorted(record.starts)
    ends = sorted(
        start + time / 1000 for start, time in zip(record.starts, record.times, strict=True)
    )
    if not starts or ends[-1] == starts[0]:
        return [], []
    started, ended = ([0.0, *accumulate(times)] for times in (starts, ends))

    def time_in_flight(until: float) -> float:
        """Seconds that all requests together were in flight up to this time."""
        before, over = bisect_right(starts, until), bisect_right(ends, until)
        return (until * before - started[before]) - (until * over - ended[over])

    step = (ends[-1] - starts[0]) / POINTS
    edges = [starts[0] + step * number for number in range(POINTS + 1)]
    return (
        [edge + step / 2 for edge in edges[:-1]],
        [(time_in_flight(right) - time_in_flight(left)) / step for left, right in pairwise(edges)],
    )
