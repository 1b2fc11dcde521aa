"""How the commands use the terminal: the progress bar, and standard output in all conditions."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registry.cli import terminal
from registry.cli.main import main


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

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
def test_without_terminal_or_rich_there_is_no_progress_bar(
    monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    stderr = Terminal() if missing else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with terminal.progress_bar("replaying", 10) as progress:
        progress(7)
    assert stderr.getvalue() == ""


def test_ids_are_printed_without_markup_and_with_escaped_controls(
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
    """Runs `python -m registry` in a new process whose stdout is buffered."""
    environment = {**os.environ, **options.pop("env", {})}
    environment.pop("PYTHONUNBUFFERED", None)
    arguments = [sys.executable, "-m", "registry", *command.split()]
    return subprocess.run(
        arguments, stderr=subprocess.PIPE, timeout=60, check=False, env=environment, **options
    )


@pytest.mark.parametrize("command", ["replay --requests 50", "replay --requests 50 --json"])
def test_a_closed_pipe_is_no_error(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(command, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_a_message_without_stderr_is_lost_but_not_the_exit_status(redirection: str) -> None:
    command = f"{sys.executable} -m registry show --fleet nope.toml {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


def test_warnings_are_printed_like_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.toml").write_text(
        '[[backends]]\nname = "a"\nurl = "http://a"\nmodels = ["m"]\nweigth = 2\n'
    )
    for command in (["show", "--json"], ["replay", "--requests", "5", "--json"]):
        assert main([*command, "--fleet", str(tmp_path / "f.toml")]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)
        assert captured.err.startswith("registry: ")
        assert "weigth is not known and was ignored" in captured.err
        assert captured.err.count("\n") == 1


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


def test_characters_that_stdout_lacks_are_escaped(tmp_path: Path) -> None:
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
