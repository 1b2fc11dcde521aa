"""The benchmark suite's watches and reloads: each side measures what its row says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import pytest

from benchmarks import goals, watching
from benchmarks.budget import Budget
from benchmarks.fleet import CHANGED, filled, reloads
from benchmarks.peers import PEERS, Peer
from benchmarks.peers.locked_oracle import LockedOracle
from registry import BackendStatus

SMALL = 25
TWO_ROUNDS = Budget(rounds=2, seconds=1e-5)
DICT = PEERS[0]


class Unread:
    """A watch that always has a change."""

    def __init__(self) -> None:
        self.read = 0

    def get(self, timeout: float | None = None) -> object:
        assert timeout == 0
        self.read += 1
        return object()


@pytest.fixture(autouse=True)
def _only_the_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "installed", lambda: (DICT,))
    monkeypatch.setattr(watching, "FLEET", SMALL)


def test_the_writers_time_has_no_reading_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def taken_by(_run: object, count: int) -> float:
        written.append(count)
        return count * 7e-9

    monkeypatch.setattr(watching, "taken_by", taken_by)
    watches = [Unread(), Unread()]
    measured = watching.watched_writes(lambda _count: None, watches, 3)
    assert measured() == pytest.approx(7)
    assert written == [watching.BATCH] * 3
    assert [watch.read for watch in watches] == [sum(written)] * 2


def test_a_batch_of_writes_fits_into_a_watch() -> None:
    registry, ids = DICT.filled(SMALL)
    watch = registry.watch()
    watching.writer(registry, ids)(watching.BATCH)
    watching.read_waiting(watch, watching.BATCH)
    assert watch.get(0) is None


def test_a_lost_change_is_noticed() -> None:
    registry, ids = DICT.filled(SMALL)
    watch = registry.watch(limit=3)
    watching.writer(registry, ids)(5)
    with pytest.raises(RuntimeError, match="missing"):
        watching.read_waiting(watch, 5)


def test_all_watches_are_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def kept(peer: Peer, size: int) -> Any:
        made.append(peer.load().filled(size)[0])
        return made[-1], list(made[-1].oracle)

    def calibrated(run: Callable[[int], None], _seconds: float) -> int:
        run(3000)  # more writes than a watch keeps
        return 100

    monkeypatch.setattr(Peer, "filled", kept)
    monkeypatch.setattr(watching, "calibrated", calibrated)
    rows = [*watching.measure_writer(TWO_ROUNDS), *watching.measure_reader(TWO_ROUNDS)]
    assert [(row.operation, row.parameters["watches"]) for row in rows] == [
        *((watching.WRITER, count) for count in watching.WATCHES),
        (watching.THREAD, 1),
    ]
    assert all(value > 0 for row in rows for value in row.values)
    assert [registry.watches for registry in made] == [()] * len(made)


def test_a_task_reads_until_the_last_change() -> None:
    class Stream:
        left = 5

        async def __aiter__(self) -> AsyncIterator[int]:
            while True:
                assert self.left > 0
                self.left -= 1
                yield self.left

    stream = Stream()
    watching.read_by_task(stream, 5)
    assert stream.left == 0


def test_the_peers_watch_has_a_snapshot_and_the_changes_after_it() -> None:
    registry: LockedOracle
    registry, ids = DICT.filled(SMALL)
    watch = registry.watch()
    registry.update_status(ids[3], BackendStatus.UNHEALTHY, "no answer")
    assert [view.id for view in watch.snapshot] == ids
    change = watch.get(0)
    assert change is not None
    kind, backend_id, before, after = change
    assert (kind, backend_id) == ("status", ids[3])
    assert (before.status, after.status) == (BackendStatus.HEALTHY, BackendStatus.UNHEALTHY)
    watch.close()
    registry.update_status(ids[3], BackendStatus.HEALTHY)
    assert watch.get(0) is None


@pytest.mark.parametrize("size", [5, 10, 12, 1000])
def test_a_reload_changes_ten_backends(size: int) -> None:
    before, after = reloads(size)
    registry, ids = filled(size)
    assert [one.id for one in before] == [one.id for one in after] == ids
    assert [(one.models, one.weight) for one in before] == [
        (view.models, view.weight) for view in registry.get_all_backends()
    ]
    differing = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert len(differing) in (min(size, CHANGED), min(size, CHANGED // 2 + 1))
    assert all(one is not other for one, other in zip(before, after, strict=True))


def test_a_reload_may_have_models_of_its_own() -> None:
    before, after = reloads(3, own_models=True)
    models = [model for one in (*before, *after) for model in one.models]
    assert len({id(model) for model in models}) == len(models) == 60
    assert before == reloads(3)[0]


@pytest.mark.parametrize(("times", "met"), [(20.0, True), (20.1, False)])
def test_goals_find_a_slow_reconcile(
    monkeypatch: pytest.MonkeyPatch, times: float, met: bool
) -> None:
    class Reconciling:
        """Counts the reloads that it gets."""

        sizes: ClassVar[list[int]] = []

        def reconcile(self, backends: list[Any]) -> None:
            self.sizes.append(len(backends))

        def get_all_backends(self) -> None:
            """Does nothing."""

    def measured(_rounds: int, *_sides: object) -> Iterator[list[float]]:
        return iter([[1.0, 1.0], [times, times]])

    monkeypatch.setattr(goals, "RECONCILED", SMALL)
    monkeypatch.setattr(goals, "filled", lambda _size: (Reconciling(), []))
    monkeypatch.setattr(goals, "interleaved", measured)
    assert [goal.met for goal in goals.reconciling(TWO_ROUNDS)] == [met, met]
    assert set(Reconciling.sizes) == {SMALL}
