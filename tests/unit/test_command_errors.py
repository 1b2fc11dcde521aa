"""How the commands of `python -m registry` fail: one line on stderr, and an exit status."""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from support.command_files import FLEET, TRACE, enter_folder_with_files

from registry import Policy
from registry.cli import follow
from registry.cli.main import main
from registry.cli.replay import engine, inputs
from registry.cli.replay.worker import Worker


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a fleet, a trace and a catalogue."""
    return enter_folder_with_files(tmp_path, monkeypatch)


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


def test_without_matplotlib_the_error_says_what_to_install(
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


def test_counts_that_do_not_add_up_are_status_1(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish_one = Worker.finish_one

    def count_one_too_many(self: Worker) -> None:
        if self.policy == Policy.RANDOM:
            self.registry.increment_pending("b")
        finish_one(self)

    monkeypatch.setattr(Worker, "finish_one", count_one_too_many)
    command = ["replay", "--fleet", "fleet.toml", "--trace", "trace.csv"]
    failed = "FAILED: 2 left in flight; totals 2, finished 2, 0 refused of 2 requests"
    for policy, line in (("random", failed), ("all", f"random: {failed}")):
        assert main([*command, "--policy", policy, "--json"]) == 1
        assert '"adds_up": false' in capsys.readouterr().out
        assert main([*command, "--policy", policy]) == 1
        assert line in capsys.readouterr().out.splitlines()
    assert main(command) == 0


MALFORMED = [
    (["show", "--fleet", "nope.toml"], "nope.toml: No such file"),
    (["show", "--diff", "fleet.toml", "nope.toml"], "nope.toml: No such file"),
    (["show", "--diff", "bad", "nope.toml"], "bad: expected TOML"),
    (["follow", "--fleet", "bad"], "bad: expected TOML"),
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
    [
        [],
        ["replay", "--fleet", "a", "--catalogue", "b"],
        ["replay", "--policy", "fastest"],
        ["show"],
        ["show", "--diff", "a"],
        ["show", "--diff", "a", "b", "--fleet", "c"],
        ["follow"],
    ],
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
def test_a_file_of_another_format_is_an_error(
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
    assert error.endswith(f"{inputs.FORMATS}\n")
    assert "$" not in error
    assert error.count("\n") == 1


def test_show_names_the_format_that_it_takes(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--fleet", "cat.json"]) == 2
    assert capsys.readouterr().err.startswith("registry: cat.json: expected TOML")


# In the order of the checks: arguments, files, optional packages. Then the work begins.
MISTAKES = {
    "argument": "argument --threads",
    "fleet": "nope.toml: No such file",
    "trace": "nope.csv: No such file",
    "plot": "no/such.svg: No such file",
    "matplotlib": "--plot needs matplotlib",
    "rich": "tables need rich",
}
SUBSETS = [wrong for size in range(1, 7) for wrong in combinations(MISTAKES, size)]


@pytest.mark.parametrize("wrong", SUBSETS, ids=lambda wrong: "-".join(wrong))
def test_the_first_of_several_mistakes_is_reported(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wrong: tuple[str, ...],
) -> None:
    def work(*_given: Any) -> None:
        raise AssertionError("the replay has begun")

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
    assert MISTAKES[wrong[0]] in captured.err
    assert not any(MISTAKES[other] in captured.err for other in wrong[1:])
    assert set(files.iterdir()) == before


@pytest.mark.parametrize("fleet", ["nope.toml", "cat.json"])
def test_show_reports_a_wrong_file_before_a_missing_package(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fleet: str
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    for json_too in ([], ["--json"]):
        assert main(["show", "--fleet", fleet, *json_too]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"registry: {fleet}: ")
        assert "rich" not in error


def test_an_interrupted_replay_writes_no_plot(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "replay", interrupt)
    (files / "old.svg").write_text("old")
    for name in ("new.svg", "old.svg"):
        assert main(["replay", "--json", "--plot", name]) == 130
    assert not (files / "new.svg").exists()
    assert (files / "old.svg").read_text() == "old"


def test_without_rich_the_error_says_what_to_install(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["show", "--fleet", "fleet.toml"]) == 2
    assert "pip install 'backend-registry[cli]'" in capsys.readouterr().err
    assert main(["show", "--fleet", "fleet.toml", "--json"]) == 0
    assert main(["show", "--diff", "fleet.toml", "fleet.toml"]) == 0


def test_without_watchfiles_the_error_says_what_to_install(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow_anyway(*_arguments: Any) -> None:
        raise AssertionError("the file is followed")

    monkeypatch.setattr(follow, "_print_changes", follow_anyway)
    for module in ("watchfiles", "watchfiles._rust_notify"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["follow", "--fleet", "fleet.toml"]) == 2
    assert capsys.readouterr() == (
        "",
        "registry: follow needs watchfiles: pip install 'backend-registry[follow]'\n",
    )
    for wrong, problem in (("nope.toml", "No such file"), ("cat.json", "expected TOML")):
        assert main(["follow", "--fleet", wrong]) == 2
        assert capsys.readouterr().err.startswith(f"registry: {wrong}: {problem}")


def test_an_interrupt_is_status_130(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    def interrupt(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "replay", interrupt)
    assert main(["replay", "--json"]) == 130


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "1_0", "9" * 5000])
def test_a_count_is_a_whole_number_from_one_up(
    capsys: pytest.CaptureFixture[str], number: str
) -> None:
    for option in ("--threads", "--requests"):
        with pytest.raises(SystemExit) as caught:
            main(["replay", f"{option}={number}"])
        assert caught.value.code == 2
        assert f"argument {option}: expected a whole number from 1 up" in capsys.readouterr().err
