"""Short-lived threads: each reads, writes and chooses, and leaves nothing when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from registry import Backend, Model, Registry

from .resident import steady

UNIT = "threads"
GOAL = 10**5

LIMIT = 16.0  # bytes for each: a slot of the core takes 192
SLACK = (
    16 << 20
)  # the interpreter's own, until it uses again what ended threads leave: 4 to 9 MB seen
ROUND = 500
LEAST = 10 * ROUND


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, least: int = LEAST
) -> Iterator[int]:
    """A few at a time; memory does not grow, and the core's own account of it doesn't either."""
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
