"""The benchmark suite's figures: tables, comparisons of two results, goals, and the README."""

from __future__ import annotations

import io
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks import compare, goals, readme, report, results
from benchmarks.measure import Figure
from benchmarks.results import PER_SECOND, Goal, Machine, Result, Row

MACHINE = Machine("a processor", 2, "Linux", "CPython 3.14.7t", False, "gcc", "abc")


def row(
    side: str,
    *values: float,
    unit: str = "ns",
    operation: str = "get",
    section: str = "cost",
    **given: Any,
) -> Row:
    """A row with these values."""
    return Row(section, operation, side, unit, list(values), given)


def result(*rows: Row, goals: tuple[Goal, ...] = ()) -> Result:
    """A result with these rows and goals."""
    when = "2026-01-01T00:00:00+00:00"
    return Result(when, "quick", MACHINE, {"cereggii": "1.0"}, list(rows), list(goals))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.34, "ns", "12.3 ns"),
        (0.5, "ns", "0.50 ns"),
        (1234.0, "ns", "1.23 µs"),
        (2.5e6, "ns", "2.50 ms"),
        (123.4e3, "ns", "123 µs"),
        (1.5e9, "ns", "1.50 s"),
        (1200.0, "bytes", "1.20 kB"),
        (31.4e6, PER_SECOND, "31.4 M/s"),
        (-3.0, "ns", "-3.00 ns"),
    ],
)
def test_values_have_three_digits_and_a_suitable_unit(value: float, unit: str, text: str) -> None:
    assert report.human(value, unit) == text


def test_advantages_are_ratios() -> None:
    ours, theirs = row("registry", 10, 20), row("peer", 40, 40)
    assert report.advantage(ours, theirs) == Figure(3.0, 2.0, 4.0)
    fast, slow = row("registry", 40, 40, unit=PER_SECOND), row("peer", 10, 20, unit=PER_SECOND)
    assert report.advantage(fast, slow) == Figure(3.0, 2.0, 4.0)
    assert [report.times(ratio) for ratio in (0.456, 1.26, 23.4, 4321.0)] == [
        "0.46x",
        "1.3x",
        "23x",
        "4,321x",
    ]


def test_a_table_has_a_column_for_each_side() -> None:
    rows = [
        row("peer", 40, backends=10),
        row("registry", 10, backends=10),
        row("registry", 11, backends=1000),
    ]
    table = report.comparison(rows, "T", ("operation", "backends"))
    columns = {str(column.header): list(column.cells) for column in table.columns}
    assert columns == {
        "operation": ["get", "get"],
        "backends": ["10", "1,000"],
        "registry": ["10.0 ns", "11.0 ns"],
        "peer": ["40.0 ns  4.0x", ""],
    }


@cache
def numbers_shown(width: int) -> Counter[str]:
    """The numbers in the tables of the committed results, in a terminal of this width."""
    console = Console(file=io.StringIO(), width=width)
    report.show(results.load(readme.REFERENCE / "gil.json"), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    found = Counter(re.findall(r"(?<!\S)[\d.,]+x?(?!\S)", text))
    assert found.total() > 500
    return found


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_no_width_cuts_a_number(width: int) -> None:
    assert numbers_shown(width) == numbers_shown(300)


def test_two_interpreters_side_by_side() -> None:
    one = result(
        row("registry", 10, backends=1000),
        row("registry", 5, unit=PER_SECOND, section="throughput", threads=2),
    )
    other = result(
        row("registry", 5, backends=1000),
        row("registry", 10, unit=PER_SECOND, section="throughput", threads=2),
    )
    table = report.side_by_side(one, other)
    assert list(table.columns[-1].cells) == ["2.0x", "2.0x"]


ROUNDS = (9.0, 10.0, 10.0, 11.0, 10.0)


def scaled(side: str, by: float, **given: Any) -> Row:
    """A row with the values of `ROUNDS` multiplied by a factor."""
    return row(side, *(value * by for value in ROUNDS), **given)


@pytest.mark.parametrize(
    ("ours", "theirs", "unit", "verdict"),
    [
        (1.0, 1.0, "ns", ""),
        (1.05, 1.0, "ns", ""),
        (1.5, 1.0, "ns", "REGRESSION"),
        (0.5, 1.0, "ns", "better"),
        (1.5, 1.5, "ns", ""),  # the machine got slower
        (1.0, 2.0, "ns", "better"),
        (1.5, 1.0, PER_SECOND, "better"),
        (0.5, 1.0, PER_SECOND, "REGRESSION"),
        (0.5, 0.5, PER_SECOND, ""),
    ],
)
def test_a_verdict_considers_noise_and_drift(
    ours: float, theirs: float, unit: str, verdict: str
) -> None:
    before = result(scaled("registry", 1, unit=unit), scaled("peer", 1, unit=unit))
    after = result(scaled("registry", ours, unit=unit), scaled("peer", theirs, unit=unit))
    assert [change.verdict for change in compare.compare(before, after)] == [verdict]


def test_a_change_within_the_spread_is_noise() -> None:
    before, after = result(row("registry", 5, 10, 20)), result(row("registry", 6, 14, 22))
    assert [change.verdict for change in compare.compare(before, after)] == [""]


@pytest.mark.parametrize(("by", "status"), [(1.0, 0), (2.0, 1), (0.4, 0)])
def test_compare_exits_with_1_on_a_regression(
    by: float, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results.save(result(scaled("registry", 1), scaled("peer", 1)), tmp_path / "a.json")
    results.save(result(scaled("registry", by), scaled("peer", 1)), tmp_path / "b.json")
    assert command.main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == status
    assert ("REGRESSION" in capsys.readouterr().out) == (status == 1)


def test_results_without_a_common_row_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, operation in (("a", "get"), ("b", "put")):
        results.save(result(row("registry", 1.0, operation=operation)), tmp_path / f"{name}.json")
    assert command.main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "no row in common" in capsys.readouterr().err


def test_the_median_decides_whether_a_goal_is_met() -> None:
    measured = Figure(2.0, 1.0, 9.0)
    assert goals.at_most("x", 2, measured) == Goal("x", "<= 2", measured, True)
    assert goals.at_most("x", 1.9, measured).met is False
    assert goals.at_least("x", 2000, measured) == Goal("x", ">= 2,000", measured, False)
    assert goals.at_least("x", 2, measured).met is True
    assert goals.at_most_at_best("x", 1, measured) == Goal("x, best round", "<= 1", measured, True)
    assert goals.at_most_at_best("x", 0.9, measured).met is False
    table = report.goal_table(
        result(goals=(goals.at_most("x", 1, measured), Goal("y", "<= 1", "not installed", None)))
    )
    assert list(table.columns[-1].cells) == ["NOT MET", ""]
    assert list(table.columns[-2].cells) == ["2 (1 to 9)", "not installed"]


def test_the_text_between_the_marks_is_replaced() -> None:
    old = f"a\n{readme.BEGIN}\nold\n{readme.END}\nb"
    assert readme.between_marks(old, "new") == f"a\n{readme.BEGIN}\nnew\n{readme.END}\nb"
    with pytest.raises(ValueError, match="expected"):
        readme.between_marks("no marks", "new")


def test_the_readme_shows_the_committed_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert readme.update(check=True) == 0, capsys.readouterr().err


def test_the_readme_has_one_plot_and_ten_rows_and_benchmarks_the_rest() -> None:
    files = ("free-threaded.json", "gil.json")
    free, locked = (results.load(readme.REFERENCE / name) for name in files)
    short, whole = readme.summary(free), readme.everything(free, locked)
    assert short.count("![") == 1
    heading, rule, *rows = [line for line in short.splitlines() if line.startswith("|")]
    assert heading.startswith("|  | registry | dict + Lock |")
    assert set(rule) <= set("|-: ")
    assert len(rows) <= 10
    assert any("**" in line for line in rows), "the short table shows rows that a peer wins, too"
    headings = {line.split(" | ")[0] for line in whole.splitlines()}
    assert all(line.split(" | ")[0] in headings for line in rows)
    for plot in ("throughput", "cost", "latency"):
        assert f"](reference/{plot}.svg)" in whole


def test_the_readme_marks_the_rows_where_a_peer_is_better() -> None:
    group = {"registry": row("registry", 10.0), "slow": row("slow", 40.0), "fast": row("fast", 5.0)}
    assert readme.cells(group, ["registry", "slow", "fast", "none"]) == [
        "10.0 ns",
        "40.0 ns (4.0x)",
        "**5.00 ns (0.50x)**",
        "",
    ]
