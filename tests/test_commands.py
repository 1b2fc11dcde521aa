"""`python -m registry`: replay and show, as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from registry import Backend, Registry
from registry.__main__ import main
from registry.replay import engine, inputs

TRACE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50,396,109\r\n\r\n"
FLEET = '[[backends]]\nname = "a"\nurl = "http://a"\nmodels = ["m", "n"]\n[[backends]]\nname = "b"\nurl = "http://b"\nmodels = ["m"]\n'


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a fleet, a trace and a catalogue, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "trace.csv").write_text("\ufeff" + TRACE, encoding="utf-8")
    catalogue: dict[str, Any] = {
        "x/m": {"provider": "P One", "max_input_tokens": 8192.0, "supports_vision": True},
        "x/y/m": {"provider": "P One", "max_input_tokens": 1},
        "m": {"provider": "q", "max_output_tokens": None, "supports_function_calling": True},
    }
    (tmp_path / "cat.json").write_text(json.dumps(catalogue))
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The document of a replay that went well."""
    assert main(["replay", "--json", *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_default_replay_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, "--threads", "8", "--requests", "3000")
    assert (document["total_requests"], document["left_in_flight"], document["adds_up"]) == (3000, 0, True)
    assert sum(backend["requests"] for backend in document["backends"]) == 3000
    assert max(backend["most_in_flight"] for backend in document["backends"]) >= 1
    assert all(backend["avg_latency_ms"] > 0 for backend in document["backends"] if backend["requests"])


def test_a_fleet_file_and_a_trace(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = run_json(capsys, "--fleet", "fleet.toml", "--trace", "trace.csv")
    assert ([backend["id"] for backend in document["backends"]], document["requests"]) == (["a", "b"], 2)
    assert run_json(capsys, "--fleet", "fleet.toml", "--trace", "trace.csv", "--requests", "7")["total_requests"] == 7


def test_a_catalogue(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = inputs.read_catalogue("cat.json")
    assert (one.id, one.url, [model.id for model in one.models]) == ("P One", "https://p-one.example", ["m"])
    assert (one.models[0].context_length, one.models[0].supports_vision, one.models[0].supports_tools) == (
        8192,
        True,
        False,
    )
    assert (two.models[0].context_length, two.models[0].supports_tools) == (4096, True)
    assert run_json(capsys, "--catalogue", "cat.json", "--trace", "trace.csv")["total_requests"] == 2


def test_models_are_drawn_alike_whatever_the_threads_and_popular_ones_more_often() -> None:
    fleet = inputs.made_up_fleet()
    drawn = inputs.draw_models(fleet, 5000)
    assert drawn == inputs.draw_models(fleet, 5000)
    assert drawn[:100] == inputs.draw_models(fleet, 100)
    counts = [drawn.count(model.id) for model in fleet[5].models]
    assert counts[0] == max(counts) > 2 * min(counts)


def test_the_trace_is_read_in_order_of_arrival_and_stretched(files: Path) -> None:
    trace = inputs.read_trace("trace.csv")
    assert [(round(r.arrival, 4), r.context_tokens, r.generated_tokens) for r in trace] == [
        (0.0, 374, 44),
        (3.3194, 396, 109),
    ]
    stretched = inputs.stretch(trace, 5)
    assert [request.context_tokens for request in stretched] == [374, 396, 374, 396, 374]
    assert [request.arrival for request in stretched] == sorted(request.arrival for request in stretched)


def test_a_count_that_is_lost_is_noticed() -> None:
    outcome = engine.replay(inputs.made_up_fleet(), inputs.made_up_trace(50), ["llama3:70b"] * 50, threads=2)
    assert outcome.adds_up
    leaking = engine.Outcome(outcome.views, outcome.most_in_flight, 51, outcome.done, 0, 2, 1.0)
    assert not leaking.adds_up


def test_a_failed_check_is_status_1(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.Worker, "finish_one", lambda self: self.open_requests.pop())
    for json_too in ([], ["--json"]):
        assert main(["replay", "--fleet", "fleet.toml", "--trace", "trace.csv", *json_too]) == 1
    assert "FAILED: 2 left in flight" in capsys.readouterr().out


def test_a_worker_without_a_healthy_backend_refuses() -> None:
    registry = Registry()
    registry.add_backend(Backend("a", "a", "http://a", models=[]))
    worker = engine.Worker(registry, {}, inputs.made_up_trace(3), ["m"] * 3, inputs.random.Random(1))
    worker.run()
    assert (worker.rejected, worker.done) == (3, 0)


def test_an_exception_of_a_worker_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: engine.Worker) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine.Worker, "finish_one", fail)
    with pytest.raises(ZeroDivisionError):
        engine.replay(inputs.made_up_fleet(), inputs.made_up_trace(5), ["llama3:70b"] * 5, threads=2)


def test_the_table(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "--fleet", "fleet.toml", "--trace", "trace.csv"]) == 0
    out = capsys.readouterr().out
    for part in (
        "most in flight",
        "avg latency (ms)",
        "requests/s",
        "OK: 0 left in flight; totals add up to 2 requests",
    ):
        assert part in out
    assert "\x1b" not in out


def test_a_long_table_says_what_it_leaves_out(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = "".join(f'[[backends]]\nname = "b{n}"\nurl = "http://h"\nmodels = ["m"]\n' for n in range(50))
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
    (["replay", "--catalogue", "bad"], "bad: $: JSON is malformed"),
    (["replay", "--trace", "bad"], "bad:1: expected the columns"),
    (["replay", "--trace", "header"], "header: expected at least one request"),
    (["replay", "--trace", "time"], "time:2: expected a TIMESTAMP"),
    (["replay", "--trace", "short"], "short:2: expected 3 columns, found 2"),
    (["replay", "--trace", "tokens"], "tokens:2: expected a whole number"),
    (["replay", "--trace", "latin"], "latin:1: expected CSV in UTF-8"),
    (["replay", "--catalogue", "slash"], "slash: 'x/': expected a key"),
    (["replay", "--fleet", "empty"], "empty: expected a backend with a model"),
]


@pytest.mark.parametrize(("arguments", "message"), MALFORMED)
def test_wrong_input_is_one_line_and_status_2(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    header = TRACE.splitlines()[0] + "\n"
    (files / "bad").write_text("nonsense nonsense\n")
    (files / "header").write_text(header)
    (files / "time").write_text(header + "yesterday,1,2\n")
    (files / "short").write_text(header + "2023-11-16 18:15:46,1\n")
    (files / "tokens").write_text(header + "2023-11-16 18:15:46,1,-2\n")
    (files / "latin").write_bytes(b"\xe4\n")
    (files / "slash").write_text('{"x/": {"provider": "p"}}')
    (files / "empty").write_text("")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"registry: {message}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["replay", "--threads", "0"], ["replay", "--requests", "x"], ["replay", "--fleet", "a", "--catalogue", "b"]],
)
def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


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


def test_a_reader_that_stops_early(files: Path) -> None:
    command = f"{sys.executable} -m registry show --fleet fleet.toml | true"
    done = subprocess.run(
        ["bash", "-c", f"for i in 1 2 3; do {command}; done"], capture_output=True, timeout=60, check=True
    )
    assert done.stderr == b""


def test_as_a_command(files: Path) -> None:
    command = [sys.executable, "-m", "registry", "replay", "--requests", "500", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["total_requests"] == 500
    assert done.stderr == ""
