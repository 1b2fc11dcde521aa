"""The replay's parts: what it reads, how the load behaves, and what it works out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry import Backend, Model, NoBackendAvailableError, Policy, Registry
from registry.cli.main import main
from registry.cli.replay import engine, inputs, plot
from registry.cli.replay.inputs import Request
from registry.cli.replay.outcome import Outcome, Record

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROW = "2023-11-16 18:15:46.6805900,374,44\n"


def fleet_of(*ids: str) -> list[Backend]:
    """Backends that all serve the model `m`."""
    return [
        Backend(name, name, f"http://host-{n}", models=[Model("m")]) for n, name in enumerate(ids)
    ]


def worker_on(registry: Registry, requests: list[Request], speed: float = 10.0) -> engine.Worker:
    """A worker whose backends all generate `speed` tokens a second."""
    speeds, models = dict.fromkeys(registry, speed), ["m"] * len(requests)
    return engine.Worker(
        registry, Policy.LEAST_PENDING, speeds, requests, models, threading.Barrier(1)
    )


def registry_of(*backends: Backend) -> Registry:
    """A registry in which all of these are healthy."""
    registry = Registry()
    for backend in backends:
        registry.add_backend(backend)
        registry.update_status(backend.id, "healthy")
    return registry


def outcome_of(
    registry: Registry, record: Record, requests: int = 0, asked: frozenset[str] = frozenset()
) -> Outcome:
    """What one thread reports after one second."""
    return Outcome(
        Policy.LEAST_PENDING, registry.get_all_backends(), asked, record, requests, 1, 1.0
    )


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
        (f"{HEADER}2023-11-16 18:15:46,1,-2\n", ":2: expected a whole number"),
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
def test_odd_windows_of_a_catalogue_are_made_to_fit(
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


def test_a_trace_that_is_too_short_starts_over_behind_its_end() -> None:
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


def test_models_are_drawn_alike_whatever_the_threads_and_popular_ones_more_often() -> None:
    fleet = inputs.synthetic_fleet()
    drawn = inputs.draw_models(fleet, 5000)
    assert drawn == inputs.draw_models(fleet, 5000)
    assert drawn[:100] == inputs.draw_models(fleet, 100)
    counts = [drawn.count(model.id) for model in fleet[5].models]
    assert counts[0] == max(counts) > 2 * min(counts)


@pytest.mark.parametrize("option", ["--fleet", "--catalogue", "--trace"])
def test_an_empty_file_name_is_not_the_default(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main(["replay", option, ""]) == 2
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "1_0", "9" * 5000])
def test_a_count_is_a_whole_number_from_one_up(
    capsys: pytest.CaptureFixture[str], number: str
) -> None:
    for option in ("--threads", "--requests"):
        with pytest.raises(SystemExit) as caught:
            main(["replay", f"{option}={number}"])
        assert caught.value.code == 2
        assert f"argument {option}: expected a whole number from 1 up" in capsys.readouterr().err


def test_overlapping_requests_are_in_flight_together_until_they_end() -> None:
    registry = registry_of(*fleet_of("a"))
    seconds_of_ten = 100
    requests = [
        Request(0.0, 0, seconds_of_ten),
        Request(5.0, 0, seconds_of_ten),
        Request(12.0, 0, seconds_of_ten),
    ]
    worker = worker_on(registry, requests)
    worker.run()
    view = registry.get_backend("a")
    assert view is not None
    assert (
        worker.record.most_in_flight["a"],
        worker.record.done,
        view.pending_requests,
        view.total_requests,
    ) == (
        2,
        3,
        0,
        3,
    )
    assert (view.avg_latency_ms, worker.clock) == (10_000, 22.0)


def test_a_prompt_token_costs_a_tenth_of_a_generated_one() -> None:
    registry = registry_of(*fleet_of("a"))
    worker_on(registry, [Request(0.0, 100, 20)]).run()
    view = registry.get_backend("a")
    assert view is not None
    assert view.avg_latency_ms == (100 / 10 + 20) / 10.0 * 1000


def test_a_full_window_waits_for_the_earliest_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WINDOW", 2)
    registry = registry_of(*fleet_of("a"))
    worker = worker_on(registry, [Request(0.0, 0, 10)] * 5)
    worker.run()
    assert (worker.record.most_in_flight["a"], worker.record.done, worker.clock) == (2, 5, 3.0)


@pytest.mark.parametrize(("weight", "tenth"), [(1, 1250), (2, 1000)])
def test_more_than_eight_requests_per_weight_share_the_speed(weight: int, tenth: int) -> None:
    worker = worker_on(
        registry_of(Backend("a", "a", "http://a", models=[Model("m")], weight=weight)), []
    )
    for number in range(10):
        worker.start(number, Request(0.0, 0, 10), "m")
    assert list(worker.record.latencies[:8]) == [1000] * 8
    assert worker.record.latencies[9] == tenth
    worker.run()
    assert worker.clock == tenth / 1000


def test_requests_that_nobody_takes_are_refused() -> None:
    registry = Registry()
    registry.add_backend(fleet_of("never checked")[0])
    worker = worker_on(registry, inputs.synthetic_trace(3))
    worker.run()
    assert (worker.record.rejected, worker.record.done) == (3, 0)
    assert outcome_of(registry, worker.record, 3).adds_up


@pytest.mark.parametrize("policy", Policy)
def test_each_policy_gets_its_requests(policy: Policy) -> None:
    outcome = engine.replay(fleet_of("a", "b"), inputs.synthetic_trace(200), ["m"] * 200, 2, policy)
    assert (outcome.policy, outcome.adds_up, outcome.total) == (policy, True, 200)
    assert all(view.total_requests for view in outcome.views)


def test_the_policy_is_the_one_that_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Refusing(Registry):
        def acquire(self, model_id: str, /, **options: Any) -> Any:
            asked.append((model_id, options))
            raise NoBackendAvailableError(model_id)

    monkeypatch.setattr(engine, "Registry", Refusing)
    assert (
        engine.replay(fleet_of("a"), [Request(0.0, 1, 1)], ["m"], 1, Policy.SMART).record.rejected
        == 1
    )
    assert asked == [("m", {"policy": Policy.SMART})]


def test_eight_threads_lose_nothing() -> None:
    fleet = inputs.synthetic_fleet()
    requests = inputs.synthetic_trace(4000)
    models = inputs.draw_models(fleet, 4000)
    outcome = engine.replay(fleet, requests, models, threads=8)
    assert outcome.adds_up
    assert (
        outcome.total,
        outcome.record.done,
        outcome.record.rejected,
        outcome.left_in_flight,
    ) == (4000, 4000, 0, 0)
    assert set(outcome.record.most_in_flight) == {
        view.id for view in outcome.views if view.total_requests
    }


def test_more_threads_than_requests() -> None:
    outcome = engine.replay(fleet_of("a"), inputs.synthetic_trace(3), ["m"] * 3, threads=8)
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
        engine.replay(fleet_of("a"), requests, models, 2, progress=interrupt)
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
    registry = Registry()
    monkeypatch.setattr(engine, "Registry", lambda: registry)
    with pytest.raises(ZeroDivisionError):
        engine.replay(fleet_of("a"), requests, models, 3)
    assert requests.exhausted == models.exhausted == 0
    # Every lease was released, none collected: a ResourceWarning would fail the test.
    assert registry.get_all_backends()[0].pending_requests == 0


def test_too_many_threads_for_the_system(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def refuse_the_third(self: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_third)
    assert main(["replay", "--threads", "5", "--json"]) == 2
    assert (
        capsys.readouterr().err
        == "registry: --threads 5: only 2 could be started: can't start new thread\n"
    )
    assert not any(thread.is_alive() for thread in started)


def test_a_count_that_is_lost_is_noticed() -> None:
    registry = registry_of(*fleet_of("a"))
    worker = worker_on(registry, inputs.synthetic_trace(3))
    worker.run()
    assert outcome_of(registry, worker.record, 3).adds_up
    assert not outcome_of(registry, worker.record, 4).adds_up
    registry.increment_pending("a")
    assert not outcome_of(registry, worker.record, 3).adds_up


@pytest.mark.parametrize(
    ("count", "expected"), [(20, [10, 19, 20]), (3, [2, 3, 3]), (1, [1, 1, 1]), (0, [None] * 3)]
)
def test_percentiles_of_the_latency(count: int, expected: list[int | None]) -> None:
    registry = registry_of(*fleet_of("a"))
    worker = worker_on(
        registry, [Request(1000.0 * (count - n), 0, 10 * n) for n in range(count, 0, -1)]
    )
    worker.run()
    latencies = outcome_of(registry, worker.record).percentiles(50, 95, 99)
    assert latencies == [None if seconds is None else seconds * 1000 for seconds in expected]


def test_evenness_is_the_greatest_average_load_over_the_mean() -> None:
    light, heavy = (
        Backend(f"w{n}", "x", "http://x", models=[Model("m")], weight=n) for n in (1, 3)
    )
    registry = registry_of(light, heavy, *fleet_of("never asked"))
    record, asked = Record(), frozenset(["w1", "w3"])
    assert outcome_of(registry, record, asked=asked).evenness is None
    record.add("w1", 1, 0.0, 2000)
    assert outcome_of(registry, record, asked=asked).evenness == 2.0
    for _ in range(3):
        record.add("w3", 7, 1.0, 1000)
    # 2 seconds on the light one, 3 on the one that can take three times as much: 2 and 1 of 1.5.
    assert outcome_of(registry, record, asked=asked).evenness == pytest.approx(2 / 1.5)
    assert outcome_of(registry, record, asked=asked).most_in_flight == 7


def test_evenness_leaves_out_backends_that_no_request_could_go_to() -> None:
    idle = Backend("idle", "idle", "http://idle", models=[Model("other")])
    outcome = engine.replay([*fleet_of("a"), idle], inputs.synthetic_trace(20), ["m"] * 20, threads=1)
    assert (outcome.asked, outcome.evenness) == (frozenset({"a"}), 1.0)


def test_what_the_workers_saw_is_added_up() -> None:
    one, other = Record(done=1), Record(done=2, rejected=1)
    one.add("a", 3, 0.0, 10)
    other.add("a", 2, 1.0, 20)
    other.add("b", 5, 2.0, 30)
    one.merge(other)
    assert (one.done, one.rejected, one.most_in_flight, one.busy_ms) == (
        3,
        1,
        {"a": 3, "b": 5},
        {"a": 30, "b": 30},
    )
    assert (list(one.starts), list(one.latencies)) == ([0.0, 1.0, 2.0], [10, 20, 30])


def test_what_is_drawn_is_the_average_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "POINTS", 4)
    record = Record()
    assert plot.averages(outcome_of(Registry(), record)) == ([], [])
    record.add("b", 1, 11.5, 2500)
    record.add("a", 1, 10.0, 2000)
    assert plot.averages(outcome_of(Registry(), record)) == (
        [10.5, 11.5, 12.5, 13.5],
        [1.0, 1.5, 1.0, 1.0],
    )
