"""`reconcile`: mDNS instances move between backends within one call."""

from __future__ import annotations

from typing import Any

import pytest
from support.fleets import make_backend

from registry import Backend, Registry


def at(backend_id: str, instance: str | None, **fields: Any) -> Backend:
    """A backend with this instance."""
    metadata = {} if instance is None else {"mdns_instance": instance}
    return make_backend(backend_id, metadata=metadata, **fields)


MOVES: dict[str, list[Backend]] = {
    "swapped": [at("a", "j"), at("b", "i"), at("c", None)],
    "round": [at("a", None), at("b", "i"), at("c", "j")],
    "in a circle": [at("b", "i"), at("c", "j"), at("a", "k")],
    "to a new backend": [at("a", None), at("b", None), at("z", "i"), at("y", "j")],
    "from a removed one": [at("c", "i"), at("b", "j")],
    "from a removed one to a new one": [at("b", "j"), at("z", "i")],
    "swapped by new servers": [at("a", "j", url="http://n"), at("b", "i", url="http://o")],
    "to a new server": [at("a", None), at("b", "i", url="http://n")],
    "kept by a new server": [at("a", "i", url="http://n"), at("b", "j")],
    "let go": [at("a", None), at("b", "i")],
}


@pytest.mark.parametrize("wanted", MOVES.values(), ids=MOVES)
def test_instances_move_within_one_reconcile(registry: Registry, wanted: list[Backend]) -> None:
    for backend in (at("a", "i"), at("b", "j"), at("c", None)):
        registry.add_backend(backend)
    for turn in (wanted, wanted[::-1]):
        registry.reconcile(turn)
        expected = {backend.metadata.get("mdns_instance"): backend.id for backend in wanted}
        for instance in "ijk":
            assert registry.find_by_mdns_instance(instance) == expected.get(instance)
        registry.reconcile([at("a", "i"), at("b", "j"), at("c", None)])
        assert [registry.find_by_mdns_instance(name) for name in "ijk"] == ["a", "b", None]


def test_many_instances_move_at_once(registry: Registry) -> None:
    count = 500
    for turn in range(4):
        registry.reconcile([at(f"b{n}", f"i{(n + turn) % count}") for n in range(count)])
        for n in range(count):
            assert registry.find_by_mdns_instance(f"i{(n + turn) % count}") == f"b{n}"
