"""The replay's parts: what it reads, how the load behaves, and what it writes where."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import Backend, Model, Registry, _terminal
from registry.__main__ import main
from registry.replay import engine, inputs
from registry.replay.inputs import Request

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROW = "2023-11-16 18:15:46.6805900,374,44\n"


def fleet_of(*ids: str) -> list[Backend]:
    """Backends that all serve the model `m`."""
    return [Backend(name, name, f"http://host-{n}", models=[Model("m")]) for n, name in enumerate(ids)]


def worker_on(registry: Registry, requests: list[Request], speed: float = 10.0) -> engine.Worker:
    """A worker whose backends all generate `speed` tokens a second."""
    return engine.Worker(registry, dict.fromkeys(registry, speed), requests, ["m"] * len(requests), random.Random(1))


def registry_of(*ids: str) -> Registry:
    """Healthy backends that all serve the model `m`."""
    registry = Registry()
    for backend in fleet_of(*ids):
        registry.add_backend(backend)
        registry.update_status(backend.id, "healthy")
    return registry


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


def test_a_timestamp_without_fraction(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{HEADER}2023-11-16 18:15:50,1,2\n2023-11-16 18:15:52,1,2\n")
    assert [request.arrival for request in inputs.read_trace(tmp_path / "t.csv")] == [0.0, 2.0]


@pytest.mark.parametrize("blank", ["\n", "  \n", ",,\n", "\r\n\r\n"])
def test_blank_lines_of_a_trace_are_ignored(tmp_path: Path, blank: str) -> None:
    (tmp_path / "t.csv").write_bytes(f"{HEADER}{ROW}{blank}{ROW}{blank}".encode())
    assert inputs.read_trace(tmp_path / "t.csv") == [Request(0.0, 374, 44)] * 2


def test_other_columns_in_another_order_are_fine(tmp_path: Path) -> None:
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
        (f'{HEADER}{ROW}"{ROW * 3000}', ":3: expected 3 columns, found 1"),
        (f'{HEADER}{ROW}"{ROW * 3000}",1,2\n', ":3: expected a TIMESTAMP"),
        (f'{HEADER}{ROW}"{ROW * 6000}', ":3: expected CSV: field larger than field limit"),
        ("", ":1: expected the columns"),
        (
            "TIMESTAMP,ContextTokens\n" + ROW,
            ":1: expected the columns TIMESTAMP,ContextTokens,GeneratedTokens; missing: GeneratedTokens",
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


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"x/m": {"mode": "chat"}}', "'x/m': Object missing required field `provider`"),
        (
            b'{"x/m": {"provider": "p", "max_input_tokens": "8192"}}',
            "'x/m': max_input_tokens: Expected `float | null`, got `str`",
        ),
        (b'{"a": {"provider": "p"}, "x/m": {"provider": 1}}', "'x/m': provider: Expected `str`, got `int`"),
        (b'{"x/m": {"provider": ""}}', "'x/m': expected a key that ends in a model id, and a provider"),
        (b'{"x/m": {"provider": "\xff"}}', "'x/m': not UTF-8"),
        (b'{"x/\xff": {"provider": "p"}}', "$: not UTF-8"),
        (b"[1]", "$: Expected `object`, got `array`"),
        (b'{"x/m": []}', "'x/m': Expected `object`, got `array`"),
        (b"{}", "expected a backend with a model, found none"),
        (b"", "$: Input data was truncated"),
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
    ("tokens", "expected"), [("null", 4096), ("8192.0", 8192), ("1e300", 2**32 - 1), ("-5", 4096), ("131072", 131072)]
)
def test_odd_windows_of_a_catalogue_are_made_to_fit(tmp_path: Path, tokens: str, expected: int) -> None:
    (tmp_path / "c.json").write_bytes(
        b'\xef\xbb\xbf{"x/m": {"provider": "p", "max_input_tokens": %s}}' % tokens.encode()
    )
    (backend,) = inputs.read_catalogue(tmp_path / "c.json")
    assert backend.models[0].context_length == expected


@pytest.mark.parametrize("option", ["--fleet", "--catalogue", "--trace"])
def test_an_empty_file_name_is_not_the_default(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert main(["replay", option, ""]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "1_0", "9" * 5000])
def test_a_count_is_a_whole_number_from_one_up(capsys: pytest.CaptureFixture[str], number: str) -> None:
    for option in ("--threads", "--requests"):
        with pytest.raises(SystemExit) as caught:
            main(["replay", f"{option}={number}"])
        assert caught.value.code == 2
        assert f"argument {option}: expected a whole number from 1 up" in capsys.readouterr().err


def test_overlapping_requests_are_in_flight_together_until_they_end() -> None:
    registry = registry_of("a")
    seconds_of_ten = 100
    requests = [Request(0.0, 0, seconds_of_ten), Request(5.0, 0, seconds_of_ten), Request(12.0, 0, seconds_of_ten)]
    worker = worker_on(registry, requests)
    worker.run()
    view = registry.get_backend("a")
    assert view is not None
    assert (worker.most_in_flight["a"], worker.done, view.pending_requests, view.total_requests) == (2, 3, 0, 3)
    assert (view.avg_latency_ms, worker.clock) == (10_000, 22.0)


def test_a_prompt_token_costs_a_tenth_of_a_generated_one() -> None:
    registry = registry_of("a")
    worker_on(registry, [Request(0.0, 100, 20)]).run()
    view = registry.get_backend("a")
    assert view is not None
    assert view.avg_latency_ms == (100 / 10 + 20) / 10.0 * 1000


def test_a_full_window_waits_for_the_earliest_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WINDOW", 2)
    registry = registry_of("a")
    worker = worker_on(registry, [Request(0.0, 0, 10)] * 5)
    worker.run()
    assert (worker.most_in_flight["a"], worker.done, worker.clock) == (2, 5, 3.0)


def test_the_healthy_backend_with_the_fewest_in_flight_is_taken() -> None:
    registry = registry_of("busy", "free", "draining", "sick")
    registry.increment_pending_many(["busy", "busy", "free"])
    registry.update_status("draining", "draining")
    registry.update_status("sick", "unhealthy")
    assert worker_on(registry, []).choose(registry.get_backends_for_model("m")) == "free"


def test_ties_do_not_favour_one_backend() -> None:
    registry = registry_of("a", "b", "c")
    far_apart = [Request(1000.0 * n, 0, 1) for n in range(600)]
    worker_on(registry, far_apart).run()
    assert all(150 < view.total_requests < 250 for view in registry.get_all_backends())


def test_eight_threads_lose_nothing() -> None:
    fleet = inputs.made_up_fleet()
    requests = inputs.made_up_trace(4000)
    models = inputs.draw_models(fleet, 4000)
    outcome = engine.replay(fleet, requests, models, threads=8)
    assert outcome.adds_up
    assert (outcome.total, outcome.done, outcome.rejected, outcome.left_in_flight) == (4000, 4000, 0, 0)
    assert set(outcome.most_in_flight) == {view.id for view in outcome.views if view.total_requests}


def test_more_threads_than_requests() -> None:
    outcome = engine.replay(fleet_of("a"), inputs.made_up_trace(3), ["m"] * 3, threads=8)
    assert (outcome.adds_up, outcome.total) == (True, 3)


class Long:
    """Requests or models that a test must not come to the end of."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.exhausted = 0

    def __getitem__(self, _part: slice) -> Iterator[Any]:
        for _ in range(2_000_000):
            yield self.value
        self.exhausted += 1


def test_an_interrupt_stops_the_threads() -> None:
    requests: Any = Long(Request(0.0, 1, 1))
    models: Any = Long("m")

    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        engine.replay(fleet_of("a"), requests, models, 2, interrupt)
    assert requests.exhausted == models.exhausted == 0
    assert threading.active_count() == before


def test_a_thread_that_fails_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: Any = Long(Request(0.0, 1, 1))
    models: Any = Long("m")
    failing = threading.Semaphore(1)
    finish_one = engine.Worker.finish_one

    def fail_once(self: engine.Worker) -> None:
        if failing.acquire(blocking=False):
            raise ZeroDivisionError
        finish_one(self)

    monkeypatch.setattr(engine.Worker, "finish_one", fail_once)
    with pytest.raises(ZeroDivisionError):
        engine.replay(fleet_of("a"), requests, models, 3)
    assert requests.exhausted == models.exhausted == 0


def test_too_many_threads_for_the_system(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    started = []
    start = threading.Thread.start

    def refuse_the_third(self: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_third)
    assert main(["replay", "--threads", "5", "--json"]) == 2
    assert capsys.readouterr().err == "registry: --threads 5: only 2 could be started: can't start new thread\n"
    assert not any(thread.is_alive() for thread in started)


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_progress_bar_is_drawn_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with _terminal.progress_bar("replaying", 10) as progress:
        progress(7)
    assert "replaying" in terminal.getvalue()
    assert "7/10" in terminal.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("missing", ["rich.progress", None])
def test_there_is_no_progress_bar_without_terminal_or_rich(
    monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    stderr = Terminal() if missing else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with _terminal.progress_bar("replaying", 10) as progress:
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
    return subprocess.run(arguments, stderr=subprocess.PIPE, timeout=60, check=False, env=environment, **options)


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
    (tmp_path / "f.toml").write_text('[[backends]]\nname = "gpü"\nurl = "http://a"\nmodels = ["m"]\n', encoding="utf-8")
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    for command in ("show", "replay --requests 5"):
        done = run(f"{command} --fleet {tmp_path / 'f.toml'}", stdout=subprocess.PIPE, env=ascii_only)
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"gp\xfc" in done.stdout
        done = run(f"{command} --json --fleet {tmp_path / 'f.toml'}", stdout=subprocess.PIPE, env=ascii_only)
        assert json.loads(done.stdout)["backends"][0]["id"] == "gpü"
