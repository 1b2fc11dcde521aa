"""`reconcile` finds each difference, however the lists are ordered and whoever made the objects."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest
from support.fleets import make_backend, state

from registry import Backend, Model, Reconciliation, Registry

MODELS = 600  # more than `compare_fleets` keeps ids of


def text(number: int) -> str:
    """A new str; some are not ASCII."""
    return f"{'é' if number % 5 == 0 else 'm'}-{number}"


def fleet() -> list[Backend]:
    """Sixty backends that share models, as new objects down to the texts and large ints."""
    return [
        replace(
            make_backend(text(number)),
            models=tuple(
                Model(text(number * 13 % MODELS + 7 * one), text(one), context_length=5000 + one)
                for one in range(20)
            ),
            weight=300 + number,
            metadata={"zone": text(number)} if number % 2 else {},
        )
        for number in range(60)
    ]


def in_another_thread(work: Callable[[], Any]) -> Any:
    """The result of a thread that has ended."""
    done: list[Any] = []
    thread = Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join()
    return done[0]


def plain(old: list[Backend], new: list[Backend]) -> Reconciliation:
    """What `reconcile` must find if no url differs, by Python's own comparison."""
    known = {backend.id: backend for backend in old}
    ids = [backend.id for backend in new]
    equal = {backend.id for backend in new if known.get(backend.id) == backend}
    return Reconciliation(
        added=tuple(id for id in ids if id not in known),
        updated=tuple(id for id in ids if id in known and id not in equal),
        removed=tuple(backend.id for backend in old if backend.id not in ids),
        unchanged=tuple(id for id in ids if id in equal),
    )


@pytest.mark.parametrize("maker", [lambda work: work(), in_another_thread], ids=["own", "other"])
def test_equal_objects_of_any_thread_are_unchanged(registry: Registry, maker: Any) -> None:
    wanted = maker(fleet)
    maker(lambda: registry.reconcile(wanted))
    before = state(registry)
    done = registry.reconcile(fleet())
    assert done == Reconciliation(unchanged=tuple(backend.id for backend in wanted))
    assert state(registry) == before


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_a_plain_comparison_finds(registry: Registry, seed: int) -> None:
    chance = random.Random(seed)
    old, new = fleet(), fleet()
    registry.reconcile(old)
    for place in chance.sample(range(60), 10):
        models = list(new[place].models)
        one = chance.randrange(20)
        models[one] = replace(models[one], **chance.choice(CHANGES))
        new[place] = replace(new[place], models=tuple(models))
    if seed % 2:
        chance.shuffle(new)
    for _ in range(seed % 4):
        del new[chance.randrange(len(new))]
        new.insert(chance.randrange(len(new)), make_backend(f"new-{len(new)}-{chance.random()}"))
    assert registry.reconcile(new) == plain(old, new)


CHANGES: list[dict[str, Any]] = [
    {"id": "other"},
    {"id": "é"},
    {"name": "other"},
    {"context_length": 7000},
    {"supports_vision": True},
    {"supports_tools": True},
    {"supports_json_mode": True},
    {"max_output_tokens": 7000},
]


def test_a_name_that_differs_from_the_id_is_compared(registry: Registry) -> None:
    registry.reconcile([replace(make_backend("a"), models=(Model(text(1)),))])
    named = replace(make_backend("a"), models=(Model(text(1), text(2)),))
    assert registry.reconcile([named]).updated == ("a",)
    again = replace(make_backend("a"), models=(Model(text(1), text(2)),))
    assert registry.reconcile([again]).unchanged == ("a",)


def test_no_reference_is_kept(registry: Registry) -> None:
    wanted, same = fleet(), fleet()
    registry.reconcile(wanted)
    held: list[Any] = [
        *(model for each in (*wanted, *same) for model in each.models),
        *wanted,
        *same,
    ]
    held += [each.id for each in held]
    registry.reconcile(same)
    counts = [sys.getrefcount(each) for each in held]
    for _ in range(3):
        registry.reconcile(same)
    assert [sys.getrefcount(each) for each in held] == counts


def test_a_model_without_an_id_is_an_attribute_error(registry: Registry) -> None:
    registry.reconcile([replace(make_backend("a"), models=(Model("m"),))])
    half_made = make_backend("a")
    object.__setattr__(half_made, "models", (Model.__new__(Model),))
    with pytest.raises(AttributeError):
        registry.reconcile([half_made])


def test_texts_that_change_during_the_comparison_do_no_harm(registry: Registry) -> None:
    """A caller can force a field of a frozen dataclass, even while it is being read."""
    wanted = fleet()
    registry.reconcile(wanted)
    same = fleet()
    model = same[0].models[1]
    stop: list[bool] = []

    def force() -> None:
        while not stop:
            object.__setattr__(model, "id", "".join(["other", " text"]))
            object.__setattr__(model, "id", text(7))

    thread = Thread(target=force)
    thread.start()
    try:
        for _ in range(50):
            done = registry.reconcile(same)
            assert done.unchanged[-50:] == tuple(backend.id for backend in same[10:])
    finally:
        stop.append(True)
        thread.join()
