"""Every planted bug still fits the source that it edits.

`make check-long` runs the tests with each bug planted.
"""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def script(path: str) -> ModuleType:
    """Imports a script that has no `.py` in its name."""
    name = path.replace("/", "_")
    spec = spec_from_loader(name, SourceFileLoader(name, str(ROOT / path)))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PLANT = script("tests/c/plant")


@pytest.mark.parametrize("plant", PLANT.PLANTS, ids=lambda plant: plant.name)
def test_a_plant_matches_exactly_one_place(plant: object) -> None:
    source = (ROOT / "src_c" / plant.file).read_text()  # type: ignore[attr-defined]
    assert PLANT.with_plant(plant, source) != source


def test_a_plant_that_matches_no_place_is_refused() -> None:
    with pytest.raises(SystemExit, match="expected exactly one place in none.c, found 0"):
        PLANT.with_plant(PLANT.Plant("lost", "none.c", "right", "wrong"), "")
