"""Runs one check for a set time in a process of its own: python -m long.one MODULE SECONDS"""

from __future__ import annotations

import importlib
import sys
import time


def main(name: str, seconds: str) -> None:
    """Prints the work done so far, at most once a second, and the total at the end."""
    check = importlib.import_module(f"long.{name}")
    end = time.monotonic() + float(seconds)
    work, printed = 0, 0.0
    for done in check.run(lambda: time.monotonic() >= end):
        work += done
        if time.monotonic() - printed >= 1:
            printed = time.monotonic()
            print(f"{work:,} {check.UNIT}", flush=True)
    print(f"work: {work}")


if __name__ == "__main__":
    main(*sys.argv[1:])
