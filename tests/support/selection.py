"""Choices for tests of selection."""

from __future__ import annotations

from typing import Any

from registry import Policy, Registry

# The policies that look at all candidates and choose the best.
EXACT = [policy for policy in Policy if policy not in (Policy.RANDOM, Policy.POWER_OF_TWO)]


def picks(registry: Registry, count: int, **arguments: Any) -> list[str]:
    """The ids of consecutive choices."""
    return [registry.select("m", **arguments).id for _ in range(count)]
