"""`python -m registry follow`: a line for each change of a fleet file that is followed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest
from support.command_files import NEW, OLD

from registry import Backend, Change, ChangeKind, Registry, Watch
from registry.cli import follow
from registry.cli.main import main

LIMIT = 60.0  # seconds until a child that hangs is killed


class Following:
    """A process that follows `fleet.toml` in a folder."""

    def __init__(self, folder: Path, content: str) -> None:
        self.file = folder / "fleet.toml"
        self.write(content)
        command = [sys.executable, "-m", "registry", "follow", "--fleet", "fleet.toml"]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": "", "PYTHONIOENCODING": "utf-8"},
        )
        self._timer = Timer(LIMIT, self.process.kill)
        self._timer.start()

    def write(self, content: str) -> None:
        """Replaces the file, so nobody sees half of it."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(content, encoding="utf-8")
        fresh.replace(self.file)

    def line(self) -> str:
        """The next line, without its time."""
        assert self.process.stdout is not None
        time, _, text = self.process.stdout.readline().rstrip("\n").partition(" ")
        assert re.fullmatch(r"\d\d:\d\d:\d\d", time), (time, text)
        return text

    def warning(self) -> str:
        """The next line of stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self) -> tuple[int, str, str]:
        """The exit status, and what was not read of stdout and stderr."""
        rest = self.process.communicate()
        return self.process.returncode, *rest

    def kill(self) -> None:
        """Ends the process, if it still runs, and closes its pipes."""
        self._timer.cancel()
        with self.process:
            self.process.kill()

    def interrupt(self) -> tuple[int, str, str]:
        """Ends the process as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        return self.end()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children can be interrupted, even if the shell of the tests ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def following(tmp_path: Path, interruptible: None) -> Iterator[Following]:
    """A process that has loaded OLD."""
    child = Following(tmp_path, OLD)
    try:
        assert child.line() == "loaded   4 backends from fleet.toml"
        yield child
    finally:
        child.kill()


def test_each_change_of_a_reload_is_a_line(
    following: Following, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    following.write(NEW)
    followed = [following.line() for _ in range(4)]
    following.write(OLD)
    back = [following.line() for _ in range(4)]
    assert following.interrupt() == (130, "", "")
    for name, content in (("old.toml", OLD), ("new.toml", NEW)):
        (tmp_path / name).write_text(content)
    for lines, pair in ((followed, ("old.toml", "new.toml")), (back, ("new.toml", "old.toml"))):
        assert main(["show", "--diff", *(str(tmp_path / name) for name in pair)]) == 1
        assert sorted(lines) == sorted(capsys.readouterr().out.splitlines()[:-1])


def test_a_reload_that_fails_is_a_line_on_stderr(following: Following) -> None:
    for content in ("nonsense \x1b[31m\n", "", OLD + OLD):
        following.write(content)
        assert following.warning().startswith("registry: fleet.toml")
    following.write(OLD + '[[backends]]\nname = "new"\nurl = "http://new"\n')
    assert following.line() == "added    new  http://new, 0 models"
    status, out, err = following.interrupt()
    assert (status, out) == (130, "")
    assert "\x1b" not in err


def test_values_of_settings_are_never_printed(following: Following) -> None:
    following.write(OLD.replace("s3cret-old", "s3cret-new"))
    assert following.line() == "updated  edited  settings differ"
    following.write(OLD + '[backends.settings]\nkey = "s3cret-bad" s3cret-bad\n')
    warning = following.warning()
    assert warning.startswith("registry: fleet.toml")
    status, out, err = following.interrupt()
    assert (status, out) == (130, "")
    assert "s3cret" not in warning + err


def test_a_closed_pipe_ends_the_command(following: Following) -> None:
    assert following.process.stdout is not None
    following.process.stdout.close()
    following.process.stdout = None
    following.write(NEW)
    assert following.end()[::2] == (0, "")


def test_a_file_that_is_missing_at_the_start_is_a_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "nope.toml"
    assert main(["follow", "--fleet", str(missing)]) == 2
    assert capsys.readouterr() == ("", f"registry: {missing}: No such file or directory\n")


# ---- lines


def described(watch: Watch) -> list[str]:
    """The lines of the changes that wait to be read."""
    lines = []
    while (change := watch.get(timeout=0)) is not None:
        lines.append(follow.described(change, watch))
    return lines


def test_changes_that_a_file_can_not_make_are_described() -> None:
    registry = Registry()
    with registry.watch() as watch:
        registry.add_backend(Backend("a b", "a", "http://a"))
        registry.update_status("a b", "unhealthy", "refused, twice")
        registry.update_status("a b", "healthy")
        registry.drain("a b")
        registry.resume("a b")
        registry.remove_backend("a b")
        assert described(watch) == [
            'added    "a b"  http://a, 0 models',
            'status   "a b"  status unknown -> unhealthy, last_error none -> "refused, twice"',
            'status   "a b"  status unhealthy -> healthy, last_error "refused, twice" -> none',
            'draining "a b"  draining false -> true',
            'draining "a b"  draining true -> false',
            'removed  "a b"  http://a, 0 models',
        ]


def test_changes_that_were_dropped_are_a_line() -> None:
    registry = Registry()
    with registry.watch(limit=2) as watch:
        for n in range(5):
            registry.add_backend(Backend(f"b{n}", "b", "http://b"))
        lines = described(watch)
    assert lines[0].startswith("overflowed too many changes to print each; now ")
    assert lines[0].endswith(" backends")


def test_a_change_of_another_kind_is_described() -> None:
    registry = Registry()
    registry.add_backend(Backend("a", "a", "http://a"))
    view = registry.get_backend("a")
    change = Change(ChangeKind.AVAILABILITY, 1, "a", view, view)
    with registry.watch() as watch:
        assert follow.described(change, watch) == "availability a"
