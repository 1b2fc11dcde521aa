"""`python -m registry`: replay and show, as a user calls them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import registry
from registry import Backend, Policy
from registry.cli import terminal
from registry.cli.main import main
from registry.cli.replay import engine, inputs

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50,396,109\r\n\r\n"
FLEET = '[[backends]]\nname = "a"\nurl = "http://a"\nmodels = ["m", "n"]\n[[backends]]\nname = "b"\nurl = "http://b"\nmodels = ["m"]\n'


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a fleet, a trace and a catalogue, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "trace.csv").write_text("\ufeff" + TRACE, encoding="utf-8")
    (tmp_path / "cat.json").write_text('{"x/m": {"provider": "P One"}, "m": {"provider": "q"}}')
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The document of a replay that went well."""
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


def test_a_fleet_file_or_a_catalogue_and_a_trace(
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
def test_a_policy_by_name(capsys: pytest.CaptureFixture[str], policy: str) -> None:
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


def test_all_policies_are_shown_in_one_table(
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


def test_what_is_refused_is_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "full.toml").write_text(
        '[[backends]]\nname = "a"\nurl = "http://a"\nmodels = ["m"]\nmax_pending = 1\n'
    )
    (files / "burst.csv").write_text(TRACE.splitlines()[0] + "\n2023-11-16 18:15:46,1,0\n" * 3)
    command = ["replay", "--fleet", "full.toml", "--trace", "burst.csv", "--threads", "1"]
    for policy in ("random", "all"):
        assert main([*command, "--policy", policy]) == 0
        assert (
            "OK: 0 left in flight; totals add up to 1 requests, 2 refused"
            in capsys.readouterr().out
        )


def lines_of(path: Path) -> dict[str, str]:
    """The paths of an SVG's policies, by the policy's name."""
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


def test_requests_that_take_no_time(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "zero.csv").write_text(TRACE.splitlines()[0] + "\n2023-11-16 18:15:46,0,0\n")
    command = ["replay", "--fleet", "fleet.toml", "--trace", "zero.csv", "--plot", "zero.svg"]
    assert main(command) == 0
    assert "evenness -; simulated latency p50 0, p95 0, p99 0 ms" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evenness"] is None


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no/such.svg", "no/such.svg: No such file"),
        (".", ".: Is a directory"),
        ("/dev/full", "/dev/full: No space left"),
    ],
)
def test_a_plot_that_cannot_be_written_is_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], path: str, problem: str
) -> None:
    assert main(["replay", "--requests", "5", "--json", "--plot", path]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"registry: {problem}")
    assert captured.err.count("\n") == 1


def test_without_matplotlib_it_says_what_to_install(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["replay", "--requests", "5", "--json", "--plot", "p.svg"]) == 2
    assert capsys.readouterr() == (
        "",
        "registry: --plot needs matplotlib: pip install 'backend-registry[plot]'\n",
    )
    assert not (files / "p.svg").exists()
    assert main(["replay", "--requests", "5", "--json"]) == 0


def test_a_failed_check_is_status_1(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_one = engine.Worker.finish_one

    def count_one_too_many(self: engine.Worker) -> None:
        if self.policy == Policy.RANDOM:
            self.registry.increment_pending("b")
        finish_one(self)

    monkeypatch.setattr(engine.Worker, "finish_one", count_one_too_many)
    command = ["replay", "--fleet", "fleet.toml", "--trace", "trace.csv"]
    failed = "FAILED: 2 left in flight; totals 2, finished 2, 0 refused of 2 requests"
    for policy, told in (("random", failed), ("all", f"random: {failed}")):
        assert main([*command, "--policy", policy, "--json"]) == 1
        assert '"adds_up": false' in capsys.readouterr().out
        assert main([*command, "--policy", policy]) == 1
        assert told in capsys.readouterr().out.splitlines()
    assert main(command) == 0


def test_the_table(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--fleet", "fleet.toml", "--trace", "trace.csv"]) == 0
    out = capsys.readouterr().out
    for part in (
        "What the registry knows, by least_pending",
        "most in flight",
        "avg latency (ms)",
        "evenness",
        "requests/s",
        "OK: 0 left in flight; totals add up to 2 requests",
    ):
        assert part in out
    assert "\x1b" not in out


def test_a_long_table_says_what_it_leaves_out(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = "".join(
        f'[[backends]]\nname = "b{n}"\nurl = "http://h"\nmodels = ["m"]\n' for n in range(50)
    )
    (files / "many.toml").write_text(many)
    assert main(["replay", "--fleet", "many.toml", "--requests", "10"]) == 0
    assert "... and 10 more backends" in capsys.readouterr().out


def test_show(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--fleet", "fleet.toml"]) == 0
    out = capsys.readouterr().out
    assert "2 backends" in out
    assert "2 models" in out
    assert "a, b" in out
    assert main(["show", "--fleet", "fleet.toml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [Backend.from_json(json.dumps(entry)).id for entry in document["backends"]] == ["a", "b"]


MALFORMED = [
    (["show", "--fleet", "nope.toml"], "nope.toml: No such file"),
    (["replay", "--trace", "nope.csv"], "nope.csv: No such file"),
    (["replay", "--catalogue", "nope.json"], "nope.json: No such file"),
    (["replay", "--fleet", "bad"], "bad: expected TOML"),
    (["replay", "--catalogue", "bad"], "bad: expected a model catalogue in JSON: JSON is"),
    (["replay", "--fleet", "empty"], "empty: expected a backend with a model"),
]


@pytest.mark.parametrize(("arguments", "message"), MALFORMED)
def test_wrong_input_is_one_line_and_status_2(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (files / "bad").write_text("nonsense nonsense\n")
    (files / "empty").write_text("")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"registry: {message}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["replay", "--fleet", "a", "--catalogue", "b"], ["replay", "--policy", "fastest"]],
)
def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


CONTENTS: dict[str, str | bytes] = {
    "fleet.toml": FLEET,
    "cat.json": '{"x/m": {"provider": "P One"}}',
    "pretty.json": '{\n  "x/m": {"provider": "P One"}\n}\n',
    "long.json": json.dumps({"x" * 200_000: {"provider": "p"}}),
    "list.json": "[]",
    "trace.csv": TRACE,
    "binary": b"\x89PNG\r\n\x1a\n\0\0\xff",
}
TAKES = {
    "--fleet": ("expected TOML", ["fleet.toml"]),
    "--catalogue": ("expected a model catalogue in JSON", ["cat.json", "pretty.json", "long.json"]),
    "--trace": ("expected", ["trace.csv"]),
}


@pytest.mark.parametrize("option", TAKES)
@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_of_another_format_is_told(
    files: Path, capsys: pytest.CaptureFixture[str], option: str, name: str
) -> None:
    expected, right = TAKES[option]
    content = CONTENTS[name]
    (files / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if name in right:
        assert main(["replay", "--json", option, name]) == 0
        return
    assert main(["replay", "--json", option, name]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"registry: {name}:")
    assert expected in error or "expected UTF-8" in error
    assert error.endswith("(--fleet takes TOML, --catalogue JSON, --trace CSV)\n")
    assert "$" not in error
    assert error.count("\n") == 1


def test_show_says_which_format_it_takes(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--fleet", "cat.json"]) == 2
    assert capsys.readouterr().err.startswith("registry: cat.json: expected TOML")


@pytest.mark.parametrize("command", [["--version"], ["--version", "replay"], ["--vers"]])
def test_the_version(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 0
    assert capsys.readouterr() == (f"backend-registry {registry.__version__}\n", "")


# In the order in which they are told: arguments, files, what is not installed; then work begins.
WRONG = {
    "argument": "argument --threads",
    "fleet": "nope.toml: No such file",
    "trace": "nope.csv: No such file",
    "plot": "no/such.svg: No such file",
    "matplotlib": "--plot needs matplotlib",
    "rich": "tables need rich",
}
SUBSETS = [wrong for size in range(1, 7) for wrong in combinations(WRONG, size)]


@pytest.mark.parametrize("wrong", SUBSETS, ids=lambda wrong: "-".join(wrong))
def test_of_several_mistakes_the_first_is_told(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wrong: tuple[str, ...],
) -> None:
    def work(*_given: Any) -> None:
        raise AssertionError("the work has begun")

    for place, name in ((engine, "replay"), (inputs, "stretch"), (inputs, "draw_models")):
        monkeypatch.setattr(place, name, work)
    for extra, module in (("rich", "rich.console"), ("matplotlib", "matplotlib")):
        if extra in wrong:
            monkeypatch.setitem(sys.modules, module, None)
    before = set(files.iterdir())
    given = {
        "--threads": "0" if "argument" in wrong else "1",
        "--fleet": "nope.toml" if "fleet" in wrong else "fleet.toml",
        "--trace": "nope.csv" if "trace" in wrong else "trace.csv",
        "--plot": "no/such.svg" if "plot" in wrong else "p.svg",
    }
    command = ["replay", *(word for option in given.items() for word in option)]
    if "argument" in wrong:
        with pytest.raises(SystemExit):
            main(command)
    else:
        assert main(command) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert WRONG[wrong[0]] in captured.err
    assert not any(WRONG[other] in captured.err for other in wrong[1:])
    assert set(files.iterdir()) == before


@pytest.mark.parametrize("fleet", ["nope.toml", "cat.json"])
def test_show_tells_a_wrong_file_before_a_missing_rich(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fleet: str
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    for json_too in ([], ["--json"]):
        assert main(["show", "--fleet", fleet, *json_too]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"registry: {fleet}: ")
        assert "rich" not in error


def test_an_interrupted_replay_leaves_no_plot(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "replay", interrupt)
    (files / "old.svg").write_text("old")
    for name in ("new.svg", "old.svg"):
        assert main(["replay", "--json", "--plot", name]) == 130
    assert not (files / "new.svg").exists()
    assert (files / "old.svg").read_text() == "old"


def test_without_rich_it_says_what_to_install(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["show", "--fleet", "fleet.toml"]) == 2
    assert "pip install 'backend-registry[cli]'" in capsys.readouterr().err
    assert main(["show", "--fleet", "fleet.toml", "--json"]) == 0


def test_interrupted(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "replay", interrupt)
    assert main(["replay", "--json"]) == 130


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_progress_bar_is_drawn_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress_bar("replaying", 10) as progress:
        progress(7)
    assert "replaying" in stderr.getvalue()
    assert "7/10" in stderr.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing", ["rich.progress", None])
def test_there_is_no_progress_bar_without_terminal_or_rich(
    monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    stderr = Terminal() if missing else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with terminal.progress_bar("replaying", 10) as progress:
        progress(7)
    assert stderr.getvalue() == ""


def test_ids_are_shown_as_they_are_but_cannot_control_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "f.toml").write_text(
        '[[backends]]\nname = "[/b] :fire: \\u001b[31m\\n"\nurl = "http://a"\nmodels = ["m"]\n'
    )
    for command in (["replay", "--requests", "5"], ["show"]):
        assert main([*command, "--fleet", str(tmp_path / "f.toml")]) == 0
        out = capsys.readouterr().out
        assert r"[/b] :fire: \x1b[31m\n" in out
        assert "\x1b" not in out


def run(command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """`python -m registry` as a process of its own, with a buffered stdout whatever the tests themselves run with."""
    environment = {**os.environ, **options.pop("env", {})}
    environment.pop("PYTHONUNBUFFERED", None)
    arguments = [sys.executable, "-m", "registry", *command.split()]
    return subprocess.run(
        arguments, stderr=subprocess.PIPE, timeout=60, check=False, env=environment, **options
    )


@pytest.mark.parametrize("command", ["replay --requests 50", "replay --requests 50 --json"])
def test_a_reader_that_has_gone_away_is_no_error(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(command, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("command", ["replay --requests 50", "replay --requests 50 --json"])
def test_a_full_disk_is_one_line(command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = run(command, stdout=full)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"No space left on device" in done.stderr


def test_a_closed_stdout_is_one_line() -> None:
    command = f"{sys.executable} -m registry replay --requests 50 --json >&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, b"registry: standard output is closed\n")


def test_a_stdout_that_cannot_express_an_id(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_text(
        '[[backends]]\nname = "gpü"\nurl = "http://a"\nmodels = ["m"]\n', encoding="utf-8"
    )
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    for command in ("show", "replay --requests 5"):
        done = run(
            f"{command} --fleet {tmp_path / 'f.toml'}", stdout=subprocess.PIPE, env=ascii_only
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"gp\xfc" in done.stdout
        done = run(
            f"{command} --json --fleet {tmp_path / 'f.toml'}",
            stdout=subprocess.PIPE,
            env=ascii_only,
        )
        assert json.loads(done.stdout)["backends"][0]["id"] == "gpü"
