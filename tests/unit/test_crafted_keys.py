"""Keys that were crafted to collide work like others.

The long check measures what they cost; tests/c/test_string_map.c counts their probes.
"""

from __future__ import annotations

import pytest
from long import crafted_keys
from support.broken import TrustsHashes

from registry import Backend, Registry


@pytest.mark.parametrize("craft", crafted_keys.CRAFTS)
def test_crafted_keys_are_found_and_removed(registry: Registry, craft: crafted_keys.Craft) -> None:
    ids = crafted_keys.crafted(craft, 2000)
    assert all(map(craft, ids))
    assert len(set(ids)) == 2000
    backends = [Backend(backend_id, "n", "http://h") for backend_id in ids]
    assert crafted_keys.cost(registry, backends) > 0


def test_a_registry_that_trusts_hashes_is_detected() -> None:
    """In `TrustsHashes`, the cost of crafted ids grows with the square of their number."""
    with pytest.raises(AssertionError, match="agrees_in_low_bits: .* times the cost"):
        list(crafted_keys.run(lambda: True, make=TrustsHashes, count=10_000))
