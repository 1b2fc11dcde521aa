"""`Registry.stats`: counts of objects, and the memory that they take."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from support.fleets import make_backend

from registry import Model, Registry, RegistryStats


def test_an_empty_registry_has_only_a_few_bytes(registry: Registry) -> None:
    stats = registry.stats()
    assert (
        stats.backends,
        stats.models,
        stats.index_entries,
        stats.waiting_for_reclamation,
        stats.waiting_bytes,
    ) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert 0 < stats.bytes < 4096


def test_registered_objects_are_counted(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m", "n"))
    registry.add_backend(make_backend("b", "m"))
    stats = registry.stats()
    assert (stats.backends, stats.models, stats.index_entries) == (2, 2, 3)
    registry.remove_model("a", "n")
    stats = registry.stats()
    assert (stats.backends, stats.models, stats.index_entries) == (2, 1, 2)


def test_removed_backends_wait_and_are_reclaimed(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    before = registry.stats()
    registry.remove_backend("a")
    waiting = registry.stats()
    assert waiting.backends == waiting.index_entries == 0
    assert waiting.waiting_for_reclamation > before.waiting_for_reclamation
    assert 0 < waiting.waiting_bytes < waiting.bytes
    for _ in range(1000):
        registry.add_backend(make_backend("a", "m"))
        registry.remove_backend("a")
    after = registry.stats()
    assert after.waiting_for_reclamation < 600  # Two batches; about 5,000 were retired.
    assert after.bytes < waiting.bytes + 600 * 200


def churn(registry: Registry) -> None:
    """Makes enough writes to reclaim everything that was removed before."""
    for _ in range(600):
        registry.add_backend(make_backend("other", "m"))
        registry.remove_backend("other")


def test_objects_kept_for_views_are_counted_until_the_views_are_dropped(registry: Registry) -> None:
    for number in range(5):
        registry.add_backend(make_backend(f"b{number}", "m"))
    view = registry.get_backend("b0")
    assert registry.stats().kept_for_views == 0  # Everything is still registered.
    for number in range(5):
        registry.remove_backend(f"b{number}")
    churn(registry)
    before = registry.stats()
    # The 5 backends from when the view was made, and others that existed only in the same epoch.
    assert 5 <= before.kept_for_views < 200
    del view
    after = registry.stats()
    assert after.kept_for_views == 0
    assert after.bytes < before.bytes


def test_a_view_keeps_nothing_of_another_registry(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    view = registry.get_backend("a")
    other = Registry()
    other.add_backend(make_backend("a", "m"))
    other.remove_backend("a")
    churn(other)
    assert other.stats().kept_for_views == 0
    assert view is not None


def test_bytes_grow_with_the_fleet(registry: Registry) -> None:
    empty = registry.stats().bytes
    for number in range(100):
        registry.add_backend(make_backend(f"b{number}", "m"))
    assert empty + 100 * 200 < registry.stats().bytes < empty + 100 * 2000


def test_a_state_whose_flags_were_cleared_is_counted_with_its_room(registry: Registry) -> None:
    """Room for deadlines is taken with a flag, and lasts as long as the state that lost it."""
    registry.add_backend(make_backend("a", "m"))
    flagged = cleared = plain = 0
    for _ in range(2):  # The first round allocates what stays.
        registry.cool_down("a", 60)
        registry.stats()
        flagged = registry.stats().bytes
        registry.restore("a")
        registry.stats()
        cleared = registry.stats().bytes
        registry.update_status("a", "healthy")
        registry.stats()
        plain = registry.stats().bytes
    assert plain < cleared == flagged


def test_stats_are_frozen(registry: Registry) -> None:
    stats = registry.stats()
    assert stats == RegistryStats(
        **{name: getattr(stats, name) for name in RegistryStats.__slots__}
    )
    with pytest.raises(AttributeError):
        stats.backends = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update_models("a", [Model("m"), Model("n", context_length=8)]),
        lambda r: r.update_models("a", r.get_backend("a").models),
        lambda r: r.update_models("a", iter([Model("m"), Model("n", context_length=8)])),
        lambda r: r.add_model("a", Model("m", "another name")),
        lambda r: r.remove_model("a", "x"),
        lambda r: r.set_mdns_instance("a", "i"),
        lambda r: r.set_mdns_instance("b", None),
    ],
    ids=["equal", "the same", "an iterator", "add", "remove", "instance", "no instance"],
)
def test_an_update_without_a_change_makes_no_new_definition(
    registry: Registry, change: Callable[[Registry], object]
) -> None:
    models = (Model("m"), Model("n", context_length=8))
    for backend_id, metadata in (("a", {"mdns_instance": "i"}), ("b", {})):
        given = make_backend(backend_id, metadata=metadata)
        registry.add_backend(dataclasses.replace(given, models=models))
        registry.update_status(backend_id, "healthy")
    before = [registry.select("m", exclude=[other]) for other in "ba"]
    registry.get_backend("a")  # A thread's first view of a registry allocates memory.
    registry.stats()  # Reclaims what the set-up has retired.
    stats = registry.stats()
    for _ in range(100):
        change(registry)
    after = [registry.select("m", exclude=[other]) for other in "ba"]
    assert [one is other for one, other in zip(before, after, strict=True)] == [True, True]
    assert registry.stats() == stats


@pytest.mark.parametrize(
    "models",
    [
        [Model("n"), Model("m")],
        [Model("m")],
        [Model("m"), Model("n"), Model("o")],
        [Model("m"), Model("n", supports_tools=True)],
        [Model("m"), Model("n", "another name")],
    ],
    ids=["another order", "fewer", "more", "another capability", "another name"],
)
def test_a_list_that_differs_in_any_way_is_stored(registry: Registry, models: list[Model]) -> None:
    registry.add_backend(make_backend("a", "m", "n"))
    registry.update_models("a", models)
    view = registry.get_backend("a")
    assert view is not None
    assert view.models == tuple(models)


def test_held_views_keep_nothing_alive_when_equal_models_are_stored(registry: Registry) -> None:
    for number in range(50):
        registry.add_backend(make_backend(f"b{number}", "m", "n"))
    before = registry.stats()
    kept = [registry.get_backend("b0") for _ in range(50)]
    for _ in range(20):
        for backend_id in registry:
            registry.update_models(backend_id, [Model("m"), Model("n")])
        kept.append(registry.get_backend("b0"))
    after = registry.stats()
    assert after.kept_for_views == 0
    assert after.waiting_for_reclamation <= before.waiting_for_reclamation
    assert len(kept) == 70
