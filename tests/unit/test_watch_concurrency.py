"""Watches and threads: nothing is missed or told twice, no wake-up is lost, writers never wait."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest
from support.fleets import make_backend
from support.mirror import Mirror, write_randomly
from support.threads import run_threads

from registry import Change, ChangeKind, Registry, Watch
from registry._core import binding

WRITERS = 8


def filled() -> Registry:
    registry = Registry()
    registry.add_backend(make_backend("a", "m"))
    return registry


def update_often(registry: Registry, times: int) -> None:
    for _ in range(times):
        registry.update_status("a", "healthy")


@pytest.mark.parametrize("limits", [(2**31 - 1,), (1,), (2**31 - 1, 1, 20)])
def test_snapshot_and_changes_are_the_registry(limits: tuple[int, ...]) -> None:
    registry = Registry()
    watches = [registry.watch(limit=limit) for limit in limits]
    left = WRITERS
    lock = threading.Lock()

    def write(seed: int) -> None:
        nonlocal left
        write_randomly(registry, seed, 300)
        with lock:
            left -= 1
            if left == 0:
                registry.add_backend(make_backend("the last one"))

    def follow(watch: Watch) -> Mirror:
        mirror = Mirror(watch)
        while "the last one" not in mirror.fleet:
            change = watch.get()
            assert change is not None
            mirror.apply(change)
        return mirror

    mirrors = run_threads(
        [*(partial(follow, watch) for watch in watches), *(partial(write, n) for n in range(8))]
    )
    for watch, mirror in zip(watches, mirrors, strict=False):
        assert watch.get(0) is None
        mirror.check(registry)
        assert (mirror.overflows == 0) == (mirror.version == mirror.changes)


def test_watches_that_are_opened_meanwhile_miss_nothing() -> None:
    registry = Registry()
    stop = threading.Event()

    def write(seed: int) -> None:
        while not stop.is_set():
            write_randomly(registry, seed, 20)

    def open_and_follow() -> None:
        for number in range(25):
            with registry.watch(limit=1 + number % 4) as watch:
                mirror = Mirror(watch)
                for _ in range(number % 10):
                    change = watch.get()
                    assert change is not None
                    mirror.apply(change)
        stop.set()

    run_threads([open_and_follow, partial(write, 1), partial(write, 2)])


def test_each_change_goes_to_one_of_several_threads() -> None:
    registry = filled()
    watch = registry.watch(limit=2**31 - 1)
    updates = 3000

    def take() -> list[int]:
        versions = [change.version for change in watch]
        assert versions == sorted(versions)
        return versions

    def write() -> None:
        update_often(registry, updates)
        while watch.get(0) is not None:  # this thread takes some of them, too
            of_the_writer.append(1)
        watch.close()

    of_the_writer: list[int] = []
    taken = run_threads([write, take, take, take])[1:]
    versions = [version for mine in taken for version in mine]
    assert len(set(versions)) == len(versions)
    assert len(versions) + len(of_the_writer) == updates


@pytest.mark.parametrize("timeout", [None, 60])
def test_no_wake_up_is_lost(timeout: float | None) -> None:
    """The writer waits until each change has been taken, so the reader sleeps before each."""
    registry = filled()
    watch = registry.watch()
    was_taken = threading.Semaphore(0)

    def write() -> None:
        for _ in range(500):
            registry.update_status("a", "healthy")
            assert was_taken.acquire(timeout=60)
        watch.close()

    def read() -> int:
        taken = 0
        while (change := watch.get(timeout)) is not None:
            assert change.kind is ChangeKind.STATUS
            taken += 1
            was_taken.release()
        return taken

    assert run_threads([write, read, read])[1:] != [0, 0]


def test_a_reader_that_gives_up_takes_no_wake_up_along() -> None:
    """Two threads read one watch, one of them with short timeouts."""
    registry = filled()
    watch = registry.watch()
    was_taken = threading.Semaphore(0)

    def write() -> None:
        for _ in range(300):
            registry.update_status("a", "healthy")
            assert was_taken.acquire(timeout=60)
        watch.close()

    def read() -> None:
        for _ in watch:
            was_taken.release()

    def poll() -> None:
        while not watch.closed:
            if watch.get(timeout=1e-5) is not None:
                was_taken.release()

    run_threads([write, read, poll])


def test_closing_from_another_thread_wakes_everyone(registry: Registry) -> None:
    watch = registry.watch()
    started = threading.Barrier(4)

    def read() -> list[Change]:
        started.wait(60)
        return list(watch)

    def get() -> Change | None:
        started.wait(60)
        return watch.get(timeout=60)

    def close() -> None:
        started.wait(60)
        watch.close()

    assert run_threads([read, get, get, close]) == [[], None, None, None]


def test_writers_never_wait_for_a_reader() -> None:
    """Nobody reads one watch, and the reader of another one stops in the middle of waking up."""
    registry = filled()
    stopped, go_on = threading.Event(), threading.Event()

    def read() -> None:
        with registry.watch(limit=5) as watch:
            stopped.set()
            assert watch.get() is not None
            assert go_on.wait(60)

    def write() -> None:
        assert stopped.wait(60)
        with registry.watch(limit=1):
            update_often(registry, 2000)
        go_on.set()

    run_threads([read, write])


# ---- signals


def test_a_signal_ends_get(registry: Registry) -> None:
    """Ctrl-C works: the handler runs in the thread that waits, and its error is raised there."""

    class Interrupted(Exception):
        pass

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with registry.watch() as watch:
            takes: list[Callable[[], object]] = [
                watch.get,
                lambda: watch.get(60),
                lambda: next(watch),
            ]
            for take in takes:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(Interrupted):
                    take()
            registry.add_backend(make_backend("a"))
            assert watch.get(0) is not None
    finally:
        signal.signal(signal.SIGALRM, before)


def listen(watch: Watch, wake: Callable[[], object]) -> None:
    assert watch._listen(binding.WatchWaiter(wake))


def test_an_interrupt_while_a_writer_wakes_others_wakes_them_all() -> None:
    registry = filled()
    watch = registry.watch()
    woken = []

    def wake() -> None:
        woken.append("interrupted")
        if woken.count("interrupted") < 3:
            raise KeyboardInterrupt

    listen(watch, lambda: woken.append("first"))
    listen(watch, wake)
    listen(watch, lambda: woken.append("last"))
    with pytest.raises(KeyboardInterrupt):
        registry.update_status("a", "unhealthy")
    assert sorted(woken) == ["first", *["interrupted"] * 3, "last"]
    change = watch.get(0)
    assert change is not None
    assert change.after == registry.get_backend("a")


def test_a_waiter_that_can_not_be_woken_disturbs_nobody() -> None:
    registry = filled()
    watch = registry.watch()
    woken = []

    def wake() -> None:
        raise RuntimeError("Event loop is closed")

    listen(watch, wake)
    listen(watch, lambda: woken.append(1))
    listen(watch, wake)
    registry.update_status("a", "healthy")
    registry.update_status("a", "healthy")
    assert woken == [1]


def test_only_changes_wake() -> None:
    registry = filled()
    watch = registry.watch()
    woken: list[int] = []
    listen(watch, lambda: woken.append(1))
    registry.increment_pending("a")
    registry.update_models("a", registry.get_all_backends()[0].models)
    with pytest.raises(KeyError):
        registry.update_status("unknown", "healthy")
    assert woken == []
    registry.update_status("a", "healthy")
    assert woken == [1]


def test_a_waiter_serves_for_one_wait(registry: Registry) -> None:
    watch = registry.watch()
    waiter = binding.WatchWaiter(lambda: None)
    assert watch._listen(waiter)
    with pytest.raises(ValueError, match="one wait"):
        watch._listen(waiter)
    watch._forget(waiter)
    watch._forget(waiter)


# ---- asyncio


def test_several_event_loops_watch_at_once() -> None:
    registry = filled()
    loops = 4
    ready = threading.Barrier(loops + 1)

    def follow() -> list[int]:
        async def main() -> list[int]:
            async with registry.watch(limit=10**6) as watch:
                ready.wait(60)
                versions: list[int] = []
                async for change in watch:
                    versions.append(change.version)
                    if len(versions) == 500:
                        break
                return versions

        return asyncio.run(main())

    def write() -> None:
        ready.wait(60)
        update_often(registry, 500)

    found = run_threads([write, *[follow] * loops])[1:]
    assert all(versions == found[0] for versions in found)


def test_a_thread_and_two_loops_share_one_watch() -> None:
    registry = filled()
    watch = registry.watch(limit=10**6)
    updates = 1500

    def follow() -> list[int]:
        async def main() -> list[int]:
            return [change.version async for change in watch]

        return asyncio.run(main())

    def read() -> list[int]:
        return [change.version for change in watch]

    taken: list[int] = []

    def write() -> None:
        update_often(registry, updates)
        while watch._take() is not None:
            taken.append(1)
        watch.close()

    found: list[Any] = run_threads([write, follow, follow, read])[1:]
    versions = [version for mine in found for version in mine]
    assert len(versions) == len(set(versions))
    assert len(versions) + len(taken) == updates


def test_no_wake_up_of_a_loop_is_lost() -> None:
    registry = filled()
    watch = registry.watch()
    was_taken = threading.Semaphore(0)

    def follow() -> None:
        async def main() -> None:
            async for _ in watch:
                was_taken.release()

        asyncio.run(main())

    def write() -> None:
        for _ in range(300):
            registry.update_status("a", "healthy")
            assert was_taken.acquire(timeout=60)
        watch.close()

    run_threads([write, follow])


def test_a_stopped_loop_takes_no_wake_up_along() -> None:
    """A task of a loop that does not run any more waits for the same watch as a thread."""
    registry = filled()
    watch = registry.watch()
    loop = asyncio.new_event_loop()
    task = loop.create_task(anext(watch))
    loop.call_soon(loop.stop)
    loop.run_forever()
    waiting = threading.Event()

    def read() -> Change | None:
        waiting.set()
        return watch.get(60)

    def write() -> None:
        assert waiting.wait(60)
        time.sleep(0.01)  # usually the reader sleeps by now; the test does not need it to
        registry.update_status("a", "healthy")

    assert run_threads([read, write])[0] is not None
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
