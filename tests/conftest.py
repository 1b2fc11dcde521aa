"""Fixtures for all tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from registry import Backend, Model, Registry

MakeBackend = Callable[..., Backend]


def make_backend(backend_id: str = "b", *models: str, **fields: object) -> Backend:
    """A backend whose name and url follow from its id."""
    given = {"name": backend_id, "url": f"http://host-{abs(hash(backend_id))}:8000", **fields}
    return Backend(id=backend_id, models=[Model(model) for model in models], **given)


@pytest.fixture
def registry() -> Registry:
    """An empty registry."""
    return Registry()


@pytest.fixture(autouse=True)
def _eager_switching(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where there is a GIL, tests with threads let it change hands often."""
    if "concurren" not in request.node.nodeid and "defect" not in request.node.nodeid:
        yield
        return
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)
