"""Copying a registry or a lease raises an error that says what to do; a registry is true."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
from support.fleets import make_backend

from registry import Registry

WAYS: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda thing, protocol=protocol: pickle.dumps(thing, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
    ForkingPickler.dumps,  # pickles the arguments of a spawned process
    lambda thing: copy.deepcopy({"held": [thing]}),
]


class Own(Registry):
    """A subclass, whose instances have a `__dict__`."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [Registry, Own])
def test_a_registry_can_not_be_copied(way: Callable[[Any], Any], make: type[Registry]) -> None:
    refusal = f"^a {make.__name__} can't be copied, pickled or sent to another process: "
    advice = "Make one in each process, fork"
    with pytest.raises(TypeError, match=f"{refusal}.*{advice}"):
        way(make())


@pytest.mark.parametrize("way", WAYS)
def test_a_lease_can_not_be_copied(registry: Registry, way: Callable[[Any], Any]) -> None:
    registry.add_backend(make_backend("a", "m"))
    registry.update_status("a", "healthy")
    with registry.acquire("m") as lease:
        with pytest.raises(
            TypeError, match=r"^a Lease can't be copied, pickled or sent .* release it here$"
        ):
            way(lease)
        assert lease.active


def test_an_empty_registry_is_true() -> None:
    for empty in (Registry(), Own()):
        assert bool(empty)
        assert len(empty) == 0
        assert (empty or Registry()) is empty
        assert [one for one in (empty, None) if one] == [empty]
    registry = Registry()
    registry.add_backend(make_backend("a"))
    assert bool(registry)
    registry.remove_backend("a")
    assert bool(registry)
