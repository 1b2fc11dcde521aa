"""Whole-registry snapshots: what a query returns was true at one instant, whatever writers do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from support.threads import run_threads

from registry import Backend, BackendStatus, Model, Registry

UNIT = "reads"
GOAL = 10**7

READS = 20_000
READERS = 3
WRITES = 300  # at least, or on a busy machine all might be read before the writer comes
ERRORS = {
    BackendStatus.UNHEALTHY: "down",
    BackendStatus.DRAINING: "drain",
    BackendStatus.UNKNOWN: None,
}
BOTH = (Model("m"), Model("n"))


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, reads: int = READS
) -> Iterator[int]:
    """Rounds of every case: each with a writer, and with readers that count what they check."""
    while True:
        for write, look in CASES:
            yield case(filled(make), write, look, reads)
        if until():
            return


def filled(make: Callable[[], Registry]) -> Registry:
    """a and b, and backends between them, so that a query is long enough for the writer to come in between."""
    registry = make()
    for backend_id in ("a", *(f"filler-{number}" for number in range(10)), "b"):
        models = (Model("m"),) if backend_id in "ab" else ()
        registry.add_backend(Backend(backend_id, backend_id, "http://h", models=models))
    registry.update_status("a", "healthy")
    return registry


def case(
    registry: Registry,
    write: Callable[[Registry, int], None],
    look: Callable[[Registry], None],
    reads: int,
) -> int:
    """One writer, until a reader has read enough while enough was written; how much all have read."""
    enough, over = threading.Event(), threading.Event()
    written = 0

    def write_on() -> None:
        nonlocal written
        try:
            while not enough.is_set():
                write(registry, written)
                written += 1
        finally:
            over.set()

    def read_on() -> int:
        done = 0
        try:
            while done < reads or not (written >= WRITES or over.is_set()):
                look(registry)
                done += 1
        finally:
            enough.set()
        return done

    return sum(run_threads([write_on, *[read_on] * READERS], limit=600)[1:])


def swap_health(registry: Registry, number: int) -> None:
    """One of a and b is healthy at every instant."""
    on, off = "ab" if number % 2 else "ba"
    registry.update_status(on, "healthy")
    registry.update_status(off, "unhealthy", "down")


def see_one_healthy(registry: Registry) -> None:
    """Never none, and none that isn't."""
    views = registry.get_healthy_backends()
    assert views, "neither a nor b is healthy"
    assert all(view.status is BackendStatus.HEALTHY for view in views), "a view that is not healthy"


def move_models(registry: Registry, number: int) -> None:
    """One of a and b serves m at every instant."""
    on, off = "ab" if number % 2 else "ba"
    registry.update_models(on, BOTH)
    registry.update_models(off, BOTH[1:])


def see_the_model(registry: Registry) -> None:
    """Never nobody, and nobody who doesn't."""
    views = registry.get_backends_for_model("m")
    assert views, "nobody serves m"
    assert all(any(model.id == "m" for model in view.models) for view in views), (
        "a view lacks the model that was asked for"
    )


def change_status(registry: Registry, number: int) -> None:
    """Status and error belong together."""
    status = list(ERRORS)[number % len(ERRORS)]
    registry.update_status("a", status, ERRORS[status])


def see_status_and_error(registry: Registry) -> None:
    """As they were written, in one view and in a list."""
    for view in (registry.get_backend("a"), registry.get_all_backends()[0]):
        assert view is not None
        if view.status is not BackendStatus.HEALTHY:
            assert view.last_error == ERRORS[view.status], (
                f"torn: {view.status}, {view.last_error!r}"
            )


CASES = (
    (swap_health, see_one_healthy),
    (move_models, see_the_model),
    (change_status, see_status_and_error),
)
