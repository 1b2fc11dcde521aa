"""`python -m registry show`: the tables and the JSON of a fleet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry import Backend, Model, load_fleet
from registry.cli import show
from registry.cli.main import main


@pytest.fixture
def fleet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five backends that serve one model with two context lengths; one serves a second model."""
    monkeypatch.setenv("COLUMNS", "80")
    text = ""
    for n in range(5):
        url = f"http://vllm-{n}.cluster.internal:8000/v1"
        text += f'[[backends]]\nname = "vllm-{n}"\nurl = "{url}"\ntype = "vllm"\npriority = {n}\n'
        text += '[[backends.models]]\nid = "meta-llama/Llama-3.3-70B"\n'
        text += f"context_length = {131072 if n else 8192}\n"
        text += f"supports_tools = {str(n > 2).lower()}\n"
    text += (
        '[[backends.models]]\nid = "ünusual"\nsupports_vision = true\nsupports_json_mode = true\n'
    )
    path = tmp_path / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_tables_show_backends_and_models(
    fleet_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--fleet", str(fleet_file)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["5", "backends"] in lines
    assert ["vllm-4", "vllm", "http://vllm-4.cluster.internal:8000/v1", "4", "2"] in lines
    assert ["2", "models"] in lines
    assert [
        "meta-llama/Llama-3.3-70B",
        "8,192",
        "to",
        "tools",
        "vllm-0,",
        "vllm-1,",
        "vllm-2",
        "+2",
    ] in lines
    assert ["131,072"] in lines
    assert ["ünusual", "4,096", "vision", "json", "vllm-4"] in lines


def test_the_tables_fit_into_eighty_columns(
    fleet_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--fleet", str(fleet_file)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("fleet", "titles"),
    [
        ('[[backends]]\nname = "a"\nurl = "http://a"\nmodels = ["m"]\n', {"1 backend", "1 model"}),
        ("", {"0 backends", "0 models"}),
    ],
)
def test_titles_have_the_numbers_of_backends_and_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fleet: str, titles: set[str]
) -> None:
    (tmp_path / "f.toml").write_text(fleet)
    assert main(["show", "--fleet", str(tmp_path / "f.toml")]) == 0
    assert titles <= {line.strip() for line in capsys.readouterr().out.splitlines()}


def test_long_tables_count_the_rows_that_they_omit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "".join(
        f'[[backends]]\nname = "b{n}"\nurl = "http://h"\nmodels = ["m{n}"]\n'
        for n in range(show.ROWS + 7)
    )
    (tmp_path / "f.toml").write_text(text)
    assert main(["show", "--fleet", str(tmp_path / "f.toml")]) == 0
    out = capsys.readouterr().out
    assert "... and 7 more backends (--json shows all)" in out
    assert "... and 7 more models (--json shows all)" in out
    assert f"m{show.ROWS - 1} " in out
    assert f"m{show.ROWS} " not in out


def test_json_is_the_whole_fleet_and_round_trips(
    fleet_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--fleet", str(fleet_file), "--json"]) == 0
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert list(document) == ["backends"]
    assert [Backend.from_json(json.dumps(entry)) for entry in document["backends"]] == load_fleet(
        fleet_file
    )
    assert captured.out.isascii()
    assert captured.err == ""


def test_a_model_has_the_abilities_of_all_its_backends() -> None:
    places = [
        (Backend("a", "a", "http://a"), Model("m", supports_vision=True)),
        (Backend("b", "b", "http://b"), Model("m", supports_json_mode=True)),
    ]
    assert show._abilities(places) == "vision json"


@pytest.mark.parametrize(
    ("settings", "headings", "cells"),
    [
        ("", [], []),
        ("max_pending = 1200", ["max_pending"], ["1,200"]),
        ("weight = 3", ["weight"], ["3"]),
        ("weight = 1000\nmax_pending = 1", ["max_pending", "weight"], ["1", "1,000"]),
        ("weight = 1", [], []),
    ],
)
def test_limits_and_weights_are_shown_if_one_is_set(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: str,
    headings: list[str],
    cells: list[str],
) -> None:
    plain = '[[backends]]\nname = "a"\nurl = "http://a"\n'
    (tmp_path / "f.toml").write_text(f'{plain}{plain}{settings}\nid = "c"\n')
    assert main(["show", "--fleet", str(tmp_path / "f.toml")]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["id", "type", "url", "priority", *headings, "models"] in lines
    assert ["c", "generic", "http://a", "0", *cells, "0"] in lines
    assert main(["show", "--fleet", str(tmp_path / "f.toml"), "--json"]) == 0
    for backend in json.loads(capsys.readouterr().out)["backends"]:
        assert {"weight", "max_pending"} <= backend.keys()
