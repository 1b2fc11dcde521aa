"""Forks under load: each child can use every part of the registry at once.

Threads add, remove, read and choose while the process forks. On a free-threaded interpreter, a fork
can copy one of the interpreter's own locks while another thread holds it, and the child then hangs
in the interpreter. Such a child is recognised by its stack and ignored: see `is_ours`.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from support.children import made, run_clean_child
from support.selection import key_for

from registry import Backend, Model, NoBackendAvailableError, Policy

UNIT = "forks"
GOAL = 1000

PER_CHILD = 50
HANG = 5.0


def run(
    until: Callable[[], bool],
    *,
    make: str = "registry:Registry",
    forks: int = PER_CHILD,
    hang: float = HANG,
) -> Iterator[int]:
    """A forked child finds a consistent registry, whatever the other threads were doing."""
    while True:
        run_clean_child(
            f"from long import forks; forks.fork_under_load({make!r}, {forks}, {hang})", 60 + hang
        )
        yield forks
        if until():
            return


def filled(make: str) -> Any:
    """A registry with one backend that the load never touches, and four that it chooses among."""
    registry = made(make)()
    for backend_id, model in [("own", "mine"), *((f"b{number}", "m") for number in range(4))]:
        registry.add_backend(
            Backend(backend_id, backend_id, f"http://{backend_id}", models=[Model(model)])
        )
        registry.update_status(backend_id, "healthy")
    return registry


def load(registry: Any, name: str, stop: threading.Event) -> None:
    """Runs in the other threads: takes every lock of the core, and begins every kind of read."""
    backend = Backend(
        name, name, "http://h", models=[Model("m"), Model(name)], metadata={"mdns_instance": name}
    )
    while not stop.is_set():
        registry.add_backend(backend)
        registry.update_models(name, [Model("n")])
        for policy in Policy:
            with registry.acquire("m", policy=policy, affinity=key_for(policy)):
                registry.get_all_backends()
        registry.explain("m", policy="round_robin")
        registry.stats()
        registry.remove_backend(name)


def use(registry: Any, lease: Any) -> None:
    """What a child does first: writes, reads, counts, chooses, and releases the parent's lease."""
    assert registry.increment_pending("own") == 2
    assert lease.release()
    assert registry.decrement_pending("own") == 0
    registry.add_backend(
        Backend(
            "child", "c", "http://child", models=[Model("mine")], metadata={"mdns_instance": "c"}
        )
    )
    registry.update_status("child", "healthy")
    assert registry.update_latency_many(["child", "child"], [10, 20]) == [10, 12]
    assert registry.find_by_mdns_instance("c") == "child"
    assert registry.has_backend_url("http://CHILD:80/")
    for policy in Policy:
        with registry.acquire(
            "mine", policy=policy, affinity=key_for(policy), exclude=["own"]
        ) as own:
            assert own.backend.id == "child"
            assert (
                registry.select(
                    "mine", policy=policy, affinity=key_for(policy), exclude=["child"]
                ).id
                == "own"
            )
    assert [one.rank for one in registry.explain("mine", policy="round_robin")] == [1, 2]
    registry.update_models("child", [Model("other")])
    assert registry.stats().backends >= 6
    assert len(registry.get_backends_for_model("mine")) == 1
    assert {"own", "child", "b0", "b1", "b2", "b3"} <= set(registry)
    assert registry.remove_backend("child").id == "child"
    try:
        registry.acquire("other")
    except NoBackendAvailableError:
        return
    raise AssertionError("a backend was chosen after its removal")


def fork_under_load(make: str, forks: int, hang: float) -> None:
    """Runs in a child. Raises if a forked process finds wrong values or hangs in the package."""
    # This check forks with threads on purpose.
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.setswitchinterval(1e-4)
    registry, stop = filled(make), threading.Event()
    threads = [
        threading.Thread(target=load, args=(registry, f"t{number}", stop), daemon=True)
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(forks):
            with tempfile.TemporaryFile("w+") as stacks:
                fork_once(registry, hang, stacks)
    finally:  # An exit would interrupt their calls, and leak the memory that they hold.
        stop.set()
        for thread in threads:
            thread.join()
    assert list(registry) == ["own", "b0", "b1", "b2", "b3"], list(registry)
    assert [view.pending_requests for view in registry.get_all_backends()] == [0] * 5


def is_ours(stack: str) -> bool:
    """Whether a hung process is inside a call of the package; with a GIL, always true."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return has_gil or any(frame.endswith(" in use") for frame in stack.splitlines())


def fork_once(registry: Any, hang: float, stacks: Any) -> None:
    """Forks once. The child must succeed, or hang inside the interpreter."""
    faulthandler.register(signal.SIGUSR1, stacks, all_threads=False)
    with registry.acquire("mine") as lease:
        child = os.fork()
        if child == 0:
            try:
                use(registry, lease)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
    limit = time.monotonic() + hang
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < limit:
        time.sleep(0.0005)
    if ended == (0, 0):
        os.kill(child, signal.SIGUSR1)
        time.sleep(0.5)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        stacks.seek(0)
        where = stacks.read()
        assert not is_ours(where), f"a child hung:\n{where}"
        return
    assert ended[1] == 0, f"a child ended with {ended[1]}"
