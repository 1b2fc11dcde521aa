"""What concurrent callers see, rule by rule, with real threads.

A race may go undetected, so a pass is weak evidence. Stronger evidence is that the C tests detect
the bugs that tests/c/plant plants.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from support.fleets import make_backend
from support.threads import run_threads, until_done

from registry import (
    BackendNotFoundError,
    BackendStatus,
    DuplicateBackendError,
    Model,
    Registry,
    RegistryError,
)


@pytest.fixture
def pair(registry: Registry) -> Registry:
    """Two backends that serve one model."""
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id, "m"))
    return registry


# ---- Operations are linearizable, also across different methods.


def test_a_backend_that_one_method_sees_is_seen_by_all(registry: Registry) -> None:
    def add_and_remove() -> None:
        for _ in range(2000):
            registry.add_backend(
                make_backend("x", "m", url="http://x", metadata={"mdns_instance": "i"})
            )
            registry.remove_backend("x")

    def sightings() -> list[bool]:
        return [
            registry.get_backend("x") is not None,
            "x" in registry,
            registry.has_backend_url("http://x"),
            registry.find_by_mdns_instance("i") == "x",
            bool(registry.get_backends_for_model("m")),
            bool(registry.get_all_backends()),
            bool(list(registry)),
            registry.backend_count() == 1,
            registry.model_count() == 1,
        ]

    changes = 0

    def watch() -> None:
        """One writer adds and removes x.

        If x is the same registration before and after, every sighting in between must find it.
        """
        nonlocal changes
        first = registry.get_backend("x")
        seen = sightings()
        last = registry.get_backend("x")
        if (
            first is not None
            and last is not None
            and first.last_health_check == last.last_health_check
        ):
            assert all(seen)
            changes += 1

    until_done(add_and_remove, watch, watch)
    assert sightings() == [False] * 9


def test_len_and_iteration_agree_with_the_order_of_writes(registry: Registry) -> None:
    """One writer adds a backend and then removes the oldest.

    At every instant there are 5 or 6 backends, and their numbers are consecutive.
    """
    for number in range(5):
        registry.add_backend(make_backend(f"{number:06d}"))

    def shift() -> None:
        for number in range(5, 4000):
            registry.add_backend(make_backend(f"{number:06d}"))
            registry.remove_backend(f"{number - 5:06d}")

    def watch() -> None:
        ids = [int(backend_id) for backend_id in registry]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert len(ids) in (5, 6)
        assert len(registry) in (5, 6)
        assert registry.backend_count() in (5, 6)

    until_done(shift, watch, watch, watch)


# ---- A query returns the state of one instant.


def test_a_model_that_moves_always_has_a_backend(pair: Registry) -> None:
    pair.update_models("b", [])

    def move() -> None:
        for number in range(2000):
            to, away = ("b", "a") if number % 2 == 0 else ("a", "b")
            pair.add_model(to, Model("m"))
            pair.remove_model(away, "m")

    def watch() -> None:
        views = pair.get_backends_for_model("m")
        assert [view.id for view in views] in (["a"], ["b"], ["a", "b"])
        assert all([model.id for model in view.models] == ["m"] for view in views)
        assert pair.model_count() == 1

    until_done(move, watch, watch, watch)


def test_queries_by_model_return_each_backend_once_and_in_order(registry: Registry) -> None:
    ids = [f"b{number}" for number in range(12)]

    def churn(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(1500):
            backend_id = rng.choice(ids)
            with suppress(RegistryError):
                match rng.randrange(5):
                    case 0:
                        registry.remove_backend(backend_id)
                    case 1:
                        registry.update_models(
                            backend_id, [Model("n"), Model("m")][rng.randrange(2) :]
                        )
                    case 2:
                        registry.remove_model(backend_id, "m")
                    case 3:
                        registry.add_model(backend_id, Model("m"))
                    case _:
                        registry.add_backend(
                            make_backend(backend_id, *["m", "n"][: rng.randrange(3)])
                        )

    def watch() -> None:
        everything = registry.get_all_backends()
        order = {view.id: place for place, view in enumerate(everything)}
        assert len(order) == len(everything)
        for model_id in "mn":
            views = registry.get_backends_for_model(model_id)
            assert all(any(model.id == model_id for model in view.models) for view in views)
            assert len({view.id for view in views}) == len(views)

    def watch_on() -> None:
        for _ in range(200):
            watch()

    for seed in range(3):
        run_threads([partial(churn, seed), partial(churn, seed + 100), *[watch_on] * 3])
    for model_id in "mn":
        serving = [
            view.id
            for view in registry.get_all_backends()
            if any(m.id == model_id for m in view.models)
        ]
        assert [view.id for view in registry.get_backends_for_model(model_id)] == serving


# ---- Status and error are written and read together.


def test_status_and_error_are_never_torn(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    errors = {
        BackendStatus.UNHEALTHY: "down",
        BackendStatus.DRAINING: "drain",
        BackendStatus.UNKNOWN: None,
    }

    def update() -> None:
        for number in range(4000):
            status = list(errors)[number % 3]
            registry.update_status("a", status, errors[status])

    def watch() -> None:
        first = registry.get_all_backends()[0]
        assert first.last_error == errors[first.status]
        view = registry.get_backend("a")
        assert view is not None
        assert view.last_error == errors[view.status]

    until_done(update, watch, watch, watch)


def test_check_times_of_one_writer_never_decrease(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    last = registry.get_all_backends()[0].last_health_check

    def watch() -> None:
        nonlocal last
        seen = registry.get_all_backends()[0].last_health_check
        assert seen >= last
        last = seen

    def update() -> None:
        for _ in range(4000):
            registry.update_status("a", "healthy")

    until_done(update, watch)


# ---- Updates belong to one registration.


def test_counts_never_reach_a_later_registration(registry: Registry) -> None:
    registry.add_backend(make_backend("x"))

    def churn() -> None:
        for _ in range(2000):
            registry.remove_backend("x")
            registry.add_backend(make_backend("x"))
            view = registry.get_backend("x")
            assert view is not None
            assert view.last_error is None

    def count() -> None:
        with suppress(BackendNotFoundError):
            registry.increment_pending("x")

    until_done(churn, count, count)
    registry.remove_backend("x")
    registry.add_backend(make_backend("x"))
    view = registry.get_backend("x")
    assert view is not None
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (0, 0, 0)


# ---- Counts are exact.


def test_no_count_is_lost(pair: Registry) -> None:
    def work() -> None:
        for number in range(3000):
            backend_id = "ab"[number % 2]
            pair.increment_pending(backend_id)
            pair.increment_total_requests(backend_id)
            pair.increment_pending_many(["a", "b", "a"])
            pair.decrement_pending_many(["a", "a", "b"])
            pair.decrement_pending(backend_id)

    run_threads([work] * 8)
    assert [(view.pending_requests, view.total_requests) for view in pair.get_all_backends()] == [
        (0, 12000)
    ] * 2


def test_concurrent_changes_of_one_definition_are_all_kept(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))

    def add(thread: int) -> None:
        for number in range(50):
            assert registry.add_model("a", Model(f"{thread}-{number}"))
            if number % 2:
                assert registry.remove_model("a", f"{thread}-{number - 1}")

    run_threads(
        [*(lambda t=t: add(t) for t in range(7)), lambda: registry.set_mdns_instance("a", "i")]
    )
    view = registry.get_all_backends()[0]
    assert {model.id for model in view.models} == {
        f"{t}-{n}" for t in range(7) for n in range(1, 50, 2)
    }
    assert view.metadata == {"mdns_instance": "i"}
    assert registry.model_count() == 7 * 25


# ---- Any two operations may run at the same time, in either order, on the same ids.

OPERATIONS: dict[str, Callable[[Registry], object]] = {
    "add": lambda r: r.add_backend(make_backend("x", "m", "n", metadata={"mdns_instance": "i"})),
    "remove": lambda r: r.remove_backend("x"),
    "update": lambda r: r.update_backend(make_backend("x", "m", "n", weight=2)),
    "replace": lambda r: r.update_backend(make_backend("x", "o", "m", url="http://new")),
    "reconcile": lambda r: r.reconcile([make_backend("y", "m", "p"), make_backend("x", "n", "m")]),
    "drain": lambda r: r.drain("x"),
    "resume": lambda r: r.resume("x"),
    "models": lambda r: r.models(),
    "get": lambda r: r.get_backend("x"),
    "all": lambda r: r.get_all_backends(),
    "healthy": lambda r: r.get_healthy_backends(),
    "for_model": lambda r: r.get_backends_for_model("m"),
    "counts": lambda r: (r.backend_count(), r.model_count(), len(r)),
    "contains": lambda r: "x" in r,
    "iterate": lambda r: list(r),
    "status": lambda r: r.update_status("x", "healthy"),
    "update_models": lambda r: r.update_models("x", [Model("m"), Model("o")]),
    "add_model": lambda r: r.add_model("x", Model("p")),
    "remove_model": lambda r: r.remove_model("x", "p"),
    "increment": lambda r: r.increment_pending("x"),
    "decrement": lambda r: r.increment_pending("x") and r.decrement_pending("x"),
    "total": lambda r: r.increment_total_requests("x"),
    "latency": lambda r: r.update_latency("x", 5),
    "many": lambda r: r.increment_pending_many(["x", "y"]),
    "url": lambda r: r.has_backend_url("http://host-x"),
    "set_instance": lambda r: r.set_mdns_instance("x", "j"),
    "find_instance": lambda r: r.find_by_mdns_instance("i"),
    "json": lambda r: r.to_json(),
}


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations_with_replacement(OPERATIONS, 2))
)
def test_every_pair_of_operations_runs_concurrently(
    registry: Registry, one: str, other: str
) -> None:
    registry.add_backend(make_backend("x", "m"))
    registry.add_backend(make_backend("y", "m"))

    def repeat(first: str, second: str) -> None:
        for _ in range(25):
            for name in (first, second):
                with suppress(BackendNotFoundError, DuplicateBackendError):
                    OPERATIONS[name](registry)

    run_threads([lambda: repeat(one, other), lambda: repeat(other, one)])
    views = registry.get_all_backends()
    assert [view.id for view in views] == list(registry)
    for model_id in "mnop":
        serving = [view.id for view in views if any(model.id == model_id for model in view.models)]
        assert [view.id for view in registry.get_backends_for_model(model_id)] == serving
