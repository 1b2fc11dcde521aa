"""Engines in a replay: their queues and caches, by hand and by an oracle, and the command."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.conversations import conversations
from support.oracle_engines import Engines
from support.threads import run_threads

from registry import Backend, Model, Policy, Registry
from registry.cli.main import main
from registry.cli.replay import engine, mooncake
from registry.cli.replay._faults import ErrorRate, FastFailure, Fault, Moment, SlowStart, TimeOut
from registry.cli.replay.inference import Answer, Engine
from registry.cli.replay.inputs import Request
from registry.cli.replay.outcome import Outcome
from registry.cli.replay.prompts import Setup, Told
from registry.cli.replay.turns import Turns
from registry.cli.replay.worker import Worker

SETUP = Setup()
RANDOM = {Policy.RANDOM, Policy.POWER_OF_TWO}
FLEET = "".join(
    f'[[backends]]\nname = "{name}"\nurl = "http://{name}"\nmodels = ["m"]\n' for name in "ab"
)
# By hand, at 512 tokens a second, so that a block takes one second. The lines are not in order.
#
# By the load: r1 to a at 0 s, token at 2, end at 3; r2 to b at 2.5, token at 5.5, end at 7.5; r3 to
# a at 3, token and end at 4; r4 to a at 6, which has two of its blocks: token at 8.
# By the caches: r1 to a; r2 to a at 2.5, which has two of its blocks: token at 3.5; r3 to b at 3,
# token at 4; r4 to a at 6, which has three of its blocks: token at 7.
# Which of the two backends is a, which gets the first request, is not specified.
TRACE = """\
{"timestamp": 3000, "input_length": 512, "output_length": 0, "hash_ids": [9]}
{"timestamp": 0, "input_length": 1024, "output_length": 60, "hash_ids": [1, 2], "chat_id": "x"}

{"timestamp": 6000, "input_length": 2048, "output_length": 0, "hash_ids": [1, 2, 3, 4]}
  {"timestamp": 2500.0, "input_length": 1536, "output_length": 120, "hash_ids": [1, 2, 3]}
"""
BY_LOAD = (0.2, {"mean": 2000.0, "p50": 2000.0, "p95": 3000.0, "p99": 3000.0})
BY_CACHE = (0.5, {"mean": 1250.0, "p50": 1000.0, "p95": 2000.0, "p99": 2000.0})


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a fleet and a trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "fleet.toml").write_text(FLEET)
    (tmp_path / "t.jsonl").write_text("\ufeff" + TRACE, encoding="utf-8")
    return tmp_path


GIVEN = ["replay", "--fleet", "fleet.toml", "--trace", "t.jsonl", "--prefill", "512"]


def fleet_of(count: int) -> list[Backend]:
    """Backends that serve the model `m`."""
    return [Backend(f"b{n:02d}", "b", "http://b", models=[Model("m")]) for n in range(count)]


def replayed(
    requests: list[Request],
    policy: Policy = Policy.LEAST_PENDING,
    threads: int = 1,
    backends: int = 12,
    setup: Setup = SETUP,
    **options: Any,
) -> Outcome:
    """The outcome of requests for the model `m`."""
    models, fleet = ["m"] * len(requests), fleet_of(backends)
    return engine.replay(fleet, requests, models, threads, policy, engines=setup, **options)


# ---- an engine


def test_an_engine_processes_prompts_one_after_the_other() -> None:
    one = Engine(prefill=1000, cache_blocks=100)
    assert one.process(10.0, Request(0.0, 2000, 60)) == Answer(2.0, 3.0, 0)
    # It waits for 1.5 s, but not for the answer before.
    assert one.process(10.5, Request(0.0, 1000, 120)) == Answer(2.5, 4.5, 0)
    assert one.process(14.0, Request(0.0, 500, 0)) == Answer(0.5, 0.5, 0)


def test_an_engine_leaves_out_the_leading_blocks_that_it_has() -> None:
    one = Engine(prefill=1024, cache_blocks=100)
    one.process(0.0, Request(0.0, 1536, 0, (1, 2, 3)))
    for blocks, tokens, answer in (
        ((1, 2, 4), 1536, Answer(0.5, 0.5, 2)),
        ((4, 2), 1024, Answer(1.0, 1.0, 0)),
        ((1, 2, 3), 1500, Answer(1 / 1024, 1 / 1024, 3)),
        ((), 1024, Answer(1.0, 1.0, 0)),
    ):
        assert one.preview(5.0, Request(0.0, tokens, 0, blocks)) == answer
    # A preview is no work.
    assert one.preview(5.0, Request(0.0, 512, 0, (4,))) == Answer(0.5, 0.5, 0)


def test_the_least_recently_used_block_goes_and_the_end_of_a_prompt_first() -> None:
    one = Engine(prefill=512, cache_blocks=4)
    one.process(0.0, Request(0.0, 1024, 0, (1, 2)))
    one.process(9.0, Request(0.0, 1024, 0, (3, 4)))
    one.process(18.0, Request(0.0, 1024, 0, (1, 2)))  # used again
    one.process(27.0, Request(0.0, 512, 0, (5,)))  # instead of 4
    cached = [one.preview(36.0, Request(0.0, 1024, 0, pair)).cached_blocks for pair in PAIRS]
    assert cached == [2, 1]
    one.process(36.0, Request(0.0, 3072, 0, (6, 7, 8, 9, 10, 11)))  # 10 and 11 have no place
    assert one.preview(99.0, Request(0.0, 3072, 0, (6, 7, 8, 9, 10, 11))).cached_blocks == 4


PAIRS = [(1, 2), (3, 4)]


def test_a_slowed_engine_takes_longer_for_the_work_but_not_for_the_wait() -> None:
    one = Engine(prefill=1000, cache_blocks=4)
    one.process(0.0, Request(0.0, 1000, 0))
    assert one.process(0.0, Request(0.0, 1000, 60), slowed=3.0) == Answer(4.0, 7.0, 0)
    assert one.process(0.0, Request(0.0, 1000, 0)).first_token == 5.0


# ---- turns


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_events_of_all_threads_are_handled_in_order(threads: int) -> None:
    turns, seen = Turns(threads), []

    def work(index: int) -> None:
        turns.begin(index)
        for number in range(index, 300, threads):
            turns.wait(index, (number // 7, number))
            seen.append(number)
        turns.end(index)

    run_threads([partial(work, index) for index in range(threads)])
    assert seen == list(range(300))


def test_an_aborted_turn_ends_every_wait() -> None:
    turns, begun = Turns(3), threading.Barrier(4)

    def wait(index: int) -> None:
        begun.wait()
        turns.begin(index)
        turns.wait(index, (float(index),))

    def abort() -> None:
        begun.wait()
        for _ in range(2):  # one for each wait
            turns.abort()

    run_threads([*(partial(wait, index) for index in range(3)), abort])


# ---- a replay


@pytest.mark.parametrize(
    ("name", "setup"),
    [
        ("least_pending", Setup(cache_blocks=60)),
        ("knows_all", Setup(cache_blocks=60, told=Told.ENGINES)),
        ("least_tokens", Setup(cache_blocks=60)),
        ("least_tokens_no_prefix", Setup(cache_blocks=60, told=Told.TOKENS)),
    ],
)
def test_a_replay_is_what_the_oracle_computes(name: str, setup: Setup) -> None:
    requests = conversations(seconds=60.0, per_second=1.0)
    # PRIORITY is LEAST_PENDING here, but without the rounds in which that one resolves ties.
    policy = Policy.LEAST_TOKENS if "tokens" in name else Policy.PRIORITY
    outcome = replayed(requests, policy, backends=4, setup=setup)
    oracle = Engines(4, setup.prefill, setup.cache_blocks)
    expected = oracle.replay(name, requests)
    assert sorted(outcome.record.first_tokens) == pytest.approx(sorted(expected), abs=1e-6)
    assert outcome.prefix_hit_share == oracle.cached / oracle.blocks
    assert outcome.adds_up


def counts_of(outcome: Outcome) -> list[tuple[int, ...]]:
    """What the registry knows of each backend. Which one gets the first request may differ."""
    views = outcome.views
    return sorted((v.total_requests, v.avg_latency_ms, v.avg_ttft_ms or 0) for v in views)


@pytest.mark.parametrize("policy", sorted(set(Policy) - RANDOM))
def test_the_number_of_threads_changes_nothing(policy: Policy) -> None:
    requests = conversations(seconds=60.0, per_second=2.0)
    alone = replayed(requests, policy)
    for threads in (2, 7):
        outcome = replayed(requests, policy, threads)
        assert outcome.adds_up
        assert sorted(outcome.record.first_tokens) == sorted(alone.record.first_tokens)
        assert counts_of(outcome) == counts_of(alone)


def test_the_weight_is_the_speed() -> None:
    heavy = Backend("h", "h", "http://h", models=[Model("m")], weight=4)
    outcome = engine.replay([heavy], [Request(0.0, 8000, 0)], ["m"], 1, engines=SETUP)
    assert list(outcome.record.first_tokens) == [250.0]


def test_no_window_limits_the_open_requests() -> None:
    outcome = replayed([Request(0.0, 8000, 0)] * 100, backends=1)
    assert outcome.most_in_flight == 100
    assert list(outcome.record.first_tokens) == [1000.0 * (n + 1) for n in range(100)]


def test_the_registry_is_told_the_first_token_at_its_time() -> None:
    outcome = replayed([Request(3.0, 8000, 60)], backends=1)
    (view,) = outcome.views
    assert (view.avg_ttft_ms, view.avg_latency_ms) == (1000, 2000)


def test_equal_beginnings_are_the_key_of_affinity() -> None:
    # The first two hashes, and nothing behind them.
    for place in range(2):
        blocks = [[7, 7, 100 + n] for n in range(80)]
        for n, each in enumerate(blocks):
            each[place] = n % 8
        requests = [Request(20.0 * n, 1536, 0, tuple(each)) for n, each in enumerate(blocks)]
        outcome = replayed(requests, Policy.AFFINITY)
        assert outcome.record.cached_blocks >= 72 * 2
        assert len(outcome.record.most_in_flight) > 1
    # Nobody keeps a key beyond the bound.
    together = [Request(0.0, 1024, 0, (1, 2))] * 24
    for floor, most in ((1.0, 2), (4.0, 4), (9.0, 9)):
        setup = Setup(affinity_floor=floor)
        assert replayed(together, Policy.AFFINITY, setup=setup).most_in_flight == most


@pytest.mark.parametrize("threads", [1, 3])
def test_a_thread_that_fails_stops_the_others(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    registry = Registry()
    monkeypatch.setattr(engine, "Registry", lambda **_settings: registry)
    ends, finish_one = [], Worker.finish_one

    def fail_at_the_tenth(self: Worker) -> None:
        ends.append(self)
        if len(ends) == 10:
            raise ZeroDivisionError
        finish_one(self)

    monkeypatch.setattr(Worker, "finish_one", fail_at_the_tenth)
    with pytest.raises(ZeroDivisionError):
        replayed(conversations(200.0, 2.0), threads=threads, backends=3)
    # The workers released every lease.
    assert sum(view.pending_requests for view in registry.get_all_backends()) == 0


def test_an_interrupt_stops_the_threads() -> None:
    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        replayed(conversations(2000.0, 5.0), threads=4, progress=interrupt)
    assert threading.active_count() == before


# ---- faults


def faulty(fault: Fault, retried: bool = False) -> Outcome:
    """Two requests, of which the first meets a fault. Both prefer the backend that has it."""
    requests = [Request(0.0, 8000, 60, (1, 2)), Request(30.0, 8000, 60, (1, 2))]
    fleet = [
        Backend(name, name, "http://b", models=[Model("m")], priority=n)
        for n, name in enumerate(["preferred", "other"])
    ]
    options: dict[str, Any] = {"faults": [fault], "ejection": None, "engines": SETUP}
    outcome = engine.replay(fleet, requests, ["m"] * 2, 1, Policy.PRIORITY, **options)
    assert outcome.adds_up
    assert outcome.record.retries == int(retried)
    return outcome


SPAN: dict[str, Any] = {"backend": "preferred", "start": Moment(0.0), "end": Moment(10.0)}


def test_an_engine_does_not_see_a_request_that_never_reaches_it() -> None:
    for fault, late in ((FastFailure(**SPAN), 0.001), (TimeOut(**SPAN, seconds=20.0), 20.0)):
        outcome = faulty(fault, retried=True)
        # The other backend has read the prompt, and the preferred one, which is next, has not.
        assert list(outcome.record.first_tokens) == pytest.approx([1000.0 * (1 + late), 1000.0])
        assert (outcome.record.blocks, outcome.record.cached_blocks) == (4, 0)


def test_an_engine_has_done_the_work_of_an_answer_that_fails() -> None:
    outcome = faulty(ErrorRate(**SPAN, rate=1.0), retried=True)
    # It fails at 2 s. The retry takes 1 s to its first token, and the second request finds the
    # blocks of the first attempt.
    rest = (8000 - 1024) / 8000
    assert list(outcome.record.first_tokens) == pytest.approx([3000.0, 1000 * rest])
    assert (outcome.record.blocks, outcome.record.cached_blocks) == (6, 2)


def test_a_slow_start_slows_the_engine() -> None:
    outcome = faulty(SlowStart(**SPAN, requests=1, times=5.0))
    assert outcome.record.first_tokens[0] == 5000.0
    assert outcome.record.latencies[0] == 10_000


# ---- the command


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The JSON document of a successful replay."""
    assert main([*GIVEN, "--json", *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize(
    ("policy", "figures"), [("least_pending", BY_LOAD), ("least_tokens", BY_CACHE)]
)
def test_the_figures_of_a_policy_are_those_made_by_hand(
    files: Path, capsys: pytest.CaptureFixture[str], policy: str, figures: tuple[Any, ...]
) -> None:
    document = run_json(capsys, "--policy", policy)
    assert (document["prefix_hit_share"], document["ttft_ms"]) == figures
    assert (document["policy"], document["total_requests"], document["adds_up"]) == (
        *(policy, 4),
        True,
    )


def test_all_policies_are_compared_with_one_that_knows_all(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_json(capsys, "--policy", "all")
    assert [row["policy"] for row in document["policies"]] == list(Policy)
    figures = {
        row["policy"]: (row["prefix_hit_share"], row["ttft_ms"])
        for rows in document.values()
        for row in rows
    }
    assert figures["least_pending"] == figures["least_tokens_no_prefix"] == BY_LOAD
    assert figures["least_tokens"] == figures["knows_all"] == BY_CACHE
    assert figures["affinity"][0] == 0.5
    assert [row["policy"] for row in document["for_comparison"]] == [
        "least_tokens_no_prefix",
        "knows_all",
    ]


def test_the_tables_show_hits_and_times(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GIVEN, "--policy", "all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines]
    assert ["least_tokens", "50.0%", "1,250", "1,000", "2,000", "2,000"] in rows
    assert ["least_tokens_no_prefix", "20.0%", "2,000", "2,000", "3,000", "3,000"] in rows
    assert ["knows_all", "50.0%", "1,250", "1,000", "2,000", "2,000"] in rows
    assert max(map(len, lines)) <= 80
    assert main([*GIVEN, "--policy", "least_tokens"]) == 0
    assert (
        "prefix hits 50.0%; simulated time to first token mean 1,250, p50 1,000, p95 2,000, "
        "p99 2,000 ms"
    ) in capsys.readouterr().out.splitlines()


def test_a_trace_that_starts_over_keeps_its_hashes(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = run_json(capsys, "--requests", "8", "--policy", "least_tokens")
    # In the second round, the engines have all blocks but those that went to the other one.
    assert document["prefix_hit_share"] > 0.5


def test_all_requests_ask_for_the_model_that_most_backends_serve(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = FLEET.replace('["m"]', '["other", "m"]', 1)
    (files / "fleet.toml").write_text(other + '[[backends]]\nname = "c"\nurl = "http://c"\n')
    assert run_json(capsys)["ttft_ms"] == BY_LOAD[1]


def test_the_plot_shows_the_distribution_of_the_times(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*GIVEN, "--policy", "all", "--plot", "p.svg", "--json"]) == 0
    drawn = [
        group.get("id", "").removeprefix("first-token-")
        for group in ElementTree.parse(files / "p.svg").iter("{http://www.w3.org/2000/svg}g")
        if group.get("id", "").startswith("first-token-")
    ]
    assert drawn == [*Policy, "least_tokens_no_prefix", "knows_all"]


@pytest.mark.parametrize(
    ("option", "value"), [("--prefill", "9"), ("--cache-blocks", "9"), ("--affinity-floor", "1")]
)
def test_an_option_of_engines_needs_hashes(
    files: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert main(["replay", option, value]) == 2
    expected = f"registry: {option} needs hashes of prompts: --trace FILE.jsonl\n"
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize("number", ["-1", "nan", "inf", "x", "1e300"])
def test_a_floor_is_a_number(capsys: pytest.CaptureFixture[str], number: str) -> None:
    with pytest.raises(SystemExit):
        main(["replay", f"--affinity-floor={number}"])
    assert "expected a number from 0 to 2**32-1" in capsys.readouterr().err


LINE = '{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": [1]}\n'


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (LINE.replace(', "hash_ids": [1]', ""), "Object missing required field `hash_ids`"),
        (LINE.replace("[1]", "null"), "hash_ids: Expected `array`, got `null`"),
        (LINE.replace("[1]", '[1, "x"]'), "hash_ids[1]: Expected `int`, got `str`"),
        (LINE.replace("[1]", f"[1, {2**64}]"), "hash_ids[1]: expected 64 bits, not 184467"),
        (LINE.replace("5", "-5"), "input_length: Expected `int` >= 0"),
        (LINE.replace("1,", "1.5,"), "output_length: Expected `int`, got `float`"),
        (LINE.replace("5", str(2**32)), "input_length: Expected `int` <= 4294967295"),
        (LINE.replace("0", "1e999", 1), "timestamp: Number out of range"),
        (LINE.replace("0", '"now"', 1), "timestamp: Expected `float`, got `str`"),
        ("[1]\n", "Expected `object`, got `array` (--fleet takes TOML"),
        ("nonsense\n", "JSON is malformed"),
        ('{"a": "\ud800"}\n', "not UTF-8"),
    ],
)
def test_a_malformed_line_is_named_with_its_key(
    files: Path, capsys: pytest.CaptureFixture[str], line: str, problem: str
) -> None:
    (files / "t.jsonl").write_bytes((LINE + "\n" + line).encode(errors="surrogatepass"))
    assert main(GIVEN) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"registry: t.jsonl:3: {problem}")
    assert (error.count("\n"), len(error) < 250) == (1, True)


def test_a_trace_has_a_request(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "t.jsonl").write_text("\n \n")
    assert main(GIVEN) == 2
    assert "t.jsonl: expected at least one request, found none" in capsys.readouterr().err


def test_requests_of_one_time_stay_in_order(tmp_path: Path) -> None:
    lines = [LINE.replace("5", str(n)).replace("0", str(7000 - n // 2 * 500), 1) for n in range(4)]
    (tmp_path / "T.JSONL").write_text("".join(lines).replace("\n", "\r\n"))
    assert mooncake.is_mooncake(tmp_path / "T.JSONL")
    requests = mooncake.read_trace(tmp_path / "T.JSONL")
    assert [(request.arrival, request.context_tokens) for request in requests] == [
        *((0.0, 2), (0.0, 3)),
        *((0.5, 0), (0.5, 1)),
    ]


# ---- the goal


def means(requests: list[Request], backends: int) -> dict[str, float]:
    """The mean time to the first token of the rows that the goal compares."""
    rows = {
        "least_pending": replayed(requests, Policy.LEAST_PENDING, backends=backends),
        "least_tokens": replayed(requests, Policy.LEAST_TOKENS, backends=backends),
        "knows_all": replayed(requests, backends=backends, setup=Setup(told=Told.ENGINES)),
    }
    return {name: row.mean_to_first_token or 0.0 for name, row in rows.items()}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_least_tokens_with_prefixes_halves_the_time_to_the_first_token(seed: int) -> None:
    mean = means(conversations(seconds=900.0, per_second=1.2, seed=seed), backends=12)
    assert mean["least_tokens"] <= 0.55 * mean["least_pending"]
    assert mean["least_tokens"] <= 1.1 * mean["knows_all"]


@pytest.mark.skipif("REGISTRY_TRACE" not in os.environ, reason="REGISTRY_TRACE names no trace")
def test_the_goal_holds_on_a_real_trace() -> None:
    mean = means(mooncake.read_trace(os.environ["REGISTRY_TRACE"]), backends=12)
    assert mean["least_tokens"] <= 0.55 * mean["least_pending"]
    assert mean["least_tokens"] <= 1.1 * mean["knows_all"]
