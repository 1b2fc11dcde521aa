"""Files of faults, the built-in set, and what `replay` prints with them."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest
from support.command_files import enter_folder_with_files

from registry import Policy, load_fleet
from registry.cli.main import main
from registry.cli.replay import fault_files, inputs
from registry.cli.replay._faults import Down, ErrorRate, FastFailure, SlowStart, TimeOut, TooMany

ALL = """\
[[faults]]
backend = "a"
kind = "fast_failure"

[[faults]]
backend = "a"
kind = "time_out"
from = "90 s"
to = "2.5 min"
seconds = 30

[[faults]]
backend = "b"
kind = "error_rate"
rate = 0.5

[[faults]]
backend = "b"
kind = "too_many_requests"
retry_after = 20

[[faults]]
backend = "b"
kind = "slow_start"
requests = 3
times = 20

[[faults]]
backend = "a"
kind = "down"
from = "10min"
to = "20min"
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a fleet of `a` and `b`, and a trace."""
    return enter_folder_with_files(tmp_path, monkeypatch)


def test_a_file_may_have_every_kind(files: Path) -> None:
    (files / "f.toml").write_text(ALL)
    faults = fault_files.read_faults("f.toml", load_fleet("fleet.toml"))
    assert [(type(fault), fault.backend) for fault in faults] == [
        (FastFailure, "a"),
        (TimeOut, "a"),
        (ErrorRate, "b"),
        (TooMany, "b"),
        (SlowStart, "b"),
        (Down, "a"),
    ]
    assert [(fault.start, fault.end) for fault in faults] == [
        (0.0, inf),
        (90.0, 150.0),
        *[(0.0, inf)] * 3,
        (600.0, 1200.0),
    ]


def fault(**given: str) -> str:
    """A table of one fault, a fast failure of `a` unless `given` differs."""
    lines = {"backend": '"a"', "kind": '"fast_failure"'} | given
    return "[[faults]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


MOMENT = 'expected a time such as "90 s" or "10 min", not '


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("faults = 1\n", "faults: expected `array`, got `int`"),
        ("", "faults: missing: this key is required"),
        ("[[fault]]\n", "object contains unknown field `fault`"),
        ("nonsense nonsense\n", "expected TOML"),
        (fault(kind='"slow"'), "faults[0].kind: invalid value 'slow'"),
        (fault(backend='"c"'), "faults[0].backend: expected the id of a backend of the fleet"),
        (fault() + fault(rate="1"), "faults[1]: object contains unknown field `rate`"),
        (fault(kind='"error_rate"'), "faults[0].rate: missing: this key is required"),
        (fault(kind='"error_rate"', rate="1.5"), "faults[0].rate: expected `float` <= 1"),
        (fault(kind='"error_rate"', rate="nan"), "faults[0].rate: expected `float` >= 0"),
        (fault(kind='"time_out"', seconds="-1"), "faults[0].seconds: expected `float` >= 0"),
        (fault(kind='"slow_start"', requests="0", times="2"), "faults[0].requests: expected `int`"),
        (
            fault(kind='"too_many_requests"', retry_after="inf"),
            "faults[0].retry_after: expected `float` <= 86400",
        ),
        (fault(**{"from": "5"}), f"faults[0].from: {MOMENT}5"),
        (fault(**{"from": '"-1 s"'}), f"faults[0].from: {MOMENT}'-1 s'"),
        (fault(to='"10 h"'), f"faults[0].to: {MOMENT}'10 h'"),
        (fault(to='"0 s"'), "faults[0].to: expected a time after `from`"),
    ],
)
def test_a_mistake_in_a_file_names_its_place(
    files: Path, capsys: pytest.CaptureFixture[str], content: str, problem: str
) -> None:
    (files / "f.toml").write_text(content)
    assert main(["replay", "--fleet", "fleet.toml", "--faults", "f.toml"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"registry: f.toml: {problem}")
    assert captured.err.count("\n") == 1


def test_a_missing_file_is_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--faults", "nope.toml"]) == 2
    assert capsys.readouterr().err.startswith("registry: nope.toml: No such file")


def test_the_demo_has_one_fault_of_each_kind_and_two_at_a_time_at_most() -> None:
    fleet, requests = inputs.synthetic_fleet(), inputs.synthetic_trace()
    faults = fault_files.demo(fleet, requests)
    assert len({fault.kind for fault in faults}) == len(faults) == 6
    assert [fault.backend for fault in faults] == [backend.id for backend in fleet[:6]]
    ends = {fault.end for fault in faults} | {fault.start for fault in faults}
    assert max(sum(fault.holds_at(moment) for fault in faults) for moment in ends) == 2
    assert max(ends) < requests[-1].arrival - 100
    assert all(moment.is_integer() for moment in ends)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_the_demo_suits_any_fleet_and_trace(count: int) -> None:
    fleet, requests = inputs.synthetic_fleet()[:1], inputs.synthetic_trace(count)
    assert {fault.backend for fault in fault_files.demo(fleet, requests)} == {"gpu-00"}


def test_faults_are_in_the_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "f.toml").write_text(ALL)
    command = ["replay", "--fleet", "fleet.toml", "--json", "--requests", "400", "--threads", "1"]
    assert main(command) == 0
    without = json.loads(capsys.readouterr().out)
    assert main([*command, "--faults", "f.toml", "--no-ejection"]) == 0
    document = json.loads(capsys.readouterr().out)
    new = {"failed_attempts", "retries", "failed_requests", "faulty_share", "faults"}
    assert set(document) - set(without) == new
    assert document["adds_up"]
    kinds = [fault["kind"] for fault in document["faults"]]
    assert kinds[0] == "fast_failure"
    assert document["faults"][5]["from"] == 600.0
    assert document["faults"][0]["to"] is None
    assert document["failed_attempts"] == sum(fault["failed"] for fault in document["faults"]) > 0


def test_faults_add_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["replay", "--faults", "demo", "--requests", "2000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("The faults, and the requests that met them") for line in lines)
    rows = {line.split()[1]: line.split() for line in lines if line.count(" gpu-") == 1}
    for kind in ("fast_failure", "time_out", "error_rate", "too_many_requests", "slow_start"):
        assert len(rows[kind]) == 7
    assert max(map(len, lines[:-2])) <= 94


def test_all_policies_with_faults_are_in_one_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["replay", "--policy", "all", "--faults", "demo", "--requests", "2000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    second = lines[next(i for i, line in enumerate(lines) if line.startswith("The 6 faults")) :]
    rows = [line.split() for line in second if line.split()[:1] and line.split()[0] in list(Policy)]
    assert [(row[0], len(row)) for row in rows] == [(policy, 6) for policy in Policy]


def test_ejection_keeps_requests_from_faulty_backends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["replay", "--policy", "all", "--faults", "demo", "--json", "--threads", "1"]
    figures = []
    for options in ([], ["--no-ejection"]):
        assert main([*command, *options]) == 0
        figures.append(json.loads(capsys.readouterr().out)["policies"])
    for ejecting, trusting in zip(*figures, strict=True):
        assert ejecting["failed_attempts"] < trusting["failed_attempts"] / 2
        assert ejecting["faulty_share"] < 0.03 < trusting["faulty_share"]
