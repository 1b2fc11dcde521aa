"""Ids are removed and registered again while leases of old registrations are released."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

from support.threads import run_threads

from registry import Backend, BackendNotFoundError, Lease, Model, Registry

UNIT = "registrations"
GOAL = 10**6

ROUND = 20_000
OWNERS = 2
HELD = 3


def run(
    until: Callable[[], bool],
    *,
    make: Callable[[], Registry] = Registry,
    registrations: int = ROUND,
) -> Iterator[int]:
    """The counters of a new registration stay at 0 while others release leases of the old ones."""
    while True:
        registry = make()
        run_threads(
            [
                job
                for number in range(OWNERS)
                for job in pair(registry, f"b{number}", registrations // OWNERS)
            ],
            600,
        )
        yield registrations
        if until():
            return


def pair(
    registry: Registry, name: str, count: int
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Two functions: one renews the registration, the other one releases its leases."""
    old: queue.SimpleQueue[Lease | None] = queue.SimpleQueue()
    return lambda: renew(registry, name, old, count), lambda: release_all(old)


def renew(registry: Registry, name: str, old: queue.SimpleQueue[Lease | None], count: int) -> None:
    """Adds the backend, takes leases, removes it, and passes the leases on; `count` times."""
    backend = Backend(name, name, f"http://{name}", models=[Model(name)])
    try:
        for _ in range(count):
            registry.add_backend(backend)
            registry.update_status(name, "healthy")
            leases = [registry.acquire(name) for _ in range(HELD)]
            view = registry.remove_backend(name)
            seen = (view.pending_requests, view.total_requests, view.avg_latency_ms)
            assert seen == (HELD, 0, 0), f"a new registration was touched: {seen}"
            for lease in leases:
                old.put(lease)
    finally:
        old.put(None)


def release_all(old: queue.SimpleQueue[Lease | None]) -> None:
    """Releases each lease once, with a latency that would show in a wrong average."""
    while (lease := old.get()) is not None:
        assert lease.release(999)
        try:
            assert lease.backend.id.startswith("b")
        except BackendNotFoundError as error:
            raise AssertionError("a lease forgot its backend") from error
