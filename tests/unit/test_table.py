"""Tables: no width truncates a number, and shortened names stay different."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from registry import load_fleet
from registry._messages import printable
from registry.cli.main import main
from registry.cli.replay import engine
from registry.cli.replay.outcome import Outcome
from registry.cli.table import Column, Kind, print_table, shortened

Capture = pytest.CaptureFixture[str]

WIDTHS = [40, 47, 60, 72, 80, 100, 200]
LONG = {
    "62": ["gpu-" + "x" * 58],
    "72": ["gpu-" + "x" * 68],
    # Names with equal beginnings, with equal ends too, and with nothing in common; wide
    # characters; characters that are escaped.
    "many": [
        *(f"{'cluster-eu-west-' * 4}{number:04d}" for number in range(4)),
        *(f"{'y' * 40}{number}{'y' * 40}" for number in range(3)),
        *("サーバー" * 10 + str(number) for number in range(3)),
        "short",
        "ünusual" * 9,
        "\x1b[31m" * 20,
        "e\u0301" * 50,
    ],
}


def printed(width: int, columns: list[Column], rows: list[list[str]]) -> list[str]:
    """The lines of a table below its title."""
    out = io.StringIO()
    print_table(Console(file=out, width=width, markup=False), "T", columns, rows)
    return out.getvalue().splitlines()[2:]


def fleet_of(ids: list[str], path: Path) -> Path:
    """Writes a fleet file whose numbers have as many digits as possible."""
    text = ""
    for number, backend_id in enumerate(ids):
        text += f"[[backends]]\nname = {json.dumps(backend_id)}\nurl = 'http://{'h' * 40}'\n"
        text += f"priority = {-(2**31) + number}\nmax_pending = {4_000_000_000 + number}\n"
        text += f"weight = {1000 - number}\nmodels = [{{id = 'm', context_length = 4294967295}}]\n"
    path.write_text(text, encoding="utf-8")
    return path


def words_of(out: str, width: int) -> Counter[str]:
    """The words of the tables. Checks that no line of a table is wider than the terminal."""
    tables = [line for line in out.splitlines() if "/s, " not in line and "OK: " not in line]
    assert max(cell_len(line) for line in tables if "evenness 1" not in line) <= width
    return Counter(" ".join(tables).split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ids", LONG.values(), ids=LONG)
def test_show_prints_every_number(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, width: int, ids: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    fleet = fleet_of(ids, tmp_path / "f.toml")
    assert main(["show", "--fleet", str(fleet)]) == 0
    words = words_of(capsys.readouterr().out, width)
    for backend in load_fleet(fleet):
        for number in (backend.priority, backend.max_pending, backend.weight):
            assert words[f"{number:,}"] == 1
    assert words["4,294,967,295"] == 1
    assert words[f"+{len(ids) - 3}"] == (len(ids) > 3)


@pytest.mark.parametrize("policy", ["least_pending", "all"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ids", LONG.values(), ids=LONG)
def test_replay_prints_every_number(
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    ids: list[str],
    policy: str,
) -> None:
    outcomes: list[Outcome] = []

    def replay_and_keep(*given: Any, **faults: Any) -> Outcome:
        outcomes.append(replay(*given, **faults))
        return outcomes[-1]

    replay = engine.replay
    monkeypatch.setattr(engine, "replay", replay_and_keep)
    monkeypatch.setenv("COLUMNS", str(width))
    fleet = str(fleet_of(ids, tmp_path / "f.toml"))
    assert main(["replay", "--fleet", fleet, "--policy", policy, "--requests", "1234"]) == 0
    words = words_of(capsys.readouterr().out, width)
    expected: Counter[str] = Counter()
    for outcome in outcomes:
        if policy == "all":
            most, rate = outcome.most_in_flight, f"{outcome.requests_per_second:,.0f}"
            latencies = [f"{latency:,}" for latency in outcome.percentiles(50, 95, 99) if latency]
            expected.update([rate, f"{most:,}", f"{outcome.evenness:.2f}", *latencies])
            continue
        for view in outcome.views:
            most = outcome.record.most_in_flight[view.id]
            numbers = (len(view.models), view.total_requests, most, view.avg_latency_ms)
            expected.update(f"{number:,}" for number in numbers)
    assert expected
    assert not expected - words


NUMBERS = [Column("n", Kind.NUMBER), Column("most in flight", Kind.NUMBER)]


@pytest.mark.parametrize("width", WIDTHS)
def test_many_columns_keep_their_numbers(width: int) -> None:
    columns = [Column("name", Kind.NAME), *NUMBERS * 4, Column("text", Kind.TEXT)]
    rows = [["x" * 50, *(f"{row}{column},000" for column in range(8)), "y z " * 20] for row in "12"]
    words = Counter(" ".join(printed(width, columns, rows)).split())
    for row in rows:
        assert all(words[number] == 1 for number in row[1:-1])


def test_a_table_that_fits_is_not_shortened() -> None:
    columns = [Column("name", Kind.NAME), *NUMBERS]
    lines = [line.rstrip() for line in printed(40, columns, [["a" * 18, "1", "2"]])]
    assert lines[0].split() == ["name", "n", "most", "in", "flight"]
    assert lines[2].split() == ["a" * 18, "1", "2"]


def test_headings_are_wrapped_before_names_are_shortened() -> None:
    columns = [Column("name", Kind.NAME), *NUMBERS]
    lines = [line.rstrip() for line in printed(40, columns, [["a" * 20, "1", "2"]])]
    assert [line.split() for line in lines[:3]] == [["most"], ["in"], ["name", "n", "flight"]]
    assert lines[4].split() == ["a" * 20, "1", "2"]


def test_in_a_narrow_terminal_each_column_has_a_line() -> None:
    columns = [Column("name", Kind.NAME), *NUMBERS, Column("on", Kind.TEXT)]
    rows = [["a" * 50, "1" * 12, "22", "b c"], ["d", "3" * 12, "44", "e " * 30]]
    lines = [line.strip() for line in printed(40, columns, rows)]
    assert lines == [
        f"name            {'a' * 21}…",
        "n               111111111111",
        "most in flight  22",
        "on              b c",
        "",
        "name            d",
        "n               333333333333",
        "most in flight  44",
        f"on              {'e ' * 10}e",
        f"{'e ' * 10}e",
        f"{'e ' * 7}e",
        "",
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["abcdefghij", "abcdefghijk", "xbcde"], ["abcdefghij", "abcdefghi…", "xbcde"]),
        (["abcdefghijk1", "abcdefghijk2"], ["abcde…ijk1", "abcde…ijk2"]),
        (["abcdefghi…", "abcdefghijkl"], ["abcdefghi…", "abcde…ijkl"]),
        (["aaaaaaaaa1bbbb", "aaaaaaaaa2bbbb"], ["aaaaaaaaa1bbbb", "aaaaaaaaa2bbbb"]),
        (["サーバーサーバー"], ["サーバー…"]),
        (["サーバーバーバー1", "サーバーバーバ2"], ["サー…ー1", "サー…バ2"]),
        (["", "a"], ["", "a"]),
        ([], []),
    ],
)
def test_names_are_shortened(names: list[str], expected: list[str]) -> None:
    assert shortened(names, 10) == expected


@pytest.mark.parametrize("width", range(10, 80))
def test_shortened_names_fit_and_differ(width: int) -> None:
    names = [printable(name) for name in LONG["many"]]
    short = shortened(names, width)
    assert len(set(short)) == len(names)
    for name, text in zip(names, short, strict=True):
        assert cell_len(text) <= width or text == name
        assert text == name or "…" in text
