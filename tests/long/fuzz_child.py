"""Runs one target under atheris: python -m long.fuzz_child TARGET PLANT [LIBFUZZER'S OPTIONS]

This is a process of its own because libFuzzer ends it, and because the measured modules must be
imported here first.
"""

from __future__ import annotations

import logging
import sys
from functools import partial

import atheris  # pyright: ignore[reportMissingModuleSource]  # from the extra `fuzz`

MEASURED = ["registry", "support.oracle", "support.machine", "support.fuzz", "tomllib"]
# Pyright's stub lacks the function.
with atheris.instrument_imports(MEASURED):  # pyright: ignore[reportAttributeAccessIssue]
    from support.fuzz import TARGETS


def main(target: str, plant: str, *options: str) -> None:
    """Never returns.

    PLANT names a registry for the target `calls`; for the others, a function that breaks the
    package. It is empty for a run without a planted bug.
    """
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
