"""The command line: `python -m registry replay` and `python -m registry show`.

Exit status: 0 all well, 1 the replay's counts do not add up, 2 wrong usage or input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from registry import show
from registry.backend import Backend
from registry.errors import FleetFileError
from registry.fleet import load_fleet
from registry.replay import engine, inputs, report

if TYPE_CHECKING:
    from rich.console import Console


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
        sys.stdout.flush()
    except (inputs.InputError, FleetFileError) as error:
        return _fail(str(error))
    except BrokenPipeError:
        # The reader has seen enough; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m registry", description="The source of truth of an LLM gateway.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    replay = commands.add_parser(
        "replay", help="put a fleet under load from many threads and show what the registry knows"
    )
    fleet = replay.add_mutually_exclusive_group()
    fleet.add_argument("--fleet", metavar="FILE.toml", help="the backends of a fleet file")
    fleet.add_argument("--catalogue", metavar="FILE.json", help="the providers of a model catalogue as backends")
    replay.add_argument("--trace", metavar="FILE.csv", help=f"requests, with the columns {','.join(inputs.COLUMNS)}")
    replay.add_argument(
        "--threads", type=_positive, default=4, metavar="N", help="threads that send requests (default 4)"
    )
    replay.add_argument("--requests", type=_positive, metavar="N", help="how many requests (default: the whole trace)")
    replay.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    replay.set_defaults(command=_replay)
    shown = commands.add_parser("show", help="print a fleet's backends and models")
    shown.add_argument("--fleet", metavar="FILE.toml", required=True, help="the fleet file")
    shown.add_argument("--json", action="store_true", help="JSON instead of tables")
    shown.set_defaults(command=_show)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _replay(arguments: argparse.Namespace) -> int:
    console = None if arguments.json else _console()
    fleet = _fleet(arguments)
    trace = inputs.read_trace(arguments.trace) if arguments.trace else inputs.made_up_trace()
    requests = inputs.stretch(trace, arguments.requests)
    models = inputs.draw_models(fleet, len(requests))
    if not models:
        raise inputs.InputError(
            f"{arguments.fleet or arguments.catalogue}: expected a backend with a model, found none"
        )
    if console is None:
        outcome = engine.replay(fleet, requests, models, arguments.threads)
        print(report.as_json(outcome))
    else:
        with report.progress_bar(console, len(requests)) as progress:
            outcome = engine.replay(fleet, requests, models, arguments.threads, progress)
        report.print_tables(console, outcome)
    return 0 if outcome.adds_up else 1


def _fleet(arguments: argparse.Namespace) -> list[Backend]:
    if arguments.fleet:
        return load_fleet(arguments.fleet)
    if arguments.catalogue:
        return inputs.read_catalogue(arguments.catalogue)
    return inputs.made_up_fleet()


def _show(arguments: argparse.Namespace) -> int:
    console = None if arguments.json else _console()
    fleet = load_fleet(arguments.fleet)
    if console is None:
        print(show.as_json(fleet))
    else:
        show.print_tables(console, fleet)
    return 0


def _console() -> Console:
    try:
        from rich.console import Console
    except ImportError:
        raise inputs.InputError("tables need rich: pip install 'backend-registry[cli]', or use --json") from None
    return Console()


def _fail(message: str) -> int:
    print(f"registry: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
