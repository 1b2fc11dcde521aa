"""The input of a replay: traces, model catalogues, and the models that requests ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import Model
from registry.cli.main import main
from registry.cli.replay import inputs
from registry.cli.replay.inputs import Request

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROW = "2023-11-16 18:15:46.6805900,374,44\n"


@pytest.mark.parametrize(
    "second",
    [
        "2023-11-16 18:15:50.1805900",
        "2023-11-16 18:15:50.18059",
        "2023-11-16T18:15:50.18059",
        "2023-11-16T18:15:50.180590Z",
        "2023-11-16 20:15:50.180590+02:00",
        '" 2023-11-16 18:15:50.180590 "',
    ],
)
def test_a_timestamp_may_have_any_iso_form(tmp_path: Path, second: str) -> None:
    (tmp_path / "t.csv").write_text(f"{HEADER}{second},5,6\n{ROW}")
    first, last = inputs.read_trace(tmp_path / "t.csv")
    assert (first, last.context_tokens, last.generated_tokens) == (Request(0.0, 374, 44), 5, 6)
    assert last.arrival == pytest.approx(3.5, abs=1e-4)


def test_a_timestamp_needs_no_fraction(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{HEADER}2023-11-16 18:15:50,1,2\n2023-11-16 18:15:52,1,2\n")
    assert [request.arrival for request in inputs.read_trace(tmp_path / "t.csv")] == [0.0, 2.0]


@pytest.mark.parametrize("blank", ["\n", "  \n", ",,\n", "\r\n\r\n"])
def test_blank_lines_of_a_trace_are_ignored(tmp_path: Path, blank: str) -> None:
    (tmp_path / "t.csv").write_bytes(f"{HEADER}{ROW}{blank}{ROW}{blank}".encode())
    assert inputs.read_trace(tmp_path / "t.csv") == [Request(0.0, 374, 44)] * 2


def test_columns_may_be_in_any_order_among_others(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "GeneratedTokens,user,TIMESTAMP , ContextTokens\n7,someone,2024-05-10 00:00:00+00:00,8\n"
    )
    assert inputs.read_trace(tmp_path / "t.csv") == [Request(0.0, 8, 7)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (HEADER + ROW * 5000 + "\xff\n", ":5002: expected CSV in UTF-8: invalid start byte"),
        (
            f"{HEADER}{ROW}2023-11-16 18:15:46,{'9' * 5000},1\n",
            ":3: expected a whole number from 0 to 2**32-1 as ContextTokens",
        ),
        (
            f"{HEADER}2023-11-16 18:15:46,1,{2**32}\n",
            ":2: expected a whole number from 0 to 2**32-1 as GeneratedTokens",
        ),
        (f"{HEADER}2023-11-16 18:15:46,1.5,1\n", ":2: expected a whole number"),
        (f"{HEADER}2023-11-16 18:15:46,1,-2\n", ":2: expected a whole number"),
        (f'{HEADER}{ROW}"{ROW * 3000}', ":3: expected 3 columns, found 1"),
        (f'{HEADER}{ROW}"{ROW * 3000}",1,2\n', ":3: expected a TIMESTAMP"),
        (f'{HEADER}{ROW}"{ROW * 6000}', ":3: expected CSV: field larger than field limit"),
        ("", ":1: expected the columns"),
        (
            "TIMESTAMP,ContextTokens\n" + ROW,
            ":1: expected the columns TIMESTAMP,ContextTokens,GeneratedTokens;"
            " missing: GeneratedTokens",
        ),
        (HEADER + "\n\n", ": expected at least one request below the header"),
    ],
)
def test_a_malformed_trace_is_one_short_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, problem: str
) -> None:
    (tmp_path / "t.csv").write_bytes(content.encode("latin-1"))
    assert main(["replay", "--trace", str(tmp_path / "t.csv")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"registry: {tmp_path / 't.csv'}:")
    assert problem in error
    assert (error.count("\n"), len(error) < len(str(tmp_path)) + 250) == (1, True)


EXPECTED = "expected a model catalogue in JSON"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b'{"x/": {"provider": "p"}}',
            "'x/': expected a key that ends in a model id, and a provider",
        ),
        (b'{"x/m": {"mode": "chat"}}', "'x/m': Object missing required field `provider`"),
        (
            b'{"x/m": {"provider": "p", "max_input_tokens": "8192"}}',
            "'x/m': max_input_tokens: Expected `float | null`, got `str`",
        ),
        (
            b'{"a": {"provider": "p"}, "x/m": {"provider": 1}}',
            "'x/m': provider: Expected `str`, got `int`",
        ),
        (
            b'{"x/m": {"provider": ""}}',
            "'x/m': expected a key that ends in a model id, and a provider",
        ),
        (b'{"x/m": {"provider": "\xff"}}', f"{EXPECTED}: not UTF-8: invalid start byte at byte 22"),
        (b'{"x/\xff": {"provider": "p"}}', f"{EXPECTED}: not UTF-8"),
        (b"[1]", f"{EXPECTED}: Expected `object`, got `array` {inputs.FORMATS}"),
        (b'{"x/m": []}', "'x/m': Expected `object`, got `array`"),
        (b"{}", "expected a backend with a model, found none"),
        (b"", f"{EXPECTED}: Input data was truncated"),
    ],
)
def test_a_malformed_catalogue_names_the_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, problem: str
) -> None:
    (tmp_path / "c.json").write_bytes(content)
    assert main(["replay", "--catalogue", str(tmp_path / "c.json"), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"registry: {tmp_path / 'c.json'}: {problem}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [("null", 4096), ("8192.0", 8192), ("1e300", 2**32 - 1), ("-5", 4096), ("131072", 131072)],
)
def test_context_lengths_of_a_catalogue_are_clamped(
    tmp_path: Path, tokens: str, expected: int
) -> None:
    (tmp_path / "c.json").write_bytes(
        b'\xef\xbb\xbf{"x/m": {"provider": "p", "max_input_tokens": %s}}' % tokens.encode()
    )
    (backend,) = inputs.read_catalogue(tmp_path / "c.json")
    assert backend.models[0].context_length == expected


def test_a_catalogue_gives_a_backend_per_provider(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(
        """{"x/m": {"provider": "P One", "max_input_tokens": 8192.0, "supports_vision": true},
            "x/y/m": {"provider": "P One", "max_input_tokens": 1},
            "m": {"provider": "q", "max_output_tokens": null, "supports_function_calling": true}}"""
    )
    one, two = inputs.read_catalogue(tmp_path / "c.json")
    assert (one.id, one.url, two.id) == ("P One", "https://p-one.example", "q")
    assert one.models == (Model("m", context_length=8192, supports_vision=True),)
    assert two.models == (Model("m", supports_tools=True),)


def test_a_short_trace_starts_over() -> None:
    trace = [Request(0.0, 1, 1), Request(3.0, 2, 2)]
    assert inputs.stretch(trace, None) == trace
    assert inputs.stretch(trace, 1) == trace[:1]
    assert [(request.arrival, request.context_tokens) for request in inputs.stretch(trace, 5)] == [
        (0.0, 1),
        (3.0, 2),
        (4.0, 1),
        (7.0, 2),
        (8.0, 1),
    ]


def test_the_same_models_are_drawn_each_time_and_popular_ones_more_often() -> None:
    fleet = inputs.synthetic_fleet()
    drawn = inputs.draw_models(fleet, 5000)
    assert drawn == inputs.draw_models(fleet, 5000)
    assert drawn[:100] == inputs.draw_models(fleet, 100)
    counts = [drawn.count(model.id) for model in fleet[5].models]
    assert counts[0] == max(counts) > 2 * min(counts)


@pytest.mark.parametrize("option", ["--fleet", "--catalogue", "--trace"])
def test_an_empty_file_name_is_an_error(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["replay", option, ""]) == 2
    assert "No such file" in capsys.readouterr().err
