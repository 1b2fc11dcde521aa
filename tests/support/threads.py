"""Real threads for tests: started together, limited in time, with exceptions raised in the test."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

LIMIT = 60.0


def run_threads(functions: Sequence[Callable[[], Any]], limit: float = LIMIT) -> list[Any]:
    """Runs all functions at once, each in a thread of its own, and returns their results.

    Raises what one of them raised. If some thread still runs after `limit` seconds, prints the
    stacks of all threads and raises TimeoutError.
    """
    barrier = threading.Barrier(len(functions))
    results: list[Any] = [None] * len(functions)
    failures: list[BaseException] = []

    def run(index: int, function: Callable[[], Any]) -> None:
        try:
            barrier.wait(limit)
            results[index] = function()
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        faulthandler.dump_traceback(all_threads=True)
        raise TimeoutError(f"threads were still running after {limit} s")
    if failures:
        raise failures[0]
    return results


def until_done(
    work: Callable[[], Any], *watchers: Callable[[], Any], limit: float = LIMIT
) -> list[int]:
    """Runs `work` in one thread, and each watcher repeatedly in another until `work` is done.

    Every watcher runs at least once after `work` is done. Returns how often each watcher ran.
    """
    done = threading.Event()

    def worker() -> None:
        try:
            work()
        finally:
            done.set()

    def watching(watcher: Callable[[], Any]) -> Callable[[], int]:
        def watch() -> int:
            rounds = 0
            while True:
                last = done.is_set()
                watcher()
                rounds += 1
                if last:
                    return rounds

        return watch

    return run_threads([worker, *map(watching, watchers)], limit)[1:]
