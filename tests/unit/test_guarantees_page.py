"""docs/guarantees.md names everything that is public."""

from __future__ import annotations

import re
from dataclasses import fields
from enum import StrEnum
from pathlib import Path

import pytest

import registry
from registry import (
    Backend,
    BackendView,
    Candidate,
    Ejection,
    Lease,
    Model,
    Reason,
    Registry,
    RegistryStats,
)
from registry.testing import ManualClock

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")

# What is inside backquotes, and every word of it.
QUOTED = re.findall(r"`([^`\n]+)`", PAGE)
NAMED = set(re.findall(r"\w+", " ".join(QUOTED)))
COSTS = PAGE.partition("## Cost, thread safety and progress")[2].partition("\n## ")[0]
CLASSES = [kind for name in registry.__all__ if isinstance(kind := getattr(registry, name), type)]


def public_methods(kind: type) -> list[str]:
    """The methods and properties that users call by name."""
    return [name for name in dir(kind) if not name.startswith("_")]


def test_every_public_name_is_on_the_page() -> None:
    assert [name for name in registry.__all__ if name not in NAMED] == []


@pytest.mark.parametrize("kind", [Registry, Lease, ManualClock])
def test_every_method_is_on_the_page(kind: type) -> None:
    assert [name for name in public_methods(kind) if name not in NAMED] == []


def test_every_method_of_the_registry_has_its_cost() -> None:
    bulk = {"increment_pending_many", "decrement_pending_many", "update_latency_many"}
    missing = {name for name in public_methods(Registry) if f"`{name}`" not in COSTS}
    assert missing - bulk == set()
    assert "bulk forms" in COSTS


@pytest.mark.parametrize("kind", [Model, Backend, BackendView, Candidate, Ejection, RegistryStats])
def test_every_field_is_on_the_page(kind: type) -> None:
    assert [field.name for field in fields(kind) if field.name not in NAMED] == []


def test_every_value_of_an_enum_is_on_the_page() -> None:
    values = [member.value for kind in CLASSES if issubclass(kind, StrEnum) for member in kind]
    assert len(values) > 20
    assert [value for value in values if value not in QUOTED] == []


def test_every_reason_has_its_row() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    for reason in Reason:
        row = [row for row in rows if f"`{reason.name}`" in row and f"`{reason.value}`" in row]
        assert row, reason


def test_every_default_of_ejection_is_in_its_row() -> None:
    for field in fields(Ejection):
        pattern = rf"^\| `{field.name}` \| [^|]+ \| {re.escape(repr(field.default))} \| "
        assert re.search(pattern, PAGE, re.MULTILINE), field.name


def test_the_chapter_on_failures_has_its_table() -> None:
    failures = PAGE.partition("\n## Failures\n")[2].partition("\n## ")[0]
    for told in ("release()", "failed=True", "abandoned=True", "retry_after=seconds"):
        assert re.search(rf"^\| [^|]+ \| .*{re.escape(told)}", failures, re.MULTILINE), told
