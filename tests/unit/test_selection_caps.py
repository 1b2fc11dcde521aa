"""Choices fill a fleet evenly, and no backend exceeds its cap."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fleets import make_fleet
from support.selection import key_for
from support.threads import run_threads

from registry import Lease, NoBackendAvailableError, Policy, Registry

SHAPES = st.lists(
    st.fixed_dictionaries(
        {"weight": st.integers(1, 5), "max_pending": st.none() | st.integers(1, 12)}
    ),
    min_size=1,
    max_size=5,
)


def assert_filled_evenly(registry: Registry) -> None:
    """Checks that the fleet is as if it had been filled by exact choices, one at a time.

    A load is a number of requests in proportion to the weight. No backend has a greater load than
    another one would have with one more request, unless the other one is full. No backend exceeds
    its cap.
    """
    views = registry.get_all_backends()
    for view in views:
        assert view.pending_requests <= (view.max_pending or 2**32 - 1)
        for other in views:
            if view.pending_requests > 0 and other.pending_requests != other.max_pending:
                assert (
                    view.pending_requests * other.weight
                    <= (other.pending_requests + 1) * view.weight
                )


@given(SHAPES, st.integers(0, 40))
def test_choices_fill_the_fleet_evenly(shapes: list[dict[str, Any]], count: int) -> None:
    registry = make_fleet(*shapes)
    room = sum(shape["max_pending"] or 1000 for shape in shapes)
    leases = [registry.acquire("m") for _ in range(min(count, room))]
    assert_filled_evenly(registry)
    if count > room:
        with pytest.raises(NoBackendAvailableError):
            registry.acquire("m")
    for lease in leases:
        lease.release()


@settings(max_examples=20, deadline=None)
@given(SHAPES, st.integers(1, 10))
def test_concurrent_choices_fill_the_fleet_evenly(shapes: list[dict[str, Any]], each: int) -> None:
    registry = make_fleet(*shapes)

    def take() -> list[Lease]:
        taken = []
        for _ in range(each):
            with contextlib.suppress(NoBackendAvailableError):
                taken.append(registry.acquire("m"))
        return taken

    leases = [lease for part in run_threads([take] * 8) for lease in part]
    room = sum(shape["max_pending"] or 1000 for shape in shapes)
    assert len(leases) == min(8 * each, room)
    assert_filled_evenly(registry)
    assert all(lease.release() for lease in leases)
    assert all(view.pending_requests == 0 for view in registry.get_all_backends())


@pytest.mark.parametrize("policy", Policy)
def test_a_cap_is_kept_and_a_release_reopens_it(policy: Policy) -> None:
    registry = make_fleet({"max_pending": 2}, {"max_pending": 1})
    leases = [registry.acquire("m", policy=policy, affinity=key_for(policy)) for _ in range(3)]
    for choose in (registry.acquire, registry.select):
        with pytest.raises(NoBackendAvailableError, match="'b0' full, 'b1' full"):
            choose("m", policy=policy, affinity=key_for(policy))
    freed = leases.pop()
    freed.release()
    again = registry.acquire("m", policy=policy, affinity=key_for(policy))
    assert again.backend.id == freed.backend.id
    assert [lease.release() for lease in [*leases, again]] == [True] * 3
