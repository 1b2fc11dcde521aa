"""What other threads see while a backend is replaced, probed and drained.

Its id is never missing and keeps its place; a probe marks the server that it looked at, or none;
and only the operator ends a drain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from long import snapshots
from support.selection import key_for

from registry import Backend, BackendNotFoundError, Model, NoBackendAvailableError, Policy, Registry

UNIT = "looks"
GOAL = 10**6

READERS = 8
LOOKS = 5_000
URLS = ("http://one", "http://two")


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, looks: int = LOOKS
) -> Iterator[int]:
    """Runs each case in turn, with one writer and with readers that check what they see."""
    while True:
        for prepare, write, look in CASES:
            registry = make()
            for backend_id in ("a", "x", "z"):
                registry.add_backend(definition(backend_id, 0))
            prepare(registry)
            yield snapshots.case(registry, write, look, looks, READERS)
        if until():
            return


def definition(backend_id: str, number: int) -> Backend:
    """A backend. The number decides about its url and its weight."""
    return Backend(
        backend_id,
        backend_id,
        URLS[number % 2],
        models=[Model("m"), Model(backend_id)],
        metadata={"mdns_instance": backend_id},
        weight=1 + number % 3,
    )


def replace_x(registry: Registry, number: int) -> None:
    """Another server takes the place of x."""
    registry.update_backend(definition("x", number))


# ---- The id is never missing.


def let_all_be_chosen(registry: Registry) -> None:
    """Nothing: whoever chooses allows unknown backends."""


def see_x(registry: Registry) -> None:
    """Every operation finds x, and every list has it in the same place."""
    first = registry.get_backend("x")
    assert first is not None, "x is missing"
    assert "x" in registry, "x is missing"
    for ids in (
        list(registry),
        [view.id for view in registry.get_all_backends()],
        [view.id for view in registry.get_backends_for_model("m")],
    ):
        assert ids == ["a", "x", "z"], f"x is missing or elsewhere: {ids}"
    assert [view.id for view in registry.get_backends_for_model("x")] == ["x"], "x is missing"
    assert registry.find_by_mdns_instance("x") == "x", "x is missing"
    assert len(registry) == registry.model_count() - 1 == 3, "x is missing"
    try:
        registry.increment_total_requests("x")
        registry.update_latency("x", 1)
        registry.update_status("x", "unknown")
        registry.acquire("x", allow_unknown=True).release(1)
    except (BackendNotFoundError, NoBackendAvailableError) as error:
        raise AssertionError("x is missing") from error
    last = registry.get_backend("x")
    assert last is not None, "x is missing"
    assert first.serial <= last.serial, "serials decrease"
    assert (first.serial == last.serial) <= (first.url == last.url), "one serial, two servers"


# ---- A call with a serial acts on that registration only.


def probe_x(registry: Registry) -> None:
    """Marks the server that was looked at, and checks that the marks are in the right place.

    Only servers at the first url are drained.
    """
    seen = registry.get_backend("x")
    assert seen is not None
    with suppress(BackendNotFoundError):
        registry.update_status("x", "unhealthy", str(seen.serial), serial=seen.serial)
        if seen.url == URLS[0]:
            registry.drain("x", serial=seen.serial)
    view = registry.get_backend("x")
    assert view is not None
    assert view.last_error in (None, str(view.serial)), "marked by a probe of another server"
    assert not (view.draining and view.url == URLS[1]), "drained instead of another server"


# ---- Health and the operator's decision do not overwrite each other.


def drain_x(registry: Registry) -> None:
    """The operator's decision. From now on nobody may choose x."""
    registry.drain("x")
    for backend_id in ("a", "x", "z"):
        registry.update_status(backend_id, "healthy")


def report_on_x(registry: Registry, number: int) -> None:
    """Observes x, and changes everything but the server."""
    registry.update_status("x", ("healthy", "unhealthy", "unknown")[number % 3])
    definitions = [definition("a", 0), definition("x", 2 * number), definition("z", 0)]
    registry.update_backend(definitions[1])
    registry.reconcile(definitions)


def see_no_use_of_x(registry: Registry) -> None:
    """x stays drained, and nobody chooses it."""
    view = registry.get_backend("x")
    assert view is not None
    assert view.draining, "no longer drained"
    assert [one.id for one in registry.get_healthy_backends()] == ["a", "z"], "no longer drained"
    for policy in Policy:
        assert registry.select("m", policy=policy, affinity=key_for(policy)).id in ("a", "z"), (
            "chosen although drained"
        )
    with suppress(NoBackendAvailableError), registry.acquire("x", allow_unknown=True):
        raise AssertionError("chosen although drained")


CASES = (
    (let_all_be_chosen, replace_x, see_x),
    (let_all_be_chosen, replace_x, probe_x),
    (drain_x, report_on_x, see_no_use_of_x),
)
