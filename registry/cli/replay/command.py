"""The command `replay`: its options, its input, and the order of its work."""

from __future__ import annotations

import argparse

from registry import Backend, Ejection, FleetFileError, Policy, load_fleet
from registry.cli.replay import engine, fault_files, inputs, mooncake, plot, report
from registry.cli.replay._faults import Fault
from registry.cli.replay.inference import BLOCK
from registry.cli.replay.outcome import Outcome
from registry.cli.replay.prompts import Setup, Told
from registry.cli.terminal import InputError, new_console, progress_bar
from registry.ejection import floor_for_core

# Beside the policies, `ALL` replays these if prompts have hashes.
COMPARED = ((Policy.LEAST_TOKENS, Told.TOKENS), (Policy.LEAST_PENDING, Told.ENGINES))
ALL, DEMO = "all", "demo"
DEFAULTS = Setup()
# Options that need hashes, by their names in `Setup`.
NEED_HASHES = ("prefill", "cache_blocks", "affinity_floor")
Requests = list[inputs.Request]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options to its parser."""
    fleet = parser.add_mutually_exclusive_group()
    fleet.add_argument("--fleet", metavar="FILE.toml", help="use the backends of a fleet file")
    fleet.add_argument(
        "--catalogue",
        metavar="FILE.json",
        help="use the providers of a model catalogue as backends",
    )
    parser.add_argument(
        "--trace",
        metavar="FILE.csv",
        help=f"read the requests from a file with the columns {','.join(inputs.COLUMNS)}; or, with "
        f"hashes of prompts, from a file in Mooncake's format whose name ends in {mooncake.SUFFIX}",
    )
    parser.add_argument(
        "--prefill",
        type=_positive,
        metavar="N",
        help="with hashes of prompts: tokens of prompts that a backend of weight 1 processes a "
        f"second (default {DEFAULTS.prefill:,})",
    )
    parser.add_argument(
        "--cache-blocks",
        type=_positive,
        metavar="N",
        help=f"with hashes of prompts: blocks of {BLOCK} tokens that the cache of a backend keeps "
        f"(default {DEFAULTS.cache_blocks:,})",
    )
    parser.add_argument(
        "--policy",
        choices=[*(policy.value for policy in Policy), ALL],
        default=Policy.LEAST_PENDING.value,
        help=f"how to choose backends (default {Policy.LEAST_PENDING}); {ALL} compares all",
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        default=4,
        metavar="N",
        help="number of threads that send requests (default 4)",
    )
    parser.add_argument(
        "--affinity-floor",
        type=_floor,
        metavar="N",
        help="with hashes of prompts: the requests in flight / weight up to which a backend keeps "
        f"its keys under the policy affinity (default {DEFAULTS.affinity_floor:g})",
    )
    parser.add_argument(
        "--requests",
        type=_positive,
        metavar="N",
        help="number of requests (default: the whole trace); a shorter trace starts over",
    )
    parser.add_argument(
        "--faults",
        metavar="FILE.toml",
        help=f"make backends fail as the file says; {DEMO}: one fault of each kind",
    )
    parser.add_argument(
        "--no-ejection", action="store_true", help="never eject a backend, however often it fails"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--plot",
        metavar="FILE.svg",
        help="plot the requests in flight over time, one line per policy, and with hashes of "
        "prompts the distribution of the times to the first token",
    )
    parser.set_defaults(command=run)


def _positive(text: str) -> int:
    # Check the length first: int() refuses very long numbers with its own message.
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, not {text!r}")
    return int(text)


def _floor(text: str) -> float:
    try:
        number = float(text)
        floor_for_core(number)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number from 0 to 2**32-1, not {text!r:.60}"
        ) from None
    return number


def run(arguments: argparse.Namespace) -> tuple[str, int]:
    """Returns the output, and the exit status 0, or 1 if the counts do not add up."""
    # Check files before optional packages, and both before the replay, which takes seconds.
    _check_options(arguments)
    fleet, trace = _inputs(arguments)
    file: str | None = arguments.faults
    faults = [] if file is None or file == DEMO else fault_files.read_faults(file, fleet)
    if arguments.plot is not None:
        plot.check_path(arguments.plot)
        plot.check_matplotlib("--plot")
    console = None if arguments.json else new_console()
    requests = inputs.stretch(trace, arguments.requests)
    if file == DEMO:
        faults = fault_files.demo(fleet, requests)
    outcomes = _outcomes(arguments, fleet, requests, faults)
    if arguments.plot is not None:
        plot.draw(arguments.plot, outcomes)
    status = 0 if all(outcome.adds_up for outcome in outcomes) else 1
    if console is None:
        return report.document(outcomes, several=arguments.policy == ALL) + "\n", status
    with console.capture() as tables:
        if arguments.policy == ALL:
            report.print_comparison(console, outcomes)
        else:
            report.print_outcome(console, outcomes[0])
    return tables.get(), status


def _check_options(arguments: argparse.Namespace) -> None:
    if _has_hashes(arguments):
        return
    for name in NEED_HASHES:
        if getattr(arguments, name) is not None:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} needs hashes of prompts: --trace FILE{mooncake.SUFFIX}")


def _inputs(arguments: argparse.Namespace) -> tuple[list[Backend], Requests]:
    fleet = _fleet(arguments)
    if not any(backend.models for backend in fleet):
        file = arguments.fleet or arguments.catalogue
        raise InputError(f"{file}: expected a backend with a model, found none")
    if arguments.trace is None:
        return fleet, inputs.synthetic_trace(arguments.requests)
    read = mooncake.read_trace if _has_hashes(arguments) else inputs.read_trace
    return fleet, read(arguments.trace)


def _has_hashes(arguments: argparse.Namespace) -> bool:
    return arguments.trace is not None and mooncake.is_mooncake(arguments.trace)


def _fleet(arguments: argparse.Namespace) -> list[Backend]:
    if arguments.catalogue is not None:
        return inputs.read_catalogue(arguments.catalogue)
    if arguments.fleet is None:
        return inputs.synthetic_fleet()
    try:
        return load_fleet(arguments.fleet)
    except FleetFileError as error:
        if error.problem.startswith(("expected TOML", "expected UTF-8")):
            raise InputError(f"{error} {inputs.FORMATS}") from None
        raise


def _outcomes(
    given: argparse.Namespace, fleet: list[Backend], requests: Requests, faults: list[Fault]
) -> list[Outcome]:
    ejection = None if given.no_ejection else Ejection()
    if _has_hashes(given):
        # Equal hashes mean equal prompts of one model: the one that most backends serve.
        models = inputs.rank_models(fleet)[:1] * len(requests)
    else:
        models = inputs.draw_models(fleet, len(requests))
    outcomes = []
    for policy, engines in _rows(given):
        with progress_bar(f"replaying {policy}", len(requests)) as progress:
            load = fleet, requests, models, given.threads, policy, progress
            outcomes.append(engine.replay(*load, faults=faults, ejection=ejection, engines=engines))
    return outcomes


def _rows(given: argparse.Namespace) -> list[tuple[Policy, Setup | None]]:
    """What is replayed, in the order of the output."""
    policies = list(Policy) if given.policy == ALL else [Policy(given.policy)]
    if not _has_hashes(given):
        return [(policy, None) for policy in policies]
    options = {name: getattr(given, name) for name in NEED_HASHES}
    setup = Setup(**{name: value for name, value in options.items() if value is not None})
    rows: list[tuple[Policy, Setup | None]] = [(policy, setup) for policy in policies]
    if given.policy == ALL:
        rows += [(policy, setup._replace(told=told)) for policy, told in COMPARED]
    return rows
