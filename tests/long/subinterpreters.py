"""A subinterpreter has a working registry, or its import fails with a clear ImportError.

Either way, the main interpreter is not affected.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from support.children import run_child

UNIT = "interpreters"
GOAL = 1000

PER_CHILD = 20
# The word that the error message must contain.
REASON = "interpreter"

# Runs in a subinterpreter, and writes the result of the import to a pipe.
INSIDE = """
import os, sys
sys.path[:] = {path!r}
try:
    import {module} as package
    registry = package.Registry()
    registry.add_backend(package.Backend("a", "a", "http://a", models=[package.Model("m")]))
    registry.update_status("a", "healthy")
    with registry.acquire("m"):
        assert registry.get_backend("a").pending_requests == 1
    said = f"works: {{len(registry)}}"
except BaseException as error:
    said = f"{{type(error).__name__}}: {{error}}"
os.write({pipe}, said.encode())
"""


def run(
    until: Callable[[], bool],
    *,
    module: str = "registry",
    interpreters: int = PER_CHILD,
    limit: float = 60.0,
) -> Iterator[int]:
    """A subinterpreter, with a shared GIL or one of its own, works or is refused clearly."""
    for is_first in itertools.cycle((True, False)):
        call = f"in_turn({module!r}, {interpreters}, {is_first})"
        code = f"from long import subinterpreters; subinterpreters.{call}"
        done = run_child(code, limit)
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
        yield interpreters
        if not is_first and until():
            return


def in_turn(module: str, count: int, is_first: bool) -> None:
    """Runs in a child: creates subinterpreters of both kinds.

    Threads of the main interpreter use a registry at the same time. If `is_first`, the main
    interpreter imports the package only after the subinterpreters.
    """
    if is_first:
        for number in range(count):
            judge(said_inside(module, is_isolated=number % 2 == 0))
        # The package must not work only in the subinterpreter that imported it first.
        try:
            package = importlib.import_module(module)
        except ImportError as error:
            judge(f"ImportError: {error}")
            return
        assert list(filled(package)) == ["a"]
        return
    registry, stop = filled(importlib.import_module(module)), threading.Event()
    threads = [threading.Thread(target=count_up_and_down, args=(registry, stop)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(count):
        judge(said_inside(module, is_isolated=number % 2 == 0))
    stop.set()
    for thread in threads:
        thread.join()
    assert registry.get_backend("a").pending_requests == 0


def filled(package: Any) -> Any:
    """A registry with one backend."""
    registry = package.Registry()
    registry.add_backend(package.Backend("a", "a", "http://a"))
    return registry


def count_up_and_down(registry: Any, stop: threading.Event) -> None:
    """Uses the registry in the main interpreter."""
    while not stop.is_set():
        registry.increment_pending("a")
        registry.update_status("a", "unhealthy", "x")
        registry.decrement_pending("a")


def judge(said: str) -> None:
    """The registry works, or the refusal gives its reason."""
    is_clear = said.startswith("ImportError: ") and REASON in said
    assert said == "works: 1" or is_clear, said


def said_inside(module: str, is_isolated: bool) -> str:
    """What a new subinterpreter writes about the import.

    The subinterpreter is destroyed afterwards.
    """
    reading, writing = os.pipe()
    try:
        execute(INSIDE.format(path=sys.path, module=module, pipe=writing), is_isolated)
        os.set_blocking(reading, False)
        return os.read(reading, 10000).decode()
    finally:
        os.close(reading)
        os.close(writing)


def execute(source: str, is_isolated: bool) -> None:
    """Runs the code in a subinterpreter.

    An isolated one has a GIL of its own, if the Python version supports that.
    """
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters

        made = interpreters.create("isolated" if is_isolated else "legacy")
        failure = interpreters.exec(made, source)
    else:
        # Type checkers do not know the module.
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]

        made = interpreters.create(isolated=is_isolated)
        failure = interpreters.run_string(made, source)
    assert failure is None, failure
    interpreters.destroy(made)
