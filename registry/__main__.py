"""The command line: `python -m registry replay` and `python -m registry show`.

Exit status: 0 all well, 1 the replay's counts do not add up, 2 wrong usage or input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from registry import show
from registry._terminal import InputError, new_console, progress_bar, write
from registry._text import printable
from registry.backend import Backend
from registry.errors import FleetFileError
from registry.fleet import load_fleet
from registry.replay import engine, inputs, plot, report
from registry.selection import Policy

ALL = "all"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m registry", description="The source of truth of an LLM gateway.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_replay(
        commands.add_parser("replay", help="put a fleet under load from many threads and show what the registry knows")
    )
    shown = commands.add_parser("show", help="print a fleet's backends and models")
    shown.add_argument("--fleet", metavar="FILE.toml", required=True, help="the fleet file")
    shown.add_argument("--json", action="store_true", help="JSON instead of tables")
    shown.set_defaults(command=_show)
    return parser


def _add_replay(replay: argparse.ArgumentParser) -> None:
    fleet = replay.add_mutually_exclusive_group()
    fleet.add_argument("--fleet", metavar="FILE.toml", help="the backends of a fleet file")
    fleet.add_argument("--catalogue", metavar="FILE.json", help="the providers of a model catalogue as backends")
    replay.add_argument("--trace", metavar="FILE.csv", help=f"requests, with the columns {','.join(inputs.COLUMNS)}")
    replay.add_argument(
        "--policy",
        choices=[*(policy.value for policy in Policy), ALL],
        default=Policy.LEAST_PENDING.value,
        help=f"how backends are chosen (default {Policy.LEAST_PENDING}); {ALL} compares all of them",
    )
    replay.add_argument(
        "--threads", type=_positive, default=4, metavar="N", help="threads that send requests (default 4)"
    )
    replay.add_argument("--requests", type=_positive, metavar="N", help="how many requests (default: the whole trace)")
    replay.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    replay.add_argument("--plot", metavar="FILE.svg", help="draw in flight over time, a line per policy")
    replay.set_defaults(command=_replay)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, not {text!r}")
    return int(text)


def _replay(arguments: argparse.Namespace) -> tuple[str, int]:
    console = None if arguments.json else new_console()
    fleet = _fleet(arguments)
    trace = inputs.made_up_trace() if arguments.trace is None else inputs.read_trace(arguments.trace)
    requests = inputs.stretch(trace, arguments.requests)
    models = inputs.draw_models(fleet, len(requests))
    if not models:
        raise InputError(f"{arguments.fleet or arguments.catalogue}: expected a backend with a model, found none")
    if arguments.plot is not None:
        plot.check(arguments.plot)
    outcomes = []
    for policy in Policy if arguments.policy == ALL else [Policy(arguments.policy)]:
        with progress_bar(f"replaying {policy}", len(requests)) as progress:
            outcomes.append(engine.replay(fleet, requests, models, arguments.threads, policy, progress))
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


def _fleet(arguments: argparse.Namespace) -> list[Backend]:
    if arguments.fleet is not None:
        return load_fleet(arguments.fleet)
    if arguments.catalogue is not None:
        return inputs.read_catalogue(arguments.catalogue)
    return inputs.made_up_fleet()


def _show(arguments: argparse.Namespace) -> tuple[str, int]:
    console = None if arguments.json else new_console()
    fleet = load_fleet(arguments.fleet)
    if console is None:
        return show.as_json(fleet) + "\n", 0
    with console.capture() as tables:
        show.print_tables(console, fleet)
    return tables.get(), 0


def _fail(message: str) -> int:
    print(f"registry: {printable(' '.join(message.splitlines()))}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
