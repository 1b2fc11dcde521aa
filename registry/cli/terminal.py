"""What the commands share of a terminal: a console, a progress bar, output that is written at once.

`rich` is imported where it is used: it is the extra `cli`, and `--json` does without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class InputError(Exception):
    """Something that the user gave and that cannot be used; the message names it, the place in it, and what was expected."""


def new_console() -> Console:
    """A console as wide as the terminal that takes ids as they are; `InputError` where `rich` is missing."""
    try:
        from rich.console import Console
    except ImportError:
        raise InputError(
            "tables need rich: pip install 'backend-registry[cli]', or use --json"
        ) from None
    return Console(markup=False, emoji=False, highlight=False)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes how much of `total` is done; draws a bar if stderr is a terminal and `rich` is there."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield _show_nothing
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )
    except ImportError:
        yield _show_nothing
        return
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=console.is_dumb_terminal
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _show_nothing(_done: int) -> None:
    """The bar where there is none."""


def write(text: str) -> None:
    """Writes to stdout, escaping what its encoding cannot express; a reader that has gone away is no error."""
    if sys.stdout is None:
        raise InputError("standard output is closed")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "standard output") from None
