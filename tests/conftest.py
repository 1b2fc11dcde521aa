"""Fixtures for all tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support.fleets import make_backend

from registry import Registry
from registry.testing import ManualClock


@pytest.fixture
def registry() -> Registry:
    """An empty registry."""
    return Registry()


@pytest.fixture
def clock() -> ManualClock:
    """The clock of `made`."""
    return ManualClock()


@pytest.fixture
def made(clock: ManualClock) -> Registry:
    """A registry with one healthy backend, a, which serves m. Its time stands still."""
    registry = Registry(clock=clock)
    registry.add_backend(make_backend("a", "m"))
    registry.update_status("a", "healthy")
    return registry


@pytest.fixture(autouse=True)
def _eager_switching(request: pytest.FixtureRequest) -> Iterator[None]:
    """Makes tests of concurrency switch the GIL between threads often."""
    if "concurren" not in request.node.nodeid and "defect" not in request.node.nodeid:
        yield
        return
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
