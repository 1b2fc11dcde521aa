"""One target under atheris: python -m long.fuzz_child TARGET PLANT [LIBFUZZER'S OPTIONS]

A process of its own, for libFuzzer ends it, and what is measured has to be imported here first of all.
"""

from __future__ import annotations

import logging
import sys
from functools import partial

import atheris  # pyright: ignore[reportMissingModuleSource]  # of the fuzz extra

MEASURED = ["registry", "oracle", "machine", "fuzz", "tomllib"]
# The stub that pyright brings lacks it.
with atheris.instrument_imports(MEASURED):  # pyright: ignore[reportAttributeAccessIssue]
    from support.fuzz import TARGETS


def main(target: str, plant: str, *options: str) -> None:
    """Never returns. A plant is a registry for `calls`; for the other targets, a function that breaks the package."""
    from support.children import made

    logging.disable(logging.CRITICAL)
    function = TARGETS[target]
    if plant and target == "calls":
        function = partial(function, make=made(plant))
    elif plant:
        made(plant)()
    atheris.Setup([sys.argv[0], *options], function)
    atheris.Fuzz()


main(*sys.argv[1:])
