"""The benchmark suite's cliffs: each side measures what its goal says."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import cliffs, goals
from benchmarks.budget import Budget
from benchmarks.cliffs import Restart, Updates
from benchmarks.fleet import filled, full
from benchmarks.measure import figure
from benchmarks.operations import loop
from registry import Backend, NoBackendAvailableError, Registry

TWO_ROUNDS = Budget(rounds=2, seconds=1e-5)


class Clock:
    """A clock that only the registry's writes advance."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_write_of_a_rolling_restart_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal takes 1 s and an addition 3 s; one addition takes 60 s."""
    clock, calls = Clock(), []

    class Spy(Registry):
        def add_backend(self, backend: Backend, /) -> None:
            super().add_backend(backend)
            calls.append(("add", backend.id, len(backend.models)))
            clock.now += 60 if len(calls) == 50 else 3

        def remove_backend(self, backend_id: str, /, **named: Any) -> Any:
            calls.append(("remove", backend_id, 0))
            clock.now += 1
            return super().remove_backend(backend_id, **named)

    monkeypatch.setattr(cliffs, "Registry", Spy)
    monkeypatch.setattr(cliffs, "perf_counter", clock)
    monkeypatch.setattr(cliffs, "FLEET", 20)
    monkeypatch.setattr(cliffs, "MODELS", 7)
    assert cliffs.rolling_restart() == Restart(median=2e9, worst=60e9)
    ids = [f"backend-{number}" for number in range(20)]
    assert calls[:20] == [("add", one, 7) for one in ids]
    assert calls[20:] == [call for one in ids for call in (("remove", one, 0), ("add", one, 7))]


def test_views_alternate_between_two_registries() -> None:
    (one, ids), (other, _) = filled(3), filled(3)
    one.increment_pending_many(ids)
    reads = cliffs.read(one, other, ids)
    views = [next(reads) for _ in range(8)]
    read = [*ids, ids[0]]
    assert [view.id for view in views if view] == [each for each in read for _ in range(2)]
    assert [view.pending_requests for view in views if view] == [1, 0] * 4


def test_views_are_alive_in_the_second_measurement_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class View:
        """An object that supports weak references."""

    made: list[weakref.ref[View]] = []
    alive: list[int] = []

    def read(*_given: Any) -> Iterator[View]:
        while True:
            view = View()
            made.append(weakref.ref(view))
            yield view
            del view

    def update(*_given: Any) -> float:
        alive.append(sum(view() is not None for view in made))
        return float(len(alive))

    monkeypatch.setattr(cliffs, "read", read)
    monkeypatch.setattr(cliffs, "update", update)
    assert cliffs.updates(50) == Updates(before=1.0, kept=2.0, gone=3.0)
    assert alive == [0, 50, 0]


def test_every_update_has_another_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cliffs, "WRITES", 10)
    registry, ids = filled(50)
    assert cliffs.update(registry, ids) > 0
    errors = {view.last_error for view in registry.get_all_backends()}
    assert errors == {f"no answer after {number} ms" for number in range(50)}


def test_updates_are_measured_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cliffs, "VIEWS", 20)
    measured = cliffs.in_child()
    assert min(measured.before, measured.kept, measured.gone) > 0


def test_a_full_fleet_refuses_requests() -> None:
    registry = full(12)
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire("model-3")
    assert caught.value.reasons == dict.fromkeys(registry, "full")
    loop(goals.REFUSED, {"registry": registry, "model": "model-3"})(3)
    assert [view.pending_requests for view in registry.get_all_backends()] == [1] * 12


@pytest.mark.parametrize(
    ("restart", "updates", "met"),
    [
        (Restart(1e5, 20e5), Updates(1.0, 2.0, 1.5), [True, None, True, True]),
        (Restart(1e5, 21e5), Updates(1.0, 2.1, 1.6), [False, None, False, False]),
    ],
)
def test_goals_find_a_cliff(
    monkeypatch: pytest.MonkeyPatch, restart: Restart, updates: Updates, met: list[bool | None]
) -> None:
    monkeypatch.setattr(cliffs, "rolling_restart", lambda: restart)
    monkeypatch.setattr(cliffs, "in_child", lambda: updates)
    measured = [*goals.restarting(TWO_ROUNDS), *goals.beside_views(TWO_ROUNDS)]
    assert [goal.met for goal in measured] == met
    assert measured[1].measured == figure([100.0])


@pytest.mark.parametrize(("refused", "met"), [(5.0, True), (5.1, False)])
def test_goals_find_a_slow_refusal(
    monkeypatch: pytest.MonkeyPatch, refused: float, met: bool
) -> None:
    monkeypatch.setattr(goals, "interleaved", lambda *_given: [[refused], [1.0]])
    assert goals.refusing(TWO_ROUNDS).met is met


@pytest.mark.parametrize(("learns", "failed", "met"), [(1.1, 1500.0, True), (1.11, 1501.0, False)])
def test_goals_find_that_learning_costs_too_much(
    monkeypatch: pytest.MonkeyPatch, learns: float, failed: float, met: bool
) -> None:
    measured = iter([[[learns], [1.0]], [[learns], [1.0]], [[failed], [500.0]]])
    monkeypatch.setattr(goals, "interleaved", lambda *_given: next(measured))
    assert [goal.met for goal in goals.learning(TWO_ROUNDS)] == [met] * 3
