"""Memory: what a registry holds, it lets go of."""

from __future__ import annotations

import gc
import weakref

from conftest import make_backend
from threads import run_threads

from registry import Backend, Model, Registry


def live_backends() -> int:
    """Backends that the collector knows of."""
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


def test_adding_and_removing_leaves_nothing(registry: Registry) -> None:
    for number in range(3000):
        registry.add_backend(make_backend("x", "m", f"m{number}"))
        registry.update_status("x", "unhealthy", f"error {number}")
        registry.update_models("x", [Model("n")])
        registry.remove_backend("x")
    gc.collect()
    assert live_backends() < 500  # what waits for a batch to be reclaimed is bounded
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
    assert (view.id, view.last_error, view.models, view.metadata) == ("x", "boom", (Model("m"),), {"k": "v"})


def test_equal_models_are_kept_once(registry: Registry) -> None:
    for backend_id in "abc":
        registry.add_backend(make_backend(backend_id, "m"))
    first, *others = (view.models[0] for view in registry.get_all_backends())
    assert all(other is first for other in others)


def test_short_lived_threads_read(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    for _ in range(100):
        run_threads([lambda: registry.increment_pending("a")] * 8)
    assert registry.decrement_pending("a") == 799
