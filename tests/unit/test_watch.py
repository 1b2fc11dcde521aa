"""Following a registry: `Registry.watch`, one thread. See test_watch_concurrency.py for threads."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import math
import os
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from support.fleets import make_backend

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendView,
    Change,
    ChangeKind,
    DuplicateBackendError,
    Model,
    Registry,
    Watch,
)


def unread(watch: Watch) -> list[Change]:
    """Takes all that is unread."""
    return list(iter(lambda: watch.get(timeout=0), None))


def one(watch: Watch) -> Change:
    """Takes the only unread change."""
    (change,) = unread(watch)
    return change


def filled(*ids: str) -> Registry:
    registry = Registry()
    for backend_id in ids:
        registry.add_backend(make_backend(backend_id, "m"))
    return registry


def update_often(registry: Registry, backend_id: str, times: int) -> None:
    for _ in range(times):
        registry.update_status(backend_id, "healthy")


# ---- the snapshot


def test_the_snapshot_is_the_fleet_in_registration_order() -> None:
    registry = filled("c", "a", "b")
    registry.remove_backend("c")
    registry.add_backend(make_backend("c"))
    with registry.watch() as watch:
        assert isinstance(watch, Watch)
        assert isinstance(watch.snapshot, tuple)
        assert watch.snapshot == tuple(registry.get_all_backends())
        assert [view.id for view in watch.snapshot] == ["a", "b", "c"]
        assert unread(watch) == []


def test_the_snapshot_stays_as_it_was() -> None:
    registry = filled("a")
    with registry.watch() as watch:
        before = watch.snapshot
        registry.add_backend(make_backend("b"))
        registry.update_status("a", "healthy")
        assert watch.snapshot is before
        assert [view.id for view in before] == ["a"]
        assert before[0].status is BackendStatus.UNKNOWN
    assert watch.snapshot is before


def test_an_empty_registry_can_be_watched(registry: Registry) -> None:
    with registry.watch() as watch:
        assert watch.snapshot == ()
        registry.add_backend(make_backend("a"))
        assert one(watch).kind is ChangeKind.ADDED


# ---- kinds of changes


def test_an_added_backend(registry: Registry) -> None:
    with registry.watch() as watch:
        registry.add_backend(make_backend("a", "m"))
        change = one(watch)
        assert (change.kind, change.backend_id, change.before) == (ChangeKind.ADDED, "a", None)
        assert change.after == registry.get_backend("a")


def test_a_removed_backend() -> None:
    registry = filled("a")
    with registry.watch() as watch:
        last = registry.remove_backend("a")
        change = one(watch)
        assert (change.kind, change.backend_id, change.after) == (ChangeKind.REMOVED, "a", None)
        assert change.before == last


def test_a_status() -> None:
    registry = filled("a")
    with registry.watch() as watch:
        before = registry.get_backend("a")
        registry.update_status("a", "unhealthy", "down")
        change = one(watch)
        assert (change.kind, change.backend_id) == (ChangeKind.STATUS, "a")
        assert (change.before, change.after) == (before, registry.get_backend("a"))
        assert change.after is not None
        assert (change.after.status, change.after.last_error) == ("unhealthy", "down")


def test_an_equal_status_is_a_change_too() -> None:
    registry = filled("a")
    registry.update_status("a", "healthy")
    with registry.watch() as watch:
        registry.update_status("a", "healthy")
        change = one(watch)
        assert change.kind is ChangeKind.STATUS
        assert change.before is not None
        assert change.after is not None
        assert change.before.status is change.after.status is BackendStatus.HEALTHY
        assert change.before.last_health_check <= change.after.last_health_check


@pytest.mark.parametrize(
    "write",
    [
        lambda registry: registry.update_models("a", [Model("n")]),
        lambda registry: registry.add_model("a", Model("n")),
        lambda registry: registry.remove_model("a", "m"),
        lambda registry: registry.set_mdns_instance("a", "i"),
    ],
    ids=["update_models", "add_model", "remove_model", "set_mdns_instance"],
)
def test_a_definition(write: Callable[[Registry], object]) -> None:
    registry = filled("a", "b")
    registry.update_status("a", "unhealthy", "down")
    with registry.watch() as watch:
        before = registry.get_backend("a")
        write(registry)
        change = one(watch)
        assert (change.kind, change.backend_id) == (ChangeKind.UPDATED, "a")
        assert (change.before, change.after) == (before, registry.get_backend("a"))
        assert change.before != change.after


def refused(error: type[Exception], write: Callable[[Registry], object]) -> Any:
    def check(registry: Registry) -> None:
        with pytest.raises(error):
            write(registry)

    return check


@pytest.mark.parametrize(
    "write",
    [
        lambda registry: registry.update_models("a", [Model("m")]),
        lambda registry: registry.add_model("a", Model("m", "other")),
        lambda registry: registry.remove_model("a", "unknown"),
        lambda registry: registry.set_mdns_instance("a", None),
        refused(DuplicateBackendError, lambda registry: registry.add_backend(make_backend("a"))),
        refused(BackendNotFoundError, lambda registry: registry.remove_backend("x")),
        refused(BackendNotFoundError, lambda registry: registry.update_status("x", "healthy")),
        refused(ValueError, lambda registry: registry.set_mdns_instance("a", "taken")),
        lambda registry: registry.increment_pending("a"),
        lambda registry: registry.update_latency("a", 5),
        lambda registry: registry.acquire("m", allow_unknown=True).release(),
        lambda registry: registry.stats(),
    ],
)
def test_what_leaves_everything_as_it_was_is_no_change(write: Callable[[Registry], object]) -> None:
    registry = filled("a", "b")
    registry.set_mdns_instance("b", "taken")
    with registry.watch() as watch:
        write(registry)
        assert unread(watch) == []


def test_views_show_the_counters_of_their_time() -> None:
    registry = filled("a")
    with registry.watch() as watch:
        registry.increment_pending("a")
        registry.update_status("a", "healthy")
        registry.increment_pending("a")
        change = one(watch)
        assert change.before is not None
        assert change.after is not None
        assert change.before.pending_requests == change.after.pending_requests == 1


# ---- order and versions


def test_changes_come_in_order_and_their_versions_grow() -> None:
    registry = filled("a", "b")
    with registry.watch() as watch:
        registry.add_backend(make_backend("c"))
        registry.update_status("a", "healthy")
        registry.update_models("b", [])
        registry.remove_backend("a")
        changes = unread(watch)
    assert [(change.kind, change.backend_id) for change in changes] == [
        ("added", "c"),
        ("status", "a"),
        ("updated", "b"),
        ("removed", "a"),
    ]
    versions = [change.version for change in changes]
    assert all(type(version) is int for version in versions)
    assert versions == sorted(set(versions))


def test_a_version_grows_with_writes_before_the_watch() -> None:
    registry = filled("a")
    versions = []
    for _ in range(3):
        registry.update_status("a", "healthy")
        with registry.watch() as watch:
            registry.update_status("a", "healthy")
            versions.append(one(watch).version)
    assert versions == sorted(set(versions))


def test_each_change_continues_the_one_before() -> None:
    registry = filled("a")
    with registry.watch() as watch:
        last: BackendView | None = watch.snapshot[0]
        for number in range(20):
            registry.update_status("a", "unhealthy", f"e{number}")
            registry.update_models("a", [Model(f"m{number}")])
        changes = unread(watch)
        assert len(changes) == 40
        for change in changes:
            assert change.before == last
            last = change.after
        assert last == registry.get_backend("a")


def test_each_watch_gets_every_change() -> None:
    registry = filled("a")
    watches = [registry.watch() for _ in range(5)]
    registry.update_status("a", "healthy")
    first = one(watches[0])
    assert all(one(watch) == first for watch in watches[1:])
    watches[0].close()
    registry.update_status("a", "healthy")
    assert unread(watches[0]) == []
    assert all(one(watch).version == first.version + 1 for watch in watches[1:])


# ---- the types


def test_a_change_is_a_frozen_dataclass(registry: Registry) -> None:
    with registry.watch() as watch:
        registry.add_backend(make_backend("a"))
        change = one(watch)
    assert [field.name for field in dataclasses.fields(Change)] == [
        "kind",
        "version",
        "backend_id",
        "before",
        "after",
    ]
    assert change == Change(ChangeKind.ADDED, 1, "a", None, change.after)
    assert type(change) is Change
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.version = 2  # type: ignore[misc]
    assert not hasattr(change, "__dict__")
    assert copy.copy(change) == change
    assert "kind=<ChangeKind.ADDED: 'added'>, version=1, backend_id='a'" in repr(change)


def test_the_kinds() -> None:
    assert {kind.name: kind.value for kind in ChangeKind} == {
        "ADDED": "added",
        "REMOVED": "removed",
        "REPLACED": "replaced",
        "UPDATED": "updated",
        "STATUS": "status",
        "DRAINING": "draining",
        "AVAILABILITY": "availability",
        "OVERFLOWED": "overflowed",
    }


def test_views_outlive_the_watch_and_the_registry() -> None:
    registry = filled("a")
    watch = registry.watch()
    registry.update_status("a", "unhealthy", "x" * 1000)
    registry.remove_backend("a")
    changes = unread(watch)
    watch.close()
    for number in range(600):
        registry.add_backend(make_backend(f"b{number}"))
    del registry, watch
    gc.collect()
    assert [change.before and change.before.last_error for change in changes] == [None, "x" * 1000]


# ---- overflow


def test_limit_changes_may_be_unread() -> None:
    registry = filled("a")
    with registry.watch(limit=3) as watch:
        for _ in range(5):
            update_often(registry, "a", 3)
            assert [change.kind for change in unread(watch)] == ["status"] * 3


def test_more_than_limit_are_dropped() -> None:
    registry = filled("a")
    with registry.watch(limit=3) as watch:
        update_often(registry, "a", 4)
        registry.add_backend(make_backend("b"))
        last = registry.get_all_backends()
        change = one(watch)
        assert change.kind is ChangeKind.OVERFLOWED
        assert (change.backend_id, change.before, change.after) == (None, None, None)
        assert watch.snapshot == tuple(last)


def test_the_snapshot_is_of_the_version_of_the_item() -> None:
    """What changed before the item is taken is in the snapshot, and what changed later follows."""
    registry = filled("a")
    with registry.watch(limit=1) as watch, registry.watch() as every:
        update_often(registry, "a", 2)
        registry.add_backend(make_backend("b"))
        item = watch.get()
        assert item is not None
        assert item.version == unread(every)[-1].version
        assert [view.id for view in watch.snapshot] == ["a", "b"]
        registry.remove_backend("b")
        assert [view.id for view in watch.snapshot] == ["a", "b"]
        assert (one(watch).kind, one(every).version) == ("removed", item.version + 1)


def test_a_watch_may_overflow_again_and_again() -> None:
    registry = filled("a")
    with registry.watch(limit=2) as watch:
        versions = []
        for _ in range(10):
            update_often(registry, "a", 5)
            change = one(watch)
            assert change.kind is ChangeKind.OVERFLOWED
            versions.append(change.version)
        assert versions == sorted(set(versions))


def test_who_does_not_read_keeps_nothing() -> None:
    registry = filled("a")
    with registry.watch(limit=100) as watch:
        registry.stats()
        before = registry.stats()
        for number in range(3000):
            registry.update_status("a", "unhealthy", f"error {number}")
        registry.stats()
        after = registry.stats()
        assert after.kept_for_views < 600
        assert after.bytes < before.bytes + 2**17
        assert one(watch).kind is ChangeKind.OVERFLOWED


def test_a_slow_watch_does_not_disturb_others() -> None:
    registry = filled("a")
    with registry.watch(limit=1), registry.watch(limit=1000) as other:
        update_often(registry, "a", 500)
        assert len(unread(other)) == 500


# ---- the end


@pytest.mark.parametrize("take", [lambda watch: watch.get(), lambda watch: watch.get(timeout=60)])
def test_a_closed_watch_gives_none_at_once(take: Callable[[Watch], object]) -> None:
    registry = filled("a")
    watch = registry.watch()
    assert not watch.closed
    registry.update_status("a", "healthy")
    watch.close()
    registry.update_status("a", "healthy")
    assert watch.closed
    assert take(watch) is None
    with pytest.raises(StopIteration):
        next(watch)
    assert list(watch) == []
    watch.close()


def test_leaving_the_block_closes() -> None:
    registry = filled("a")
    with registry.watch() as watch:
        registry.update_status("a", "healthy")
    assert watch.closed
    assert watch.get() is None


def test_closing_drops_what_is_unread() -> None:
    registry = filled("a")
    registry.stats()
    before = registry.stats()
    watch = registry.watch(limit=10**6)
    for number in range(2000):
        registry.update_status("a", "unhealthy", f"error {number}")
    registry.stats()
    assert registry.stats().kept_for_views > 1500
    assert registry.stats().bytes > before.bytes + 2**17
    watch.close()
    registry.stats()
    assert registry.stats().kept_for_views < 10
    assert registry.stats().bytes < before.bytes + 2**14


def is_watched(registry: Registry) -> bool:
    """Whether writes make a watch's queue grow."""
    before = registry.stats().bytes
    update_often(registry, "a", 100)
    registry.stats()
    return registry.stats().bytes > before + 5000


def test_a_collected_watch_is_closed() -> None:
    registry = filled("a")
    watch = registry.watch()
    assert is_watched(registry)
    gone = weakref.ref(watch)
    del watch
    gc.collect()
    assert gone() is None
    assert not is_watched(registry)


def test_a_watch_in_a_cycle_is_collected() -> None:
    class Mine(Registry):
        """Has a __dict__."""

    registry = Mine()
    registry.watch_of_mine = registry.watch()  # type: ignore[attr-defined]
    registry.add_backend(make_backend("a"))
    gone = weakref.ref(registry)
    gone_watch = weakref.ref(registry.watch_of_mine)  # type: ignore[attr-defined]
    del registry
    gc.collect()
    assert (gone(), gone_watch()) == (None, None)


def test_a_watch_keeps_its_registry_alive() -> None:
    registry = filled("a")
    watch = registry.watch()
    gone = weakref.ref(registry)
    registry.update_status("a", "healthy")
    del registry
    gc.collect()
    assert gone() is not None
    assert one(watch).kind is ChangeKind.STATUS
    watch.close()
    del watch
    gc.collect()
    assert gone() is None


# ---- arguments


@pytest.mark.parametrize("limit", [0, -1, 2**31, 10**400])
def test_a_bad_limit(registry: Registry, limit: int) -> None:
    with pytest.raises(ValueError, match=r"^limit must be from 1 to 2147483647"):
        registry.watch(limit=limit)


@pytest.mark.parametrize("limit", [None, 1.0, "1", True])
def test_a_limit_of_the_wrong_type(registry: Registry, limit: Any) -> None:
    with pytest.raises(TypeError, match=r"^limit must be an int"):
        registry.watch(limit=limit)


def test_the_limit_is_a_keyword(registry: Registry) -> None:
    with pytest.raises(TypeError):
        registry.watch(5)  # type: ignore[call-arg]
    registry.watch(limit=2**31 - 1).close()
    registry.watch(limit=1).close()


@pytest.mark.parametrize("timeout", [-1, -0.001, -math.inf, math.nan, -(10**400)])
def test_a_negative_timeout(registry: Registry, timeout: float) -> None:
    with pytest.raises(ValueError, match=r"^timeout must be at least 0, not"):
        registry.watch().get(timeout)


@pytest.mark.parametrize("timeout", ["1", True, (), 1j])
def test_a_timeout_of_the_wrong_type(registry: Registry, timeout: Any) -> None:
    with pytest.raises(TypeError, match=r"^timeout must be an int, a float or None"):
        registry.watch().get(timeout)


@pytest.mark.parametrize("timeout", [None, 0, 0.0, 10**400, math.inf, 5])
def test_a_timeout_does_not_matter_if_there_is_a_change(timeout: float | None) -> None:
    registry = filled("a")
    with registry.watch() as watch:
        registry.update_status("a", "healthy")
        assert watch.get(timeout) is not None


def test_get_ends_when_the_time_is_up(registry: Registry) -> None:
    with registry.watch() as watch:
        assert watch.get(0) is None
        assert watch.get(0.01) is None
        assert watch.get(timeout=0.01) is None


def test_a_watch_belongs_to_its_process(registry: Registry) -> None:
    watch = registry.watch()
    for move in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a Watch can't be copied, pickled or sent"):
            move(watch)
    assert repr(watch) == "<Watch: open>"
    watch.close()
    assert repr(watch) == "<Watch: closed>"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_the_child_of_a_fork_a_watch_is_closed() -> None:
    """The parent's goes on, and the child may open another one."""
    registry = filled("a")
    watch = registry.watch()
    registry.update_status("a", "healthy")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert watch.closed
            assert watch.get() is None
            assert list(watch) == []
            with registry.watch() as fresh:
                registry.update_status("a", "healthy")
                assert one(fresh).kind is ChangeKind.STATUS
            watch.close()
            del watch
            gc.collect()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0) == (child, 0)
    assert one(watch).kind is ChangeKind.STATUS
    registry.update_status("a", "healthy")
    assert one(watch).kind is ChangeKind.STATUS


# ---- asyncio


def test_async_iteration_and_its_end() -> None:
    registry = filled("a")

    async def follow() -> list[Change]:
        async with registry.watch() as watch:
            registry.update_status("a", "healthy")
            registry.remove_backend("a")
            changes = []
            async for change in watch:
                changes.append(change)
                if change.kind is ChangeKind.REMOVED:
                    watch.close()
            with pytest.raises(StopAsyncIteration):
                await anext(watch)
            return changes

    assert [change.kind for change in asyncio.run(follow())] == ["status", "removed"]


def test_leaving_the_async_block_closes(registry: Registry) -> None:
    async def leave() -> Watch:
        async with registry.watch() as watch:
            return watch

    assert asyncio.run(leave()).closed


def test_async_waits_without_blocking_the_loop() -> None:
    registry = filled("a")

    async def main() -> list[str]:
        told = []
        with registry.watch() as watch:

            async def follow() -> None:
                async for change in watch:
                    told.append(str(change.kind))  # noqa: PERF401 - one by one

            task = asyncio.create_task(follow())
            for _ in range(3):
                await asyncio.sleep(0)
                registry.update_status("a", "healthy")
                while not told or len(told) % 2 == 0:
                    await asyncio.sleep(0)
                told.append("seen")
            watch.close()
            await task
        return told

    assert asyncio.run(main()) == ["status", "seen"] * 3


def test_a_cancelled_task_loses_no_change() -> None:
    registry = filled("a")

    async def main() -> None:
        with registry.watch() as watch:
            for _ in range(50):
                task = asyncio.ensure_future(anext(watch))
                await asyncio.sleep(0)
                registry.update_status("a", "healthy")  # wakes the task
                task.cancel()  # before it runs
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (await asyncio.wait_for(anext(watch), 60)).kind is ChangeKind.STATUS
            assert unread(watch) == []

    asyncio.run(main())


def test_tasks_that_wait_for_one_watch_share_its_changes() -> None:
    registry = filled("a")

    async def main() -> list[int]:
        with registry.watch() as watch:
            tasks = [asyncio.ensure_future(anext(watch)) for _ in range(10)]
            await asyncio.sleep(0)
            tasks.pop().cancel()
            for _ in range(9):
                registry.update_status("a", "healthy")
            return sorted([(await asyncio.wait_for(task, 60)).version for task in tasks])

    versions = asyncio.run(main())
    assert versions == [*range(versions[0], versions[0] + 9)]


def test_closing_ends_the_tasks_that_wait(registry: Registry) -> None:
    async def main() -> list[Any]:
        watch = registry.watch()
        tasks = [asyncio.ensure_future(anext(watch)) for _ in range(3)]
        await asyncio.sleep(0)
        watch.close()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    assert [type(end) for end in asyncio.run(main())] == [StopAsyncIteration] * 3


def test_a_task_of_a_closed_loop_does_not_disturb_writers() -> None:
    registry = filled("a")
    watch = registry.watch()
    loop = asyncio.new_event_loop()
    task = loop.create_task(anext(watch))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    registry.update_status("a", "healthy")
    assert one(watch).kind is ChangeKind.STATUS
    del task


def test_backends_are_those_that_were_registered(registry: Registry) -> None:
    with registry.watch() as watch:
        registry.add_backend(Backend("ä", "n", "http://h:1", metadata={"k": "v"}))
        change = one(watch)
        assert change.backend_id == "ä"
        assert change.after is not None
        assert change.after.metadata == {"k": "v"}
