"""`models()`: the distinct model ids, in the order in which they were first served."""

from __future__ import annotations

from support.fleets import make_backend
from support.threads import run_threads, until_done

from registry import Model, Registry


def test_an_empty_registry_serves_no_model(registry: Registry) -> None:
    assert registry.models() == []
    registry.add_backend(make_backend("a"))
    assert registry.models() == []


def test_models_are_in_the_order_in_which_they_were_first_served(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "n", "m"))
    registry.add_backend(make_backend("b", "o", "m", "l"))
    registry.add_model("a", Model("k"))
    assert registry.models() == ["n", "m", "o", "l", "k"]
    assert type(registry.models()) is list
    assert all(type(model_id) is str for model_id in registry.models())
    assert len(registry.models()) == registry.model_count() == 5


def test_each_id_is_listed_once(registry: Registry) -> None:
    for number in range(50):
        model = Model("m", context_length=number)
        registry.add_backend(make_backend(f"b{number}"))
        registry.add_model(f"b{number}", model)
    assert registry.models() == ["m"]


def test_the_health_of_the_backends_does_not_matter(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    registry.update_status("a", "unhealthy")
    registry.drain("a")
    assert registry.models() == ["m"]


def test_a_model_keeps_its_place_while_somebody_serves_it(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m", "n"))
    registry.add_backend(make_backend("b", "n", "m"))
    registry.remove_backend("a")
    assert registry.models() == ["m", "n"]
    registry.update_models("b", [Model("n"), Model("o"), Model("m", context_length=1)])
    assert registry.models() == ["m", "n", "o"]


def test_a_model_that_nobody_served_for_a_while_comes_anew_at_the_end(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m", "n", "o"))
    registry.remove_model("a", "m")
    assert registry.models() == ["n", "o"]
    registry.add_model("a", Model("m"))
    assert registry.models() == ["n", "o", "m"]
    registry.remove_backend("a")
    assert registry.models() == []
    registry.add_backend(make_backend("a", "o", "n"))
    assert registry.models() == ["o", "n"]


def test_one_write_that_moves_a_model_leaves_it_in_its_place(registry: Registry) -> None:
    """It was served before, after, and at every instant in between."""
    registry.add_backend(make_backend("a", "m"))
    registry.add_backend(make_backend("b", "n"))
    registry.reconcile([make_backend("a", "n"), make_backend("b", "m")])
    assert registry.models() == ["m", "n"]
    registry.reconcile([make_backend("c", "o", "m"), make_backend("d", "n")])
    assert registry.models() == ["m", "n", "o"]
    registry.update_backend(make_backend("c", "m", "p", url="http://new"))
    assert registry.models() == ["m", "n", "p"]
    registry.update_backend(make_backend("d", "n", "o", weight=2))
    assert registry.models() == ["m", "n", "p", "o"]


def test_a_list_that_was_returned_does_not_change(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    before = registry.models()
    registry.add_model("a", Model("n"))
    before.append("x")
    assert registry.models() == ["m", "n"]


def test_many_models_keep_their_order(registry: Registry) -> None:
    ids = [f"m{number * 7919 % 5000}" for number in range(5000)]
    for start in range(0, 5000, 10):
        registry.add_backend(make_backend(f"b{start}", *ids[start : start + 10]))
    assert registry.models() == ids
    for start in range(0, 5000, 20):
        registry.remove_backend(f"b{start}")
    kept = [model_id for place, model_id in enumerate(ids) if place // 10 % 2]
    assert registry.models() == kept
    registry.add_backend(make_backend("again", *ids[:10]))
    assert registry.models() == [*kept, *ids[:10]]


def test_any_text_is_a_model_id(registry: Registry) -> None:
    ids = ["m", "m\0", "ü", "\U0010ffff", " ", "x" * 999]
    registry.add_backend(make_backend("a", *ids))
    assert registry.models() == ids


def test_concurrent_readers_see_the_models_of_one_instant(registry: Registry) -> None:
    """a and b swap their models, so three ids are served at every instant."""
    registry.reconcile([make_backend("a", "m", "x"), make_backend("b", "n")])

    def swap() -> None:
        for number in range(1000):
            extra = "y" if number % 2 == 0 else "x"
            one, other = ("n", "m") if number % 2 == 0 else ("m", "n")
            registry.reconcile([make_backend("a", one, extra), make_backend("b", other)])

    def look() -> None:
        assert registry.models() in (["m", "x", "n"], ["m", "n", "x"], ["m", "n", "y"])
        assert registry.model_count() == 3

    until_done(swap, look, look, look)


def test_concurrent_writers_bring_each_model_once(registry: Registry) -> None:
    def work(thread: int) -> None:
        for number in range(100):
            registry.add_backend(make_backend(f"{thread}-{number}", f"m{number}"))

    run_threads([lambda t=t: work(t) for t in range(4)])  # type: ignore[misc]
    assert sorted(registry.models()) == sorted(f"m{number}" for number in range(100))
