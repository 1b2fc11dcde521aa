"""The command line: `python -m registry replay` and `python -m registry show`.

Exit status: 0 all well, 1 the replay's counts do not add up, 2 wrong usage or input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from registry._messages import printable
from registry._version import version
from registry.backend import Backend
from registry.cli import show
from registry.cli.replay import engine, inputs, plot, report
from registry.cli.replay.outcome import Outcome
from registry.cli.terminal import InputError, new_console, progress_bar, write
from registry.errors import FleetFileError
from registry.fleet import load_fleet
from registry.selection import Policy

ALL = "all"
Requests = list[inputs.Request]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    try:
        arguments = _parser().parse_args(argv)
        text, status = arguments.command(arguments)
        write(text)
    except (InputError, FleetFileError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130
    exit_status: int = status
    return exit_status


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_given: object) -> None:
        """Prints it and ends the program."""
        write(f"backend-registry {version()}\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m registry", description="The source of truth of an LLM gateway."
    )
    parser.add_argument("--version", action=_Version, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_replay(
        commands.add_parser(
            "replay",
            help="put a fleet under load from many threads and show what the registry knows",
        )
    )
    shown = commands.add_parser("show", help="print a fleet's backends and models")
    shown.add_argument("--fleet", metavar="FILE.toml", required=True, help="the fleet file")
    shown.add_argument("--json", action="store_true", help="JSON instead of tables")
    shown.set_defaults(command=_show)
    return parser


def _add_replay(replay: argparse.ArgumentParser) -> None:
    fleet = replay.add_mutually_exclusive_group()
    fleet.add_argument("--fleet", metavar="FILE.toml", help="the backends of a fleet file")
    fleet.add_argument(
        "--catalogue", metavar="FILE.json", help="the providers of a model catalogue as backends"
    )
    replay.add_argument(
        "--trace", metavar="FILE.csv", help=f"requests, with the columns {','.join(inputs.COLUMNS)}"
    )
    replay.add_argument(
        "--policy",
        choices=[*(policy.value for policy in Policy), ALL],
        default=Policy.LEAST_PENDING.value,
        help=f"how backends are chosen (default {Policy.LEAST_PENDING}); {ALL} compares all of them",
    )
    replay.add_argument(
        "--threads",
        type=_positive,
        default=4,
        metavar="N",
        help="threads that send requests (default 4)",
    )
    replay.add_argument(
        "--requests",
        type=_positive,
        metavar="N",
        help="how many requests (default: the whole trace)",
    )
    replay.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    replay.add_argument(
        "--plot", metavar="FILE.svg", help="draw in flight over time, a line per policy"
    )
    replay.set_defaults(command=_replay)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, not {text!r}")
    return int(text)


def _replay(arguments: argparse.Namespace) -> tuple[str, int]:
    # First what only the user can mend, then what is not installed, then what takes long.
    fleet, trace = _inputs(arguments)
    if arguments.plot is not None:
        plot.check_path(arguments.plot)
        plot.check_extra("--plot")
    console = None if arguments.json else new_console()
    outcomes = _outcomes(arguments, fleet, inputs.stretch(trace, arguments.requests))
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
        return fleet, inputs.made_up_trace()
    return fleet, inputs.read_trace(arguments.trace)


def _fleet(arguments: argparse.Namespace) -> list[Backend]:
    if arguments.catalogue is not None:
        return inputs.read_catalogue(arguments.catalogue)
    if arguments.fleet is None:
        return inputs.made_up_fleet()
    try:
        return load_fleet(arguments.fleet)
    except FleetFileError as error:
        if error.problem.startswith(("expected TOML", "expected UTF-8")):
            raise InputError(f"{error} {inputs.FORMATS}") from None
        raise


def _outcomes(given: argparse.Namespace, fleet: list[Backend], requests: Requests) -> list[Outcome]:
    models = inputs.draw_models(fleet, len(requests))
    outcomes = []
    for policy in Policy if given.policy == ALL else [Policy(given.policy)]:
        with progress_bar(f"replaying {policy}", len(requests)) as progress:
            load = fleet, requests, models, given.threads, policy, progress
            outcomes.append(engine.replay(*load))
    return outcomes


def _show(arguments: argparse.Namespace) -> tuple[str, int]:
    fleet = load_fleet(arguments.fleet)
    if arguments.json:
        return show.as_json(fleet) + "\n", 0
    console = new_console()
    with console.capture() as tables:
        show.print_tables(console, fleet)
    return tables.get(), 0


def _fail(message: str) -> int:
    print(f"registry: {printable(' '.join(message.splitlines()))}", file=sys.stderr)
    return 2
