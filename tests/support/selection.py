"""Choices for tests of selection."""

from __future__ import annotations

from typing import Any

from registry import Policy, Registry

# The policies that look at all candidates and choose the best; equal ones take turns.
EXACT = [
    policy
    for policy in Policy
    if policy not in (Policy.RANDOM, Policy.POWER_OF_TWO, Policy.AFFINITY)
]


def picks(registry: Registry, count: int, **arguments: Any) -> list[str]:
    """The ids of consecutive choices."""
    return [registry.select("m", **arguments).id for _ in range(count)]


def key_for(policy: Policy) -> str | None:
    """The argument `affinity` for a policy: a key where it needs one."""
    return "key" if policy is Policy.AFFINITY else None
