"""The version: pyproject.toml states it, and the package and its metadata agree with it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import registry

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_version_is_the_one_in_pyproject() -> None:
    stated = tomllib.loads(PROJECT.read_text())["project"]["version"]
    assert registry.__version__ == metadata.version("backend-registry") == stated


def test_a_checkout_that_is_not_installed_has_no_known_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert registry.__version__ == "0+unknown"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'registry' has no attribute 'no_such'"):
        _ = registry.no_such  # type: ignore[attr-defined]
    assert not hasattr(registry, "__path_hooks__")


def test_importing_does_not_look_up_the_version() -> None:
    loaded = "'importlib.metadata' in sys.modules"
    code = f"import registry, sys; assert not {loaded}; registry.__version__; assert {loaded}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
