"""The command line of `python -m registry`: the parser, and what happens to errors.

Each command is a module. It adds its options to the parser, and names the function that runs the
command. That function takes the parsed arguments and returns the output and the exit status.

Exit status: 0 success, 1 the replay's counts do not add up or the compared fleets differ, 2 wrong
usage or input, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import registry
from registry import FleetFileError
from registry.cli import follow, show
from registry.cli.replay import command as replay
from registry.cli.terminal import InputError, complain, warnings_on_stderr, write


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status."""
    try:
        arguments = _parser().parse_args(argv)
        with warnings_on_stderr():
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


def _fail(message: str) -> int:
    """Prints the message, and returns the exit status."""
    complain(message)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m registry", description="Commands for fleets of LLM backends."
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    follow.add_options(
        commands.add_parser(
            "follow", help="follow a fleet file, and print what each reload changes"
        )
    )
    replay.add_options(
        commands.add_parser(
            "replay",
            help="send requests to a fleet from many threads, and check the registry's counts",
        )
    )
    show.add_options(
        commands.add_parser(
            "show", help="print the backends and models of a fleet, or what a reload would change"
        )
    )
    return parser


class _Version(argparse.Action):
    """Looks up the version only when the option is given, because the lookup is slow."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_given: object) -> None:
        """Prints the version and ends the program."""
        write(f"backend-registry {registry.__version__}\n")
        parser.exit()
