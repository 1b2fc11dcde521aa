"""The arguments of cool-downs and outcomes, and what they count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fleets import the

from registry import BackendNotFoundError, Lease, Reason, Registry
from registry.testing import ManualClock

NAN, INFINITY = float("nan"), float("inf")
HUGE = 10**400  # more than a float can hold


class OwnInt(int):
    """A subclass, which must not stay in a field."""


class OwnFloat(float):
    """A subclass, which must not stay in a field."""


# ---- cool_down and restore


@pytest.mark.parametrize("seconds", [-1, -0.1, 86_400.1, 86_401, NAN, INFINITY, HUGE])
def test_a_cool_down_out_of_range_is_a_value_error(made: Registry, seconds: Any) -> None:
    with pytest.raises(ValueError, match="^seconds must be from 0 to 86400, not "):
        made.cool_down("a", seconds)
    assert the(made, "a").unavailable is None


@pytest.mark.parametrize("seconds", [86_400, 86_400.0, 1, 1e-9, OwnInt(1), OwnFloat(0.5)])
def test_a_cool_down_is_seen_in_the_view(made: Registry, seconds: Any) -> None:
    before = datetime.now(UTC)
    made.cool_down("a", seconds)
    view = the(made, "a")
    assert view.unavailable is Reason.COOLING_DOWN
    assert view.unavailable_until is not None
    assert view.unavailable_until.utcoffset() == timedelta(0)
    assert view.unavailable_until - before < timedelta(seconds=seconds, milliseconds=1)
    made.restore("a")
    assert (the(made, "a").unavailable, the(made, "a").unavailable_until) == (None, None)


def test_both_act_on_the_registration_with_the_serial(made: Registry) -> None:
    serial = the(made, "a").serial
    for wrong in (serial + 1, 0):
        with pytest.raises(BackendNotFoundError):
            made.cool_down("a", 5, serial=wrong)
    made.cool_down("a", 5, serial=serial)
    for wrong in (serial + 1, 0):
        with pytest.raises(BackendNotFoundError):
            made.restore("a", serial=wrong)
    assert the(made, "a").unavailable is Reason.COOLING_DOWN
    made.restore("a", serial=serial)
    assert the(made, "a").unavailable is None
    for backend_id in ("b", "\ud800"):
        with pytest.raises(BackendNotFoundError):
            made.cool_down(backend_id, 5)
        with pytest.raises(BackendNotFoundError):
            made.restore(backend_id)
    calls: tuple[Callable[[], object], ...] = (
        lambda: made.cool_down(backend_id="a", seconds=5),  # type: ignore[call-arg]
        lambda: made.cool_down("a", 5, serial),  # type: ignore[call-arg]
        lambda: made.restore("a", serial),  # type: ignore[call-arg]
    )
    for call in calls:
        with pytest.raises(TypeError):
            call()


# ---- outcomes


@pytest.mark.parametrize(
    ("arguments", "failed", "sampled", "reason"),
    [
        ({}, 0, True, None),
        ({"latency_ms": 70}, 0, True, None),
        ({"latency_ms": 69.6}, 0, True, None),
        ({"failed": True}, 1, False, None),
        ({"failed": True, "latency_ms": 70.0}, 1, False, None),
        ({"abandoned": True}, 0, False, None),
        ({"abandoned": True, "latency_ms": 70}, 0, False, None),
        ({"retry_after": 5}, 1, False, Reason.COOLING_DOWN),
        ({"retry_after": 0}, 1, False, None),
        ({"retry_after": 86_400.0, "failed": True}, 1, False, Reason.COOLING_DOWN),
        ({"retry_after": 5, "latency_ms": 70}, 1, False, Reason.COOLING_DOWN),
    ],
)
def test_an_outcome_is_counted(
    made: Registry,
    clock: ManualClock,
    arguments: dict[str, Any],
    failed: int,
    sampled: bool,
    reason: Reason | None,
) -> None:
    lease = made.acquire("m")
    clock.advance(0.07)
    assert lease.release(**arguments) is True
    assert (lease.active, lease.release(), lease.release(failed=True)) == (False, False, False)
    view = the(made, "a")
    assert (view.pending_requests, view.total_requests) == (0, 1)
    assert (view.failed_requests, view.unavailable) == (failed, reason)
    assert view.avg_latency_ms == (70 if sampled else 0)


class OwnBase(BaseException):
    """No `Exception`."""


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (ValueError(), 1),
        (TimeoutError(), 1),
        (ExceptionGroup("g", [ValueError()]), 1),
        (asyncio.CancelledError(), 0),
        (GeneratorExit(), 0),
        (KeyboardInterrupt(), 0),
        (SystemExit(), 0),
        (OwnBase(), 0),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), 0),
    ],
)
def test_what_leaves_a_block_is_the_outcome(
    made: Registry, error: BaseException, failed: int
) -> None:
    def leave() -> None:
        with made.acquire("m"):
            raise error

    async def leave_later() -> None:
        async with made.acquire("m"):
            raise error

    for call in (leave, lambda: leave_later().send(None)):
        with pytest.raises(type(error)):
            call()
    view = the(made, "a")
    assert (view.pending_requests, view.total_requests) == (0, 2)
    assert (view.failed_requests, view.avg_latency_ms) == (2 * failed, 0)


def test_an_exit_with_a_class_that_is_none_is_abandoned(made: Registry) -> None:
    for kind in (5, int, "ValueError"):
        made.acquire("m").__exit__(kind, None, None)  # type: ignore[arg-type]
    assert (the(made, "a").total_requests, the(made, "a").failed_requests) == (3, 0)


def test_the_first_token_counts_once(made: Registry, clock: ManualClock) -> None:
    lease = made.acquire("m")
    assert the(made, "a").avg_ttft_ms is None
    clock.advance(0.04)
    assert lease.first_token() is True
    clock.advance(0.04)
    assert lease.first_token() is False
    assert the(made, "a").avg_ttft_ms == 40
    lease.release()
    assert lease.first_token() is False
    after = made.acquire("m")
    after.release()
    assert after.first_token() is False
    assert the(made, "a").avg_ttft_ms == 40
    with made.acquire("m") as lease:
        assert lease.first_token() is True
    assert the(made, "a").avg_ttft_ms == 32  # (0 + 4 * 40) // 5
    assert Lease.__new__(Lease).first_token() is False
