"""An interpreter can exit while daemon threads are inside calls of the registry."""

from __future__ import annotations

import atexit
import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from support.children import made, run_child
from support.selection import key_for

from registry import Backend, Model, Policy

UNIT = "exits"
GOAL = 500

HANG = 60.0  # Seconds; a busy machine takes several to start a child.
# Ways to end an interpreter, and the exit status of each.
ENDS = {"return": 0, "sys.exit": 3, "exception": 1, "atexit": 0, "leases": 0, "thread": 0}


def run(
    until: Callable[[], bool],
    *,
    make: str = "registry:Registry",
    exits: int | None = None,
    hang: float = HANG,
) -> Iterator[int]:
    """Exiting neither crashes nor hangs, although daemon threads are in mid-call."""
    for number, end in zip(
        itertools.count() if exits is None else range(exits), itertools.cycle(ENDS)
    ):
        code = f"from long import exits; exits.end_in_mid_call({make!r}, {end!r}, {number})"
        done = run_child(code, hang, ASAN_OPTIONS=without_leaks())
        said = done.stderr.strip().splitlines()
        complaint = f"{end}: exit status {done.returncode}: {done.stderr}"
        assert done.returncode == ENDS[end], complaint
        assert (said[-1:] == ["ZeroDivisionError: the end"]) if end == "exception" else not said, (
            complaint
        )
        yield 1
        if until() and number + 1 >= len(ENDS):
            return


def without_leaks() -> str:
    """AddressSanitizer's options: a call that an exit interrupts never frees what it holds."""
    return os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"


def busy(registry: Any, name: str) -> None:
    """Repeats calls that block, that allocate and that retire garbage."""
    backend = Backend(name, name, "http://h", models=[Model("m"), Model(name)])
    while True:
        registry.add_backend(backend)
        registry.update_status("b1", "healthy")
        for policy in Policy:
            with registry.acquire("m", policy=policy, affinity=key_for(policy)):
                registry.get_all_backends()
        registry.increment_pending_many(["b1"] * 100)
        registry.explain("m")
        registry.stats()
        registry.update_status("b1", "unhealthy", "x")
        registry.remove_backend(name)


def end_in_mid_call(make: str, end: str, seed: int) -> None:
    """Runs in a child: ends it in the given way while four threads use the registry."""
    registry = made(make)()
    for number in range(50):
        registry.add_backend(
            Backend(f"b{number}", "b", "http://h", models=[Model("m")], max_pending=2**32 - 1)
        )
        registry.update_status(f"b{number}", "healthy")
    for number in range(4):
        threading.Thread(target=busy, args=(registry, f"t{number}"), daemon=True).start()
    time.sleep(random.Random(seed).random() * 0.02)
    if end == "sys.exit":
        sys.exit(3)
    if end == "exception":
        raise ZeroDivisionError("the end")
    if end == "atexit":
        atexit.register(use_at_exit, registry)
    if end == "leases":
        # Freed when the modules are torn down.
        leases = [registry.acquire("m") for _ in range(20)]
        made("long.exits:KEPT").extend([registry, *leases])
        for lease in leases:
            lease.release()
    if end == "thread":
        threading.Thread(target=lambda: [registry.get_all_backends() for _ in range(50)]).start()


KEPT: list[Any] = []


def use_at_exit(registry: Any) -> None:
    """Calls that a program may still make at exit."""
    registry.remove_backend("b49")
    assert registry.get_backend("b49") is None
    with registry.acquire("m"):
        registry.to_json()
