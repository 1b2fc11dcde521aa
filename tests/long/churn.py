"""Memory under churn: backends that were added, replaced and removed leave nothing behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from registry import Backend, BackendView, Model, Registry

from .resident import steady

UNIT = "backends"
GOAL = 10**7

LIMIT = 1.0  # Bytes for each backend that came and went.
SLACK = 1 << 20  # Free memory that other tests of the same process have left.
ROUND = 20_000
DIFFERENT = 1000
HELD = 100  # Views; each is dropped when a hundred newer ones exist.
LEAST = 10 * ROUND


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, least: int = LEAST
) -> Iterator[int]:
    """Resident memory grows by under a byte per backend; little waits for reclamation."""
    registry = make()
    number = 0
    held: deque[BackendView | None] = deque(maxlen=HELD)

    def work() -> int:
        nonlocal number
        number += 1
        # New strings in each round: a leak of interned strings would show.
        names = [f"b{number}-{which}" for which in range(DIFFERENT)]
        backends = [
            Backend(name, name, f"http://{name}", models=[Model("m"), Model(name)])
            for name in names
        ]
        others = [replace(backend, url=f"{backend.url}/other") for backend in backends]
        for _ in range(ROUND // DIFFERENT):
            for name, backend, other in zip(names, backends, others, strict=True):
                registry.add_backend(backend)
                held.append(registry.get_backend(name))
                registry.update_backend(other)
                registry.remove_backend(name)
        stats = registry.stats()
        assert (stats.backends, stats.models, stats.index_entries) == (0, 0, 0), stats
        assert stats.waiting_for_reclamation < 1000, stats
        return ROUND

    yield from steady(work, until, limit=LIMIT, slack=SLACK, least=least, unit=UNIT)
