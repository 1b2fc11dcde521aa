"""The terminal that the commands share: a console, a progress bar, stdout and stderr.

Functions import `rich` themselves: it comes with the extra `cli`, and `--json` works without it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from registry._messages import printable

if TYPE_CHECKING:
    from rich.console import Console


class InputError(Exception):
    """Unusable input. The message names the file or the option, the place, and what was
    expected."""


def new_console() -> Console:
    """A console that prints ids without markup. Raises `InputError` if `rich` is missing."""
    try:
        from rich.console import Console
    except ImportError:
        raise InputError(
            "tables need rich: pip install 'backend-registry[cli]', or use --json"
        ) from None
    return Console(markup=False, emoji=False, highlight=False)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes the number done so far, out of `total`.

    It draws a bar if stderr is a terminal and `rich` is installed, and does nothing otherwise.
    """
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
    """Replaces the progress bar."""


def write(text: str) -> bool:
    """Writes to stdout, and escapes characters that its encoding lacks.

    Returns False if the reader has closed the pipe, which is no error.
    """
    if sys.stdout is None:
        raise InputError("standard output is closed")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        # Discard the rest of the buffer, or flushing it at exit would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "standard output") from None
        return False
    return True


def complain(message: str) -> None:
    """Prints the message on one line of stderr. Does nothing if stderr can't be written."""
    if sys.stderr is not None:
        with suppress(OSError):
            # One write, because another thread may print at the same time.
            sys.stderr.write(f"registry: {printable(' '.join(message.splitlines()))}\n")
            sys.stderr.flush()


class _Complaints(logging.Handler):
    """Prints what is logged like any other message of the commands."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints the record's message on one line, without a traceback."""
        complain(record.getMessage())


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Prints the library's warnings on stderr, one line each."""
    logger, handler = logging.getLogger("registry"), _Complaints()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
