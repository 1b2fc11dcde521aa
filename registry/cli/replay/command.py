"""The command `replay`: its options, its input, and the order of its work."""

from __future__ import annotations

import argparse

from registry import Backend, Ejection, FleetFileError, Policy, load_fleet
from registry.cli.replay import engine, fault_files, inputs, plot, report
from registry.cli.replay._faults import Fault
from registry.cli.replay.outcome import Outcome
from registry.cli.terminal import InputError, new_console, progress_bar

ALL, DEMO = "all", "demo"
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
        help=f"read the requests from a file with the columns {','.join(inputs.COLUMNS)}",
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
        help="plot the requests in flight over time, one line per policy",
    )
    parser.set_defaults(command=run)


def _positive(text: str) -> int:
    # Check the length first: int() refuses very long numbers with its own message.
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, not {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> tuple[str, int]:
    """Returns the output, and the exit status 0, or 1 if the counts do not add up."""
    # Check files before optional packages, and both before the replay, which takes seconds.
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


def _inputs(arguments: argparse.Namespace) -> tuple[list[Backend], Requests]:
    fleet = _fleet(arguments)
    if not any(backend.models for backend in fleet):
        file = arguments.fleet or arguments.catalogue
        raise InputError(f"{file}: expected a backend with a model, found none")
    if arguments.trace is None:
        return fleet, inputs.synthetic_trace(arguments.requests)
    return fleet, inputs.read_trace(arguments.trace)


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
    models = inputs.draw_models(fleet, len(requests))
    outcomes = []
    for policy in Policy if given.policy == ALL else [Policy(given.policy)]:
        with progress_bar(f"replaying {policy}", len(requests)) as progress:
            load = fleet, requests, models, given.threads, policy, progress
            outcomes.append(engine.replay(*load, faults=faults, ejection=ejection))
    return outcomes
