"""Several writers change one fleet at the same time: no call fails, and no change is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from support.fleets import make_backend, the
from support.threads import run_threads

from registry import (
    Backend,
    BackendNotFoundError,
    DuplicateBackendError,
    Model,
    Reconciliation,
    Registry,
)

ROUNDS = 1000


def turns(*definitions: Backend) -> Callable[[int], Backend]:
    """One definition after the other."""
    return lambda number: definitions[number % len(definitions)]


ONE_SERVER = turns(make_backend("x", "m"), make_backend("x", "m", "n", weight=2))
TWO_SERVERS = turns(make_backend("x", "m"), make_backend("x", "n", url="http://new"))
# Writes that need x and never remove it. None of them may fail.
WRITES: dict[str, Callable[[Registry, int], Any]] = {
    "update": lambda r, n: r.update_backend(ONE_SERVER(n)),
    "replace": lambda r, n: r.update_backend(TWO_SERVERS(n)),
    "reconcile": lambda r, n: r.reconcile([TWO_SERVERS(n), make_backend("y")]),
    "update_models": lambda r, n: r.update_models("x", [Model("m"), Model(f"n{n % 3}")]),
    "add_model": lambda r, n: r.add_model("x", Model(f"o{n % 3}")),
    "remove_model": lambda r, n: r.remove_model("x", f"o{n % 3}"),
    "set_mdns_instance": lambda r, n: r.set_mdns_instance("x", ("i", None)[n % 2]),
    "update_status": lambda r, n: r.update_status("x", "healthy"),
    "drain": lambda r, n: r.drain("x"),
    "resume": lambda r, n: r.resume("x"),
    "count": lambda r, n: r.increment_total_requests("x"),
    "count_many": lambda r, n: r.increment_pending_many(["x", "x"]),
    "average": lambda r, n: r.update_latency("x", 5),
}


@pytest.mark.parametrize("renew", ["replace", "reconcile"])
@pytest.mark.parametrize("write", WRITES)
def test_no_write_fails_while_the_backend_is_replaced(
    registry: Registry, renew: str, write: str
) -> None:
    registry.reconcile([make_backend("x", "m"), make_backend("y")])

    def repeat(name: str) -> None:
        for number in range(ROUNDS):
            WRITES[name](registry, number)

    run_threads([partial(repeat, name) for name in (renew, write, renew, write)])
    view = the(registry, "x")
    assert list(registry) == ["x", "y"]
    for model in view.models:
        assert [one.id for one in registry.get_backends_for_model(model.id)] == ["x"]
    assert registry.model_count() == len(registry.models()) == len(view.models)
    instance = view.metadata.get("mdns_instance")
    assert registry.find_by_mdns_instance("i") == (instance and "x")


def test_changes_of_parts_are_all_kept_beside_updates_of_other_backends(
    registry: Registry,
) -> None:
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id))

    def add(thread: int) -> None:
        for number in range(100):
            assert registry.add_model("a", Model(f"{thread}-{number}"))

    def renew() -> None:
        for number in range(200):
            registry.update_backend(make_backend("b", f"m{number}", url=f"http://{number}"))

    run_threads([*(partial(add, thread) for thread in range(3)), renew])
    assert len(the(registry, "a").models) == 300
    assert registry.model_count() == 301


def test_of_two_reconciles_each_is_applied_whole(registry: Registry) -> None:
    """The results of all calls add up: what one added, another one removed, or it is there."""
    fleets = [
        [make_backend(f"b{n}", "m", url=f"http://{colour}") for n in range(colour, 30, 1 + colour)]
        for colour in range(4)
    ]

    def swap(colour: int) -> list[Reconciliation]:
        done = []
        for number in range(200):
            done.append(registry.reconcile(fleets[(colour + number) % 4]))
            views = registry.get_all_backends()
            assert len({view.url for view in views}) == 1
            assert {view.backend.id for view in views} in (
                [{backend.id for backend in fleet} for fleet in fleets]
            )
        return done

    parts = run_threads([partial(swap, colour) for colour in range(4)])
    there: Counter[str] = Counter()
    for done in (done for part in parts for done in part):
        there.update(done.added)
        there.subtract(done.removed)
    assert {one for one, count in there.items() if count} == set(registry)
    assert set(there.values()) <= {0, 1}


def test_writers_of_two_sources_do_not_disturb_each_other(registry: Registry) -> None:
    def follow(source: Any) -> None:
        for number in range(300):
            wanted = [
                make_backend(f"{source}-{n}", "m", discovery_source=source, weight=1 + number % 2)
                for n in range(number % 5, 5)
            ]
            done = registry.reconcile(wanted, source=source)
            ids = [backend.id for backend in wanted]
            assert sorted((*done.added, *done.updated, *done.unchanged)) == ids
            assert done.replaced == ()
            mine = [v for v in registry.get_all_backends() if v.discovery_source == source]
            assert sorted(view.id for view in mine) == ids
            assert all(view.weight == 1 + number % 2 for view in mine)

    run_threads([partial(follow, source) for source in ("static", "mdns", "manual")])


def test_adding_and_reconciling_agree_about_who_came_first(registry: Registry) -> None:
    """Of an add and a reconcile with the same id, one adds it and the other one finds it."""

    def add() -> int:
        with suppress(DuplicateBackendError):
            registry.add_backend(make_backend("x"))
            return 1
        return 0

    def reconcile() -> int:
        return len(registry.reconcile([make_backend("x")]).added)

    for _ in range(300):
        assert sum(run_threads([add, reconcile])) == 1
        registry.remove_backend("x")


def test_of_calls_with_one_serial_only_those_before_the_replacement_act(
    registry: Registry,
) -> None:
    registry.add_backend(make_backend("x"))

    def remove(serial: int) -> bool:
        with suppress(BackendNotFoundError):
            registry.remove_backend("x", serial=serial)
            return True
        return False

    def renew(number: int) -> bool:
        with suppress(BackendNotFoundError):
            registry.update_backend(make_backend("x", url=f"http://{number}"))
            return True
        return False

    for number in range(500):
        serial = the(registry, "x").serial
        removed, also_removed, renewed = run_threads(
            [partial(remove, serial), partial(remove, serial), partial(renew, number)]
        )
        assert removed + also_removed + renewed == 1
        if renewed:
            assert the(registry, "x").serial > serial
        else:
            registry.add_backend(make_backend("x"))


def test_concurrent_probes_and_updates_are_all_kept(registry: Registry) -> None:
    """A status never brings an old definition back, nor a definition an old status."""
    registry.add_backend(make_backend("x"))

    def probe() -> None:
        for number in range(ROUNDS):
            registry.update_status("x", "unhealthy", str(number))
            assert the(registry, "x").last_error == str(number)

    def update() -> None:
        for number in range(ROUNDS):
            registry.update_backend(replace(make_backend("x"), weight=1 + number % 1000))
            assert the(registry, "x").weight == 1 + number % 1000

    run_threads([probe, update])
