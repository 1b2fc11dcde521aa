"""What the commands of `python -m registry` print and draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.command_files import FLEET, HEADER, enter_folder_with_files

import registry
from registry import Backend, Policy
from registry.cli.main import main


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a fleet, a trace and a catalogue."""
    return enter_folder_with_files(tmp_path, monkeypatch)


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON document of a successful replay."""
    assert main(["replay", "--json", *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_default_replay_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, "--threads", "8", "--requests", "3000")
    assert document["policy"] == "least_pending"
    assert (document["total_requests"], document["left_in_flight"], document["adds_up"]) == (
        3000,
        0,
        True,
    )
    assert sum(backend["requests"] for backend in document["backends"]) == 3000
    assert (
        max(backend["most_in_flight"] for backend in document["backends"])
        == document["most_in_flight"]
        >= 1
    )
    assert all(
        backend["avg_latency_ms"] > 0 for backend in document["backends"] if backend["requests"]
    )


def test_replay_reads_a_fleet_file_or_a_catalogue_and_a_trace(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_json(capsys, "--fleet", "fleet.toml", "--trace", "trace.csv")
    assert ([backend["id"] for backend in document["backends"]], document["requests"]) == (
        ["a", "b"],
        2,
    )
    assert (
        run_json(capsys, "--fleet", "fleet.toml", "--trace", "trace.csv", "--requests", "7")[
            "total_requests"
        ]
        == 7
    )
    document = run_json(capsys, "--catalogue", "cat.json", "--trace", "trace.csv")
    assert ([backend["id"] for backend in document["backends"]], document["requests"]) == (
        ["P One", "q"],
        2,
    )


@pytest.mark.parametrize("policy", Policy)
def test_replay_uses_the_given_policy(capsys: pytest.CaptureFixture[str], policy: str) -> None:
    document = run_json(capsys, "--policy", policy, "--requests", "50")
    assert (document["policy"], document["total_requests"]) == (policy, 50)


def test_all_policies_replay_the_same_trace(capsys: pytest.CaptureFixture[str]) -> None:
    alone = run_json(capsys, "--requests", "600")
    outcomes = run_json(capsys, "--policy", "all", "--requests", "600")["policies"]
    assert [outcome["policy"] for outcome in outcomes] == list(Policy)
    for outcome in outcomes:
        assert outcome.keys() == alone.keys()
        assert (outcome["adds_up"], outcome["total_requests"], outcome["left_in_flight"]) == (
            True,
            600,
            0,
        )
        assert sum(backend["requests"] for backend in outcome["backends"]) == 600
        assert outcome["evenness"] >= 1
        assert (
            0
            < outcome["latency_ms"]["p50"]
            <= outcome["latency_ms"]["p95"]
            <= outcome["latency_ms"]["p99"]
        )


def test_all_policies_are_in_one_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["replay", "--policy", "all", "--requests", "600"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (heading,) = (line for line in lines if "policy" in line.split())
    assert heading.split() == ["policy", "requests/s", "flight", "evenness", "p50", "p95", "p99"]
    rows = [line.split() for line in lines if line.split()[:1] and line.split()[0] in list(Policy)]
    assert [(row[0], len(row)) for row in rows] == [(policy, 7) for policy in Policy]
    assert "every policy: OK: 0 left in flight; totals add up to 600 requests" in lines
    assert max(map(len, lines)) <= 80


def test_refused_requests_are_counted(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "full.toml").write_text(
        '[[backends]]\nname = "a"\nurl = "http://a"\nmodels = ["m"]\nmax_pending = 1\n'
    )
    (files / "burst.csv").write_text(HEADER + "2023-11-16 18:15:46,1,0\n" * 3)
    command = ["replay", "--fleet", "full.toml", "--trace", "burst.csv", "--threads", "1"]
    for policy in ("random", "all"):
        assert main([*command, "--policy", policy]) == 0
        assert (
            "OK: 0 left in flight; totals add up to 1 requests, 2 refused"
            in capsys.readouterr().out
        )


def lines_of(path: Path) -> dict[str, str]:
    """The path of each policy's line in an SVG, by the policy's name."""
    drawn = {}
    for group in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}g"):
        if group.get("id", "").startswith("policy-"):
            drawn[group.attrib["id"].removeprefix("policy-")] = group[0].attrib["d"]
    return drawn


def test_the_plot_has_a_line_per_policy(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--policy", "all", "--requests", "300", "--plot", "all.svg"]) == 0
    drawn = lines_of(files / "all.svg")
    assert list(drawn) == list(Policy)
    assert all(path.count("L") > 50 for path in drawn.values())
    words = [
        text.text
        for text in ElementTree.parse(files / "all.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {*Policy, "simulated time (s)", "requests in flight"} <= set(words)
    assert "evenness" in capsys.readouterr().out


def test_equal_replays_give_equal_plots(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "one.toml").write_text(FLEET.rpartition("[[")[0])
    for name in ("one.svg", "two.svg"):
        run_json(
            capsys,
            "--policy",
            "priority",
            "--fleet",
            "one.toml",
            "--requests",
            "50",
            "--threads",
            "1",
            "--plot",
            name,
        )
    assert list(lines_of(files / "one.svg")) == ["priority"]
    assert (files / "one.svg").read_bytes() == (files / "two.svg").read_bytes()


def test_requests_may_take_no_time(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "zero.csv").write_text(HEADER + "2023-11-16 18:15:46,0,0\n")
    command = ["replay", "--fleet", "fleet.toml", "--trace", "zero.csv", "--plot", "zero.svg"]
    assert main(command) == 0
    assert "evenness -; simulated latency p50 0, p95 0, p99 0 ms" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evenness"] is None


def test_replay_prints_tables(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--fleet", "fleet.toml", "--trace", "trace.csv"]) == 0
    out = capsys.readouterr().out
    for part in (
        "The registry after the replay, policy least_pending",
        "most in flight",
        "avg latency (ms)",
        "evenness",
        "requests/s",
        "OK: 0 left in flight; totals add up to 2 requests",
    ):
        assert part in out
    assert "\x1b" not in out


def test_a_long_table_counts_the_rows_that_it_omits(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = "".join(
        f'[[backends]]\nname = "b{n}"\nurl = "http://h"\nmodels = ["m"]\n' for n in range(50)
    )
    (files / "many.toml").write_text(many)
    assert main(["replay", "--fleet", "many.toml", "--requests", "10"]) == 0
    assert "... and 10 more backends" in capsys.readouterr().out


def test_show_prints_tables_or_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--fleet", "fleet.toml"]) == 0
    out = capsys.readouterr().out
    assert "2 backends" in out
    assert "2 models" in out
    assert "a, b" in out
    assert main(["show", "--fleet", "fleet.toml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [Backend.from_json(json.dumps(entry)).id for entry in document["backends"]] == ["a", "b"]


@pytest.mark.parametrize("command", [["--version"], ["--version", "replay"], ["--vers"]])
def test_the_version_is_printed(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 0
    assert capsys.readouterr() == (f"backend-registry {registry.__version__}\n", "")
