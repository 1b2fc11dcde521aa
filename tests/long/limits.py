"""Caps and weights change while threads acquire: no cap is exceeded, and every count is exact."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

from long import snapshots
from support.selection import key_for

from registry import Backend, Lease, Model, NoBackendAvailableError, Policy, Registry

UNIT = "looks"
GOAL = 10**6

THREADS = 8
LOOKS = 5_000
IDS = ("a", "b")
CAPS = (2, 5)
EACH = 3  # Leases that a thread wants at the same time.


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, looks: int = LOOKS
) -> Iterator[int]:
    """Runs rounds of a new registry each."""
    while True:
        registry, users = make(), Users()
        for backend_id in IDS:
            registry.add_backend(definition(backend_id, 0))
        yield snapshots.case(registry, change, users.use, looks, THREADS)
        users.check_counts(registry)
        if until():
            return


def definition(backend_id: str, number: int) -> Backend:
    """The same server each time. The number decides about its cap, weight and priority."""
    return Backend(
        backend_id,
        backend_id,
        f"http://{backend_id}",
        models=[Model("m")],
        max_pending=CAPS[number % 2],
        weight=1 + number % 3,
        priority=number % 5,
    )


def change(registry: Registry, number: int) -> None:
    """Changes the limits of one backend, or of both in one instant."""
    if number % 3 == 0:
        registry.reconcile([definition(backend_id, number // 3) for backend_id in IDS])
    else:
        registry.update_backend(definition(IDS[number % 2], number))


class Users:
    """Threads that take leases, and what they know about the requests in flight."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.held: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def use(self, registry: Registry) -> None:
        """Takes a few leases if there is room, and releases them."""
        leases: list[Lease] = []
        try:
            for policy in list(Policy)[:EACH]:
                self.take(registry, policy, leases)
            for view in registry.get_all_backends():
                assert view.pending_requests <= max(CAPS), "more in flight than any cap"
        finally:
            for lease in leases:
                with self.lock:
                    self.held[lease.backend.id] -= 1
                    self.ended[lease.backend.id] += 1
                lease.release(1)

    def take(self, registry: Registry, policy: Policy, leases: list[Lease]) -> None:
        """Takes a lease, unless both backends are full."""
        try:
            leases.append(
                registry.acquire("m", policy=policy, affinity=key_for(policy), allow_unknown=True)
            )
        except NoBackendAvailableError as error:
            if not set(error.reasons.values()) <= {"full"}:
                raise AssertionError("refused although there is room") from error
            return
        backend_id = leases[-1].backend.id
        with self.lock:
            self.held[backend_id] += 1
            # Requests are counted here later, and uncounted earlier, than in the registry.
            assert self.held[backend_id] <= max(CAPS), "more in flight than any cap"

    def check_counts(self, registry: Registry) -> None:
        """All requests have ended, and each was counted."""
        seen = {view.id: view.total_requests for view in registry.get_all_backends()}
        assert seen == {backend_id: self.ended[backend_id] for backend_id in IDS}, "counts are lost"
        assert not any(view.pending_requests for view in registry.get_all_backends()), "in flight"
