"""Each row of the contract's 'Sizes and speeds' in one run: `python benchmarks/goals.py [--peer BINARY] [--quick] [--json]`.

BINARY is the Rust peer that `benchmarks/peers/dashmap/build` makes; without it its rows are left out, by name. LiteLLM's
rows say so where it is not installed. Loops are timed with the loop included, on plain calls as users write them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from time import perf_counter

from measure import Figure, figure, interleaved, machine, quotients, ratios, throughput
from operations import MODELS, backend, filled
from peers import litellm_router

from registry import Backend, Model, Policy, Registry

CHURN = 1000  # backends that go and come in one round, others each time: else they stay in the caches
VERDICTS = {True: "met", False: "NOT MET", None: ""}
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


@dataclass(frozen=True)
class Row:
    """One goal and what was measured."""

    what: str
    goal: str
    measured: Figure | str  # a str says why it was not
    met: bool | None  # None: no goal of its own


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int
    count: int
    large: int
    peer: str | None


def timed(loop: Callable[[int], None], count: int) -> Callable[[], float]:
    """Nanoseconds a call."""

    def run() -> float:
        started = perf_counter()
        loop(count)
        return (perf_counter() - started) / count * 1e9

    return run


def hashes_of(backend_id: str) -> Callable[[int], None]:
    """The loop that others are compared to."""

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            hash(backend_id)

    return loop


def single_thread(settings: Settings) -> list[Row]:
    """Rows of one thread."""
    registry, ids = filled(1000)
    backend_id = ids[500]

    def increments(count: int) -> None:
        for _ in repeat(None, count):
            registry.increment_pending(backend_id)

    def gets(count: int) -> None:
        for _ in repeat(None, count):
            registry.get_backend(backend_id)

    def queries(count: int) -> None:
        for _ in repeat(None, count):
            registry.get_backends_for_model("model-3")

    hashed, incremented, got, queried = interleaved(
        settings.rounds,
        timed(hashes_of(backend_id), settings.count),
        timed(increments, settings.count),
        timed(gets, settings.count // 4),
        timed(queries, max(1, settings.count // 5000)),
    )
    most = 1.3 if FREE_THREADED else 1.4
    ratio, get, query = ratios(incremented, hashed), figure(got), figure([ns / 1000 for ns in queried])
    return [
        Row("increment_pending(id) / hash(id)", f"<= {most}", ratio, ratio.median <= most),
        Row("get_backend, ns", "<= 200", get, get.median <= 200),
        Row("get_backends_for_model, 1,000 matching, us", "<= 130", query, query.median <= 130),
    ]


def choices(registry: Registry) -> Callable[[int], None]:
    """Acquires by LEAST_PENDING and releases at once."""

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            registry.acquire("model-3").release()

    return loop


def choices_of_two(registry: Registry) -> Callable[[int], None]:
    """The same by POWER_OF_TWO."""

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            registry.acquire("model-3", policy=Policy.POWER_OF_TWO).release()

    return loop


def busy(size: int) -> Registry:
    """A fleet with one request in flight on every backend: LEAST_PENDING can't stop early at one that is idle."""
    registry, ids = filled(size)
    registry.increment_pending_many(ids)
    return registry


def choosing(settings: Settings) -> list[Row]:
    """Rows of choices, one thread."""
    small, large = filled(10)[0], filled(settings.large)[0]
    hashed, idle, loaded, idle_many, loaded_many, two_small, two_large = interleaved(
        settings.rounds,
        timed(hashes_of(next(iter(small))), settings.count),
        timed(choices(small), settings.count // 4),
        timed(choices(busy(10)), settings.count // 4),
        timed(choices(filled(1000)[0]), settings.count // 4),
        timed(choices(busy(1000)), settings.count // 25),
        timed(choices_of_two(small), settings.count // 4),
        timed(choices_of_two(large), settings.count // 4),
    )
    rows = []
    for state, taken in (("idle", idle), ("busy", loaded)):
        ratio = ratios(taken, hashed)
        rows.append(Row(f"acquire and release / hash(id), 10 candidates, {state}", "<= 6", ratio, ratio.median <= 6))
    for state, taken in (("idle", idle_many), ("busy", loaded_many)):
        us = figure([ns / 1000 for ns in taken])
        rows.append(Row(f"acquire and release, 1,000 candidates, {state}, us", "<= 2", us, us.median <= 2))
    growth = ratios(two_large, two_small)
    rows.append(Row(f"POWER_OF_TWO, {settings.large:,} candidates / 10", "<= 3", growth, growth.median <= 3))
    return rows


def built_peer() -> str | None:
    """Where the peer's build script puts it, once it has run."""
    binary = Path(__file__).parent / "peers/dashmap/target/release/dashmap-peer"
    return str(binary) if binary.exists() else None


def native(settings: Settings, *arguments: str) -> float:
    """What the peer prints: nanoseconds an operation."""
    assert settings.peer is not None
    done = subprocess.run([settings.peer, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout)


def native_throughput(settings: Settings, name: str) -> float:
    """Operations a second of the peer's two threads."""
    return 1e9 / native(settings, name, str(settings.count))


def against_the_plan(settings: Settings) -> list[Row]:
    """Rows beside the plan's design, native."""
    registry, ids = filled(1000)

    def queries() -> float:
        count = max(1, settings.count // 5000)
        started = perf_counter()
        for _ in repeat(None, count):
            registry.get_backends_for_model("model-3")
        return (perf_counter() - started) / count * 1e9

    ours, theirs = interleaved(
        settings.rounds, queries, lambda: native(settings, "query", str(max(1, settings.count // 5000)))
    )
    faster = ratios(theirs, ours)
    rows = [Row("get_backends_for_model, times faster than the plan's", ">= 6", faster, faster.median >= 6)]
    if FREE_THREADED:
        for what, keys, name in (
            ("two backends, one shard", ids[:2], "one-shard"),
            ("one backend", ids[:1] * 2, "one-backend"),
        ):
            ours, theirs = interleaved(
                settings.rounds,
                partial(throughput, increment_works(registry, keys, settings.count)),
                partial(native_throughput, settings, name),
            )
            ratio = ratios(ours, theirs)
            rows.append(Row(f"two threads, {what}, throughput / the plan's", ">= 1.2", ratio, ratio.median >= 1.2))
    return rows


def increment_works(registry: Registry, keys: list[str], count: int) -> list[Callable[[], int]]:
    """One thread's loop for each key."""

    def loop(key: str) -> int:
        for _ in repeat(None, count):
            registry.increment_pending(key)
        return count

    return [lambda k=key: loop(k) for key in keys]


def scaling(settings: Settings) -> list[Row]:
    """Two threads against one, where threads run at once."""
    registry, ids = filled(1000)
    rows = []
    for what, keys, least in (("two backends", [ids[500], ids[507]], 1.8), ("one backend", [ids[500]] * 2, 1.2)):
        works = increment_works(registry, keys, settings.count)
        one, two = interleaved(settings.rounds, partial(throughput, works[:1]), partial(throughput, works))
        ratio = ratios(two, one)
        rows.append(Row(f"two threads on {what} / one thread", f">= {least}", ratio, ratio.median >= least))
    return rows


def choosing_scaling(settings: Settings) -> list[Row]:
    """Two threads that choose among the same ten backends against one."""
    registry, _ = filled(10)
    rows = []
    for policy, loop, least in (("LEAST_PENDING", choices, 1), ("POWER_OF_TWO", choices_of_two, 1.3)):
        work = counted(loop(registry), settings.count // 4)
        one, two = interleaved(settings.rounds, partial(throughput, [work]), partial(throughput, [work] * 2))
        ratio = ratios(two, one)
        what = f"two threads on one model, ten backends, {policy} / one thread"
        rows.append(Row(what, f">= {least}", ratio, ratio.median >= least))
    return rows


def counted(loop: Callable[[int], None], count: int) -> Callable[[], int]:
    """A work for `throughput`."""

    def work() -> int:
        loop(count)
        return count

    return work


def churn(settings: Settings) -> list[Row]:
    """What a removal and an addition cost in a large fleet against a small one, beside a dict's growth by cache misses."""
    sizes = (1000, settings.large)
    registries = [filled(size)[0] for size in sizes]
    dicts = [{f"backend-{n}": object() for n in range(size)} for size in sizes]
    rng = random.Random(1)
    fleets = [[backend(n) for n in range(size)] for size in sizes]

    def of_registry(registry: Registry, fleet: list[Backend]) -> Callable[[], float]:
        def run() -> float:
            order = rng.sample(fleet, CHURN)
            started = perf_counter()
            for one in order:
                registry.remove_backend(one.id)
                registry.add_backend(one)
            return (perf_counter() - started) / len(order)

        return run

    def of_dict(table: dict[str, object], fleet: list[Backend]) -> Callable[[], float]:
        def run() -> float:
            order = rng.sample(fleet, CHURN)
            started = perf_counter()
            for one in order:
                table[one.id] = table.pop(one.id)
            return (perf_counter() - started) / len(order)

        return run

    small, large, dict_small, dict_large = interleaved(
        settings.rounds,
        *(of_registry(registry, fleet) for registry, fleet in zip(registries, fleets, strict=True)),
        *(of_dict(table, fleet) for table, fleet in zip(dicts, fleets, strict=True)),
    )
    ours, plain = ratios(large, small), ratios(dict_large, dict_small)
    growth = ratios(quotients(large, small), quotients(dict_large, dict_small))
    return [
        Row(f"remove and add, growth from 1,000 to {settings.large:,}", "(a dict's below)", ours, None),
        Row(f"a dict's growth from 1,000 to {settings.large:,}", "(for comparison)", plain, None),
        Row("growth of remove and add / growth of a dict", "<= 1.5", growth, growth.median <= 1.5),
    ]


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def print_memory(kind: str, size: int) -> None:
    """In a process of its own: prints bytes a backend."""
    registry = Registry()
    shared = MODELS
    before = resident()
    for number in range(size):
        models = shared if kind == "shared" else tuple(Model(f"model-{index}") for index in range(10))
        registry.add_backend(backend(number, models))
    print((resident() - before) / size)


def memory(settings: Settings) -> list[Row]:
    """Resident memory for each backend; the caller keeps nothing."""
    rows = []
    for kind, most in (("shared", 1200), ("own", 2000)):
        command = [sys.executable, __file__, "--memory", kind, "--size", str(settings.large)]
        runs = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
        measured = figure(runs)
        what = "Model objects shared" if kind == "shared" else "equal Models of its own"
        rows.append(
            Row(
                f"bytes per backend, {settings.large:,} with ten models, {what}",
                f"<= {most}",
                measured,
                measured.median <= most,
            )
        )
    return rows


def against_litellm(settings: Settings) -> list[Row]:
    """Rows beside LiteLLM's Router, which only chooses, and takes as long whatever is in flight; ours counts, too."""
    missing = litellm_router.missing()
    peer = "LiteLLM" if missing else litellm_router.name()
    rows = []
    for size, least in ((10, 300), (1000, 2000)):
        what = f"acquire and release, times faster than {peer}'s least-busy, {size:,}"
        if missing:
            rows.append(Row(what, f">= {least}", missing, None))
            continue
        theirs, idle, loaded = interleaved(
            settings.rounds,
            timed(selections(litellm_router.selector(size)), max(5, settings.count // (250 * size))),
            timed(choices(filled(size)[0]), settings.count // 4),
            timed(choices(busy(size)), settings.count // 25),
        )
        for state, ours in (("idle", idle), ("busy", loaded)):
            faster = ratios(theirs, ours)
            rows.append(Row(f"{what} {state}", f">= {least}", faster, faster.median >= least))
    return rows


def selections(select: Callable[[], object]) -> Callable[[int], None]:
    """The peer's loop."""

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            select()

    return loop


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default=built_peer(), help="the Rust peer's binary (default: the one that was built)")
    parser.add_argument("--quick", action="store_true", help="little work, large spread")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", choices=("shared", "own"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=100_000, help="the large fleet")
    arguments = parser.parse_args()
    if arguments.memory:
        print_memory(arguments.memory, arguments.size)
        return
    settings = Settings(
        3 if arguments.quick else 15, 50_000 if arguments.quick else 500_000, arguments.size, arguments.peer
    )
    rows = single_thread(settings) + choosing(settings)
    if FREE_THREADED:
        rows += scaling(settings) + choosing_scaling(settings)
    if settings.peer:
        rows += against_the_plan(settings)
    rows += churn(settings) + memory(settings)
    rows += against_litellm(settings)  # last: what it imports is in nobody else's way
    if arguments.json:
        print(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=2))
        return
    print(machine())
    for row in rows:
        print(f"{row.what:80} {row.goal:18} {row.measured!s:34} {VERDICTS[row.met]}")
    if not settings.peer:
        print("left out: the rows beside the plan's Rust design (run benchmarks/peers/dashmap/build, or give --peer)")


if __name__ == "__main__":
    main()
