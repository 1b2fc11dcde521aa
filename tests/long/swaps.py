"""A reconcile is one instant: a reader sees the old fleet or the new one, never a mixture.

A writer swaps two fleets, red and blue. Whatever a call returns must belong to one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from long import snapshots
from support.selection import key_for

from registry import (
    Backend,
    BackendView,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
    Requirements,
)

UNIT = "looks"
GOAL = 4 * 10**5

SIZE = 50
READERS = 8
LOOKS = 2_000
IMPOSSIBLE = Requirements(min_context=10**6)


@dataclass(frozen=True)
class Pair:
    """Two fleets. Blue's ids begin at `shift`; every `step`-th of its backends is elsewhere."""

    title: str
    shift: int
    step: int

    def fleet(self, colour: str) -> list[Backend]:
        """The fleets have opposite priorities, and the instances in opposite orders."""
        is_red = colour == "red"
        return [
            Backend(
                id=f"b{place if is_red else place + self.shift}",
                name=colour,
                url=f"http://{'red' if is_red or (place + 1) % self.step else 'blue'}-{place}",
                models=[Model("m"), Model(colour)],
                metadata={"mdns_instance": f"i{place if is_red else SIZE - 1 - place}"},
                priority=place if is_red else SIZE - 1 - place,
            )
            for place in range(SIZE)
        ]

    @cached_property
    def fleets(self) -> dict[str, list[Backend]]:
        """Both fleets, by colour."""
        return {colour: self.fleet(colour) for colour in ("red", "blue")}

    @cached_property
    def priorities(self) -> list[dict[str, int]]:
        """What a choice reads of each fleet."""
        return [{one.id: one.priority for one in fleet} for fleet in self.fleets.values()]

    @cached_property
    def ids(self) -> list[list[str]]:
        """The sorted ids of each fleet."""
        return [sorted(one.id for one in fleet) for fleet in self.fleets.values()]


PAIRS = (
    Pair("other ids", SIZE, 1),
    Pair("other servers", 0, 1),
    Pair("other definitions", 0, SIZE + 1),
    Pair("some of each", SIZE // 2, 2),
)


def run(
    until: Callable[[], bool], *, make: Callable[[], Registry] = Registry, looks: int = LOOKS
) -> Iterator[int]:
    """Runs each pair of fleets in turn."""
    while True:
        for pair in PAIRS:
            registry = make()
            registry.reconcile(pair.fleets["red"])
            yield snapshots.case(
                registry, partial(swap, pair), partial(look_at, pair), looks, READERS
            )
        if until():
            return


def swap(pair: Pair, registry: Registry, number: int) -> None:
    """Makes the fleet blue, then red again."""
    fleet = pair.fleets["red" if number % 2 else "blue"]
    done = registry.reconcile(fleet)
    touched = (*done.added, *done.updated, *done.replaced, *done.unchanged)
    assert sorted(touched) == sorted(backend.id for backend in fleet)


def look_at(pair: Pair, registry: Registry) -> None:
    """Looks at the fleet in every way that there is."""
    see_views(pair, registry.get_all_backends())
    see_views(pair, registry.get_backends_for_model("m"))
    see_ids(pair, list(registry))
    for colour in pair.fleets:
        views = registry.get_backends_for_model(colour)
        assert not views or colour_of(pair, views) == colour, "mixture: a model of the other fleet"
    assert len(registry) == registry.backend_count() == SIZE, "mixture: a number of backends"
    assert registry.model_count() == 2, "mixture: a number of models"
    assert sorted(registry.models()) in (["m", "red"], ["blue", "m"]), "mixture: models"
    assert registry.find_by_mdns_instance("i0") in (
        pair.fleets["red"][0].id,
        pair.fleets["blue"][-1].id,
    ), "mixture: an instance"
    see_choices(pair, registry)


def see_views(pair: Pair, views: list[BackendView]) -> None:
    """All views are of one fleet, which is complete."""
    assert colour_of(pair, views)


def colour_of(pair: Pair, views: list[BackendView]) -> str:
    """The colour of the fleet, which must be complete."""
    colours = {colour for view in views for colour in (view.name, view.models[1].id)}
    assert len(colours) == 1, f"mixture: {colours}"
    colour = colours.pop()
    expected = pair.fleets[colour]
    assert {view.id: view.url for view in views} == {one.id: one.url for one in expected}, (
        f"mixture: {colour}, but not all of it, or more"
    )
    assert len(views) == SIZE, "mixture: a backend twice"
    return colour


def see_ids(pair: Pair, ids: list[str]) -> None:
    """The ids are those of one fleet."""
    assert sorted(ids) in pair.ids, f"mixture: {ids}"


def see_choices(pair: Pair, registry: Registry) -> None:
    """A choice is one among the backends of one fleet, and so are the reasons of a refusal."""
    listed = {c.backend_id: c.priority for c in registry.explain("m")}
    assert listed in pair.priorities, f"mixture: {listed}"
    try:
        best = registry.select("m", policy="priority", allow_unknown=True)
        assert best.priority == 0, f"mixture: chosen by a priority of {best.priority}"
        for policy in Policy:
            chosen = registry.select(
                "m", policy=policy, affinity=key_for(policy), allow_unknown=True
            )
            assert chosen.name == chosen.models[1].id, "mixture: of two definitions"
        registry.acquire("m", allow_unknown=True).release(1)
    except NoBackendAvailableError as error:
        raise AssertionError("mixture: nobody to choose") from error
    try:
        assert registry.select("red", allow_unknown=True).name == "red", "mixture: a wrong fleet"
    except NoBackendAvailableError as error:
        if not error.unknown_model:
            raise AssertionError("mixture: a refusal") from error
    try:
        registry.acquire("m", require=IMPOSSIBLE)
    except NoBackendAvailableError as error:
        see_ids(pair, list(error.reasons))
