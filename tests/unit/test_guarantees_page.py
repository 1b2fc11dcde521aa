"""docs/guarantees.md names everything that is public."""

from __future__ import annotations

import re
from dataclasses import fields
from enum import StrEnum
from pathlib import Path

import pytest

import registry
from registry import Backend, BackendView, Candidate, Lease, Model, Registry, RegistryStats

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")

# Every word inside backquotes.
NAMED = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PAGE))))
COSTS = PAGE.partition("## Cost, thread safety and progress")[2].partition("\n## ")[0]
CLASSES = [kind for name in registry.__all__ if isinstance(kind := getattr(registry, name), type)]


def public_methods(kind: type) -> list[str]:
    """The methods and properties that users call by name."""
    return [name for name in dir(kind) if not name.startswith("_")]


def test_every_public_name_is_on_the_page() -> None:
    assert [name for name in registry.__all__ if name not in NAMED] == []


@pytest.mark.parametrize("kind", [Registry, Lease])
def test_every_method_is_on_the_page(kind: type) -> None:
    assert [name for name in public_methods(kind) if name not in NAMED] == []


def test_every_method_of_the_registry_has_its_cost() -> None:
    bulk = {"increment_pending_many", "decrement_pending_many", "update_latency_many"}
    missing = {name for name in public_methods(Registry) if f"`{name}`" not in COSTS}
    assert missing - bulk == set()
    assert "bulk forms" in COSTS


@pytest.mark.parametrize("kind", [Model, Backend, BackendView, Candidate, RegistryStats])
def test_every_field_is_on_the_page(kind: type) -> None:
    assert [field.name for field in fields(kind) if field.name not in NAMED] == []


def test_every_value_of_an_enum_is_on_the_page() -> None:
    values = [member.value for kind in CLASSES if issubclass(kind, StrEnum) for member in kind]
    assert len(values) > 20
    assert [value for value in values if value not in NAMED] == []
