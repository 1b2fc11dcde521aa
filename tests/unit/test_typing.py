"""The exported `Literal` types have the values of the enums. See also tests/static/calls.py."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, get_args

import pytest

import registry

PUBLIC = [getattr(registry, name) for name in registry.__all__]
# No argument takes a member of these, so they need no `Literal`.
RESULTS = (registry.ChangeKind,)
ENUMS = [
    one
    for one in PUBLIC
    if isinstance(one, type) and issubclass(one, StrEnum) and one not in RESULTS
]


def test_every_enum_is_exported() -> None:
    names = {enum.__name__ for enum in ENUMS}
    assert names >= {"BackendStatus", "BackendType", "DiscoverySource", "Policy"}


@pytest.mark.parametrize("enum", ENUMS)
def test_the_literal_of_an_enum_has_its_values_in_order(enum: type[StrEnum]) -> None:
    literal: Any = getattr(registry, f"{enum.__name__}Value")
    assert get_args(literal) == tuple(member.value for member in enum)
