"""Short-lived threads: each reads, writes and chooses, and leaves no memory behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from registry import Backend, Model, Registry

from .resident import steady

UNIT = "threads"
GOAL = 10**5

# Bytes for each thread. A thread's slot in the core takes 192, so a leak of slots shows.
LIMIT = 16.0
# Memory that the interpreter keeps after threads end: 4 to 9 MB were measured.
SLACK = 16 << 20
ROUND = 500
LEAST = 10 * ROUND


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, least: int = LEAST
) -> Iterator[int]:
    """Runs a few threads at a time.

    Neither resident memory nor the core's own account of it grows.
    """
    registry = make()
    registry.add_backend(Backend("b", "b", "http://b", models=[Model("m")]))
    registry.update_status("b", "healthy")
    most = registry.stats().bytes + 100_000

    def use() -> None:
        with registry.acquire("m"):
            registry.get_all_backends()
        registry.update_status("b", "healthy")

    def work() -> int:
        for _ in range(ROUND // 4):
            threads = [threading.Thread(target=use) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        stats = registry.stats()
        assert stats.bytes < most, stats
        return ROUND

    yield from steady(work, until, limit=LIMIT, slack=SLACK, least=least, unit=UNIT)
