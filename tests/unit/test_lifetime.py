"""Memory: a registry frees what it no longer holds, and views keep only what they show."""

from __future__ import annotations

import dataclasses
import gc
import random
import sysconfig
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.fleets import make_backend
from support.threads import run_threads

from registry import Backend, BackendView, Model, Registry

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def live_backends() -> int:
    """The number of Backend objects that the garbage collector tracks."""
    return sum(type(thing) is Backend for thing in gc.get_objects())


def test_a_registry_is_freed_with_what_it_holds() -> None:
    before = live_backends()
    registry = Registry()
    for number in range(500):
        registry.add_backend(make_backend(f"b{number}", "m", "n"))
        registry.update_status(f"b{number}", "unhealthy", f"error {number}")
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None
    assert live_backends() <= before


def test_without_automatic_collection_gc_collect_frees_a_registry() -> None:
    """The docstring of `Registry` advises `gc.collect()`: free-threaded builds delay decrements."""
    assert "gc.collect()" in (Registry.__doc__ or "")
    gc.disable()
    try:
        registry = Registry()
        registry.add_backend(make_backend("a", "m"))
        registry.increment_pending("a")
        gone = weakref.ref(registry)
        del registry
        if not FREE_THREADED:
            assert gone() is None
        gc.collect()
        assert gone() is None
    finally:
        gc.enable()


def test_a_registry_in_a_cycle_is_collected() -> None:
    class Holder:
        pass

    holder = Holder()
    holder.registry = Registry()  # type: ignore[attr-defined]
    holder.itself = holder  # type: ignore[attr-defined]
    holder.registry.add_backend(make_backend("a"))  # type: ignore[attr-defined]
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def change_much(registry: Registry, coming_and_going: str, failing: str) -> None:
    """Makes enough changes for a leak to show."""
    for number in range(3000):
        registry.add_backend(make_backend(coming_and_going, "m", f"m{number}"))
        registry.update_status(failing, "unhealthy", f"error {number}")
        registry.update_models(coming_and_going, [Model("n")])
        registry.remove_backend(coming_and_going)


def test_adding_and_removing_leaks_nothing(registry: Registry) -> None:
    before = live_backends()
    change_much(registry, "x", "x")
    gc.collect()
    # The number of objects that wait for a batch to be reclaimed is bounded.
    assert live_backends() < before + 500
    assert (len(registry), registry.model_count()) == (0, 0)


def test_a_view_outlives_its_backend_and_its_registry() -> None:
    registry = Registry()
    registry.add_backend(make_backend("x", "m", metadata={"k": "v"}))
    registry.update_status("x", "unhealthy", "boom")
    view = registry.remove_backend("x")
    for number in range(300):
        registry.add_backend(make_backend(f"b{number}"))
    del registry
    gc.collect()
    assert (view.id, view.last_error, view.models, view.metadata) == (
        "x",
        "boom",
        (Model("m"),),
        {"k": "v"},
    )


def test_a_held_view_keeps_only_objects_of_its_time(registry: Registry) -> None:
    """Objects that come and go later are freed while the view is held."""
    before = live_backends()
    registry.add_backend(make_backend("x", "m"))
    view = registry.get_backend("x")
    change_much(registry, "y", "x")
    gc.collect()
    assert live_backends() < before + 500
    assert view is not None
    assert (view.id, view.last_error) == ("x", None)


def test_views_of_many_versions_are_freed(registry: Registry) -> None:
    before, held = live_backends(), []
    for number in range(2000):
        registry.add_backend(make_backend("x", f"m{number}"))
        held += registry.get_all_backends()
        held.append(registry.remove_backend("x"))
    assert [view.models[0].id for view in held] == [f"m{number // 2}" for number in range(4000)]
    gc.collect()
    # The collector may free objects of earlier tests meanwhile.
    assert live_backends() - before > 1900
    del held
    for _ in range(600):  # Reclaim what waits for a batch.
        registry.add_backend(make_backend("x"))
        registry.remove_backend("x")
    gc.collect()
    assert live_backends() - before < 500


def test_views_dropped_by_other_threads_while_backends_are_removed(registry: Registry) -> None:
    """Every view keeps its contents, whichever thread drops it."""
    boxes: list[list[BackendView]] = [[] for _ in range(8)]
    stop = threading.Event()

    def read() -> None:
        rng = random.Random(threading.get_ident())
        for _ in range(1500):
            found = registry.get_all_backends()
            one = registry.get_backend(f"b{rng.randrange(4)}")
            place = rng.randrange(8)
            mine, boxes[place] = boxes[place], [*found, *filter(None, [one])]
            for view in mine:
                assert view.metadata == {"is": view.id}
                assert view.last_error in (None, view.id)
                assert view.models[0].id == view.id
        stop.set()

    def write() -> None:
        while not stop.is_set():
            for backend_id in ("b0", "b1", "b2", "b3"):
                registry.add_backend(
                    make_backend(backend_id, backend_id, metadata={"is": backend_id})
                )
                registry.update_status(backend_id, "unhealthy", backend_id)
                registry.update_models(backend_id, [Model(backend_id), Model("other")])
            for backend_id in ("b0", "b1", "b2", "b3"):
                registry.remove_backend(backend_id)

    run_threads([write, read, read, read])


def test_a_dropped_registry_is_freed_by_writes_of_another(registry: Registry) -> None:
    """A registry that was dropped during a read is freed by writes of another one.

    This does not need another registry to be dropped.
    """
    before = live_backends()
    for number in range(500):
        registry.add_backend(make_backend(f"b{number}", "m"))
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            registry.get_all_backends()

    def drop_registries() -> None:
        for _ in range(20):
            dropped = Registry()
            for number in range(100):
                dropped.add_backend(make_backend(f"d{number}", "m"))
            del dropped
        stop.set()

    run_threads([read, drop_registries])
    gc.collect()
    registry.update_status("b0", "healthy")
    assert live_backends() <= before + 500


def test_large_definitions_and_errors_are_freed_without_waiting_for_a_batch(
    registry: Registry,
) -> None:
    large = "x" * 2**20
    for number in range(20):
        registry.add_backend(
            make_backend(f"b{number}", "m", metadata={"large": large + str(number)})
        )
        registry.update_status(f"b{number}", "unhealthy", large + str(number))
    for number in range(20):
        registry.remove_backend(f"b{number}")
    stats = registry.stats()
    assert stats.waiting_bytes < 2**20
    assert registry.stats().waiting_for_reclamation == 0


LARGE = "x" * 2**20


@pytest.mark.parametrize(
    ("drop", "held"),
    [
        (lambda r: r.remove_backend("a"), {"metadata": {"large": LARGE}}),
        (lambda r: r.remove_backend("a"), {"name": LARGE}),
        (lambda r: r.remove_backend("a"), {"models": (Model("m", LARGE),)}),
        (lambda r: r.update_models("a", []), {"models": (Model("m", LARGE),)}),
        (lambda r: r.update_status("a", "healthy"), {"error": LARGE}),
    ],
    ids=["metadata", "name", "a model", "a model alone", "an error"],
)
def test_a_write_frees_the_large_object_that_it_drops(
    registry: Registry, drop: Callable[[Registry], object], held: dict[str, Any]
) -> None:
    """This holds even if no further write follows."""
    error = held.pop("error", None) if "error" in (held := dict(held)) else None
    registry.add_backend(dataclasses.replace(make_backend("a"), **held))
    registry.update_status("a", "unhealthy", error)
    registry.stats()
    drop(registry)
    assert registry.stats().waiting_bytes < 2**19


def test_waiting_bytes_include_what_a_waiting_backend_holds(registry: Registry) -> None:
    registry.add_backend(make_backend("a", metadata={"large": "x" * 100_000}))
    registry.remove_backend("a")
    assert registry.stats().waiting_bytes > 100_000


def test_a_subclass_of_view_in_a_cycle_is_collected() -> None:
    class Mine(BackendView):
        """Has a __dict__, as subclasses do."""

    registry = Registry()
    registry.add_backend(make_backend("a"))
    view = registry.get_backend("a")
    assert view is not None
    mine = Mine(**{field.name: getattr(view, field.name) for field in dataclasses.fields(view)})
    mine.itself = mine  # type: ignore[attr-defined]
    mine.other = Other()  # type: ignore[attr-defined]
    gone = weakref.ref(mine.other)  # type: ignore[attr-defined]
    del mine
    gc.collect()
    assert gone() is None


class Other:
    """An object that weak references can refer to."""


def test_equal_models_are_stored_once(registry: Registry) -> None:
    for backend_id in "abc":
        registry.add_backend(make_backend(backend_id, "m"))
    first, *others = (view.models[0] for view in registry.get_all_backends())
    assert all(other is first for other in others)


def test_short_lived_threads_can_count(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    for _ in range(100):
        run_threads([lambda: registry.increment_pending("a")] * 8)
    assert registry.decrement_pending("a") == 799
