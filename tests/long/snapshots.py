"""Queries return the state of one instant, whatever writers do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from support.threads import run_threads

from registry import Backend, BackendStatus, Model, Registry

UNIT = "reads"
GOAL = 10**7

READS = 20_000
READERS = 3
# The minimum number of writes: on a busy machine, readers could finish before the writer runs.
WRITES = 300
ERRORS = {
    BackendStatus.UNHEALTHY: "down",
    BackendStatus.DRAINING: "drain",
    BackendStatus.UNKNOWN: None,
}
BOTH = (Model("m"), Model("n"))


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, reads: int = READS
) -> Iterator[int]:
    """Runs each case in turn, with a writer and with readers that check what they see."""
    while True:
        for write, look in CASES:
            yield case(filled(make), write, look, reads)
        if until():
            return


def filled(make: Callable[[], Registry]) -> Registry:
    """A registry with a, b and many backends between them, so a query takes a while."""
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
    readers: int = READERS,
) -> int:
    """Runs one writer and the readers until a reader has read enough.

    Returns the number of reads.
    """
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

    return sum(run_threads([write_on, *[read_on] * readers], limit=600)[1:])


def swap_health(registry: Registry, number: int) -> None:
    """At every instant, a or b is healthy."""
    on, off = "ab" if number % 2 else "ba"
    registry.update_status(on, "healthy")
    registry.update_status(off, "unhealthy", "down")


def see_one_healthy(registry: Registry) -> None:
    """The query finds a healthy backend, and only healthy ones."""
    views = registry.get_healthy_backends()
    assert views, "neither a nor b is healthy"
    assert all(view.status is BackendStatus.HEALTHY for view in views), "a view that is not healthy"


def move_models(registry: Registry, number: int) -> None:
    """At every instant, a or b serves m."""
    on, off = "ab" if number % 2 else "ba"
    registry.update_models(on, BOTH)
    registry.update_models(off, BOTH[1:])


def see_the_model(registry: Registry) -> None:
    """The query finds a backend that serves m, and only such backends."""
    views = registry.get_backends_for_model("m")
    assert views, "no backend serves m"
    assert all(any(model.id == "m" for model in view.models) for view in views), (
        "a view lacks the model of the query"
    )


def change_status(registry: Registry, number: int) -> None:
    """Changes the status and its error."""
    status = list(ERRORS)[number % len(ERRORS)]
    registry.update_status("a", status, ERRORS[status])


def see_status_and_error(registry: Registry) -> None:
    """Status and error fit together, in a single view and in a list."""
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
