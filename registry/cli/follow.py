"""The command `follow`: follows a fleet file and prints each change of the registry as a line."""

from __future__ import annotations

import argparse
import time

from registry import BackendView, Change, ChangeKind, Registry, Watch, follow_fleet, load_fleet
from registry._messages import printable
from registry.cli.terminal import InputError, write
from registry.cli.texts import counted, differences, from_to, line, summary

UNREAD = 100_000  # changes that may wait to be printed: a reload of a large fleet
# In seconds. CPython, above all 3.14t, notices a Ctrl-C that arrives just before a wait begins only
# when the wait ends.
WAIT = 0.5
# The state that each kind of change concerns. The other kinds concern the definition.
_STATE = {ChangeKind.STATUS: ("status", "last_error"), ChangeKind.DRAINING: ("draining",)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options to its parser."""
    parser.description = (
        "Load a fleet file, follow it, and print what each reload changes: one line per backend, "
        "until Ctrl-C (exit status 130). A file with a mistake is reported, and changes nothing. "
        "Values of settings are never printed."
    )
    parser.add_argument("--fleet", metavar="FILE.toml", required=True, help="the fleet file")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> tuple[str, int]:
    """Prints lines until the output is closed. Returns no further output, and exit status 0."""
    registry = Registry()
    try:
        follower = follow_fleet(registry, arguments.fleet)
    except ImportError:
        load_fleet(arguments.fleet)  # a mistake in the file is reported first
        raise InputError(
            "follow needs watchfiles: pip install 'backend-registry[follow]'"
        ) from None
    with follower, registry.watch(limit=UNREAD) as watch:
        _print_changes(watch, arguments.fleet)
    return "", 0


def _print_changes(watch: Watch, file: str) -> None:
    """Prints a line for the loaded fleet and one for each change, until the output is closed."""
    if not _print_line(f"{'loaded':8} {_size(watch)} from {printable(file)}"):
        return
    while True:
        change = watch.get(WAIT)
        if change is not None and not _print_line(described(change, watch)):
            return


def _print_line(text: str) -> bool:
    """Prints a line with the time of day. Returns False if the reader has closed the pipe."""
    return write(f"{time.strftime('%H:%M:%S')} {text}\n")


def described(change: Change, watch: Watch) -> str:
    """A change on one line: its kind, the id, and what is different now."""
    kind, before, after = change.kind, change.before, change.after
    if change.backend_id is None:
        return f"{kind} too many changes to print each; now {_size(watch)}"
    return line(kind, change.backend_id, _details(kind, before, after))


def _details(kind: ChangeKind, before: BackendView | None, after: BackendView | None) -> list[str]:
    if before is None or after is None:
        only = after or before
        return summary(only.backend) if only else []
    if kind in _STATE:
        return [
            from_to(name, getattr(before, name), getattr(after, name))
            for name in _STATE[kind]
            if getattr(before, name) != getattr(after, name)
        ]
    return differences(before.backend, after.backend)


def _size(watch: Watch) -> str:
    """The number of backends when the watch was opened, or when it lost changes."""
    return counted(len(watch.snapshot), "backend")
