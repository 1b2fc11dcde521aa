"""How a request ends, and what each outcome counts: the table of outcomes, line by line."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from support.fleets import finish, make_backend, make_timed, the
from support.threads import run_threads

from registry import Lease, Reason, Registry


def counts(registry: Registry, backend_id: str = "a") -> tuple[int, int, int, int]:
    """In flight, total, failed and the average latency."""
    view = the(registry, backend_id)
    return (
        view.pending_requests,
        view.total_requests,
        view.failed_requests,
        view.avg_latency_ms,
    )


def leave(error: BaseException | None) -> Callable[[Lease], None]:
    """Leaves the block of the lease, with this error."""

    def call(lease: Lease) -> None:
        with lease:
            if error is not None:
                raise error

    return call


def leave_async(error: BaseException | None) -> Callable[[Lease], None]:
    """Leaves the asynchronous block of the lease, with this error."""

    async def use(lease: Lease) -> None:
        async with lease:
            if error is not None:
                raise error

    def call(lease: Lease) -> None:
        steps = use(lease)
        with suppress(StopIteration):
            steps.send(None)

    return call


SUCCEEDED: dict[str, Callable[[Lease], Any]] = {
    "release": lambda lease: lease.release(),
    "not failed": lambda lease: lease.release(failed=False, abandoned=False),
    "block": leave(None),
    "async block": leave_async(None),
}
FAILED: dict[str, Callable[[Lease], Any]] = {
    "release": lambda lease: lease.release(failed=True),
    "with a sample": lambda lease: lease.release(10, failed=True),
    "error": leave(ValueError()),
    "group": leave(ExceptionGroup("g", [OSError()])),
    "time-out": leave(TimeoutError()),
    "async error": leave_async(ConnectionError()),
}
ABANDONED: dict[str, Callable[[Lease], Any]] = {
    "release": lambda lease: lease.release(abandoned=True),
    "with a sample": lambda lease: lease.release(10, abandoned=True),
    "cancelled": leave(asyncio.CancelledError()),
    "async cancelled": leave_async(asyncio.CancelledError()),
    "generator": leave(GeneratorExit()),
    "interrupt": leave(KeyboardInterrupt()),
    "exit": leave(SystemExit()),
    "bad latency": lambda lease: lease.release(-1),
    "bad failed": lambda lease: lease.release(failed=1),  # type: ignore[arg-type]
    "bad retry": lambda lease: lease.release(retry_after=-1),
    "both": lambda lease: lease.release(failed=True, abandoned=True),
    "retry and abandoned": lambda lease: lease.release(retry_after=5, abandoned=True),
}


def end(registry: Registry, way: Callable[[Lease], Any]) -> None:
    """Takes a lease, and ends it in this way."""
    lease = registry.acquire("m")
    with suppress(BaseException):
        way(lease)
    assert not lease.active


@pytest.mark.parametrize("way", SUCCEEDED)
def test_a_success_is_a_sample_and_ends_a_row(way: str) -> None:
    registry, clock = make_timed()
    finish(registry, "a", 4, failed=True)
    lease = registry.acquire("m")
    clock.advance(0.25)
    SUCCEEDED[way](lease)
    assert counts(registry) == (0, 5, 4, 250)
    finish(registry, "a", 4, failed=True)
    assert the(registry, "a").unavailable is None


@pytest.mark.parametrize("way", FAILED)
def test_a_failure_counts_and_is_no_sample(way: str) -> None:
    registry, _ = make_timed()
    for count in range(1, 6):
        assert the(registry, "a").unavailable is None
        end(registry, FAILED[way])
        assert counts(registry) == (0, count, count, 0)
    assert the(registry, "a").unavailable is Reason.EJECTED


@pytest.mark.parametrize("way", ABANDONED)
def test_an_abandoned_request_neither_counts_in_a_row_nor_ends_it(way: str) -> None:
    registry, _ = make_timed()
    finish(registry, "a", 4, failed=True)
    for count in range(1, 11):
        end(registry, ABANDONED[way])
        assert counts(registry) == (0, 4 + count, 4, 0)
    assert the(registry, "a").unavailable is None
    finish(registry, "a", failed=True)
    assert the(registry, "a").unavailable is Reason.EJECTED


def leak(registry: Registry) -> None:
    """Takes a lease that is never released, and lets the collector find it."""
    registry.acquire("m")
    gc.collect()


def test_a_collected_lease_is_abandoned() -> None:
    registry, _ = make_timed()
    finish(registry, "a", 4, failed=True)
    with pytest.warns(ResourceWarning):
        leak(registry)
    assert counts(registry) == (0, 5, 4, 0)
    finish(registry, "a", failed=True)
    assert the(registry, "a").unavailable is Reason.EJECTED


def test_failed_and_abandoned_together_are_a_value_error() -> None:
    registry, _ = make_timed()
    lease = registry.acquire("m")
    with pytest.raises(ValueError, match="abandoned"):
        lease.release(failed=True, abandoned=True)
    assert counts(registry) == (0, 1, 0, 0)


def test_a_late_release_counts_nothing() -> None:
    registry, clock = make_timed()
    lease = registry.acquire("m")
    assert lease.release(10)
    before = the(registry, "a")
    clock.advance(1)
    assert not lease.release(failed=True)
    assert not lease.release(abandoned=True)
    assert not lease.release(retry_after=60)
    leave(None)(lease)
    assert the(registry, "a") == before


def test_a_failure_of_a_removed_registration_touches_nothing_else() -> None:
    registry, _ = make_timed()
    leases = [registry.acquire("m") for _ in range(10)]
    registry.remove_backend("a")
    registry.add_backend(make_backend("a", "m"))
    registry.update_status("a", "healthy")
    before = the(registry, "a")
    with registry.watch() as watch:
        for lease in leases[:5]:
            assert lease.release(failed=True)
        for lease in leases[5:]:
            assert lease.release(retry_after=60)
        assert watch.get(timeout=0) is None
    assert the(registry, "a") == before


# ---- asyncio


def test_a_time_out_around_the_block_is_abandoned_and_one_inside_fails() -> None:
    registry, _ = make_timed()

    async def outside() -> None:
        async with asyncio.timeout(0):
            async with registry.acquire("m"):
                await asyncio.Event().wait()

    async def inside() -> None:
        async with registry.acquire("m"):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()

    for call, failed in ((outside, 0), (inside, 1)):
        with pytest.raises(TimeoutError):
            asyncio.run(call())
        assert counts(registry)[2] == failed
    assert counts(registry) == (0, 2, 1, 0)


def test_a_task_that_is_cancelled_abandons_its_request() -> None:
    registry, _ = make_timed()

    async def use() -> None:
        async with registry.acquire("m"):
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(use())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert counts(registry) == (0, 1, 0, 0)


def test_a_stream_that_is_closed_abandons_its_request() -> None:
    registry, _ = make_timed()

    async def stream() -> AsyncIterator[int]:
        async with registry.acquire("m"):
            yield 1
            yield 2

    async def main() -> None:
        tokens: Any = stream()
        assert await anext(tokens) == 1
        await tokens.aclose()

    asyncio.run(main())
    assert counts(registry) == (0, 1, 0, 0)


# ---- retry_after


@pytest.mark.parametrize("seconds", [0, 0.5, 7, 86_400, 86_400.0])
@pytest.mark.parametrize("failed", [False, True])
def test_retry_after_counts_as_failed_and_cools_down(seconds: float, failed: bool) -> None:
    registry, clock = make_timed()
    assert registry.acquire("m").release(10, retry_after=seconds, failed=failed)
    assert counts(registry) == (0, 1, 1, 0)
    if seconds:
        assert the(registry, "a").unavailable is Reason.COOLING_DOWN
        clock.advance(seconds - 0.25)
        assert the(registry, "a").unavailable is Reason.COOLING_DOWN
        clock.advance(0.25)
    assert the(registry, "a").unavailable is None
    finish(registry, "a")


@pytest.mark.parametrize("seconds", [-1, -0.001, 86_400.5, 10**400, float("nan"), float("inf")])
def test_retry_after_out_of_range_is_a_value_error(seconds: float) -> None:
    registry, _ = make_timed()
    with pytest.raises(ValueError, match="retry_after"):
        registry.acquire("m").release(retry_after=seconds)
    assert counts(registry) == (0, 1, 0, 0)
    assert the(registry, "a").unavailable is None


def test_retry_after_ejects_nobody() -> None:
    registry, _ = make_timed()
    for _ in range(100):
        finish(registry, "a", retry_after=0)
    assert counts(registry) == (0, 100, 100, 0)
    assert the(registry, "a").unavailable is None


def test_retry_after_neither_counts_in_a_row_nor_ends_it() -> None:
    registry, _ = make_timed()
    finish(registry, "a", 4, failed=True)
    finish(registry, "a", 3, retry_after=0)
    assert the(registry, "a").unavailable is None
    finish(registry, "a", failed=True)
    assert the(registry, "a").unavailable is Reason.EJECTED


# ---- the first token


def test_the_first_token_is_averaged_like_the_latency() -> None:
    registry, clock = make_timed()
    assert the(registry, "a").avg_ttft_ms is None
    average = None
    for sample in (100, 3, 3, 250, 0):
        lease = registry.acquire("m")
        clock.advance(sample / 1000)
        assert lease.first_token() is True
        average = sample if average is None else (sample + 4 * average) // 5
        assert the(registry, "a").avg_ttft_ms == average
        clock.advance(1)
        assert lease.first_token() is False
        lease.release(10)
        assert lease.first_token() is False
        assert the(registry, "a").avg_ttft_ms == average
    assert the(registry, "a").avg_latency_ms == 10


@pytest.mark.parametrize("outcome", [{}, {"failed": True}, {"abandoned": True}, {"retry_after": 0}])
def test_the_first_token_counts_however_the_request_ends(outcome: dict[str, Any]) -> None:
    registry, clock = make_timed()
    lease = registry.acquire("m")
    clock.advance(0.02)
    assert lease.first_token()
    lease.release(**outcome)
    assert the(registry, "a").avg_ttft_ms == 20


def test_no_first_token_without_a_call() -> None:
    registry, _ = make_timed()
    finish(registry, "a", 3)
    assert the(registry, "a").avg_ttft_ms is None


def test_the_first_token_goes_to_its_own_registration() -> None:
    registry, _ = make_timed()
    lease = registry.acquire("m")
    registry.remove_backend("a")
    registry.add_backend(make_backend("a", "m"))
    lease.first_token()
    lease.release()
    assert the(registry, "a").avg_ttft_ms is None


def test_one_of_many_threads_is_first() -> None:
    registry, clock = make_timed()
    for number in range(20):
        lease = registry.acquire("m")
        clock.advance(0.1)
        assert sum(run_threads([lease.first_token] * 8)) == 1, number
        lease.release()
    assert the(registry, "a").avg_ttft_ms == 100
