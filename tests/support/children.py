"""Child interpreters for tests.

A child that crashes or hangs fails the test that started it, and shows its threads' stacks.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
GRACE = 5.0


def made(spec: str) -> Any:
    """The object that `module:name` names.

    Checks use this to tell their children which registry to use; tests name a broken registry.
    """
    module, name = spec.split(":")
    return getattr(importlib.import_module(module), name)


def run_child(code: str, limit: float = 60.0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the code in a new interpreter that has `tests` on its path and these variables set.

    After `limit` seconds the child writes its stacks and exits. If it cannot even do that, it is
    killed. Processes that the child has forked are killed with it.
    """
    watch = (
        "import faulthandler; faulthandler.enable(); "
        f"faulthandler.dump_traceback_later({limit}, exit=True)\n"
    )
    command = [sys.executable, "-c", watch + code]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), **variables}
    # Files, because a pipe would stay open as long as one forked child lives.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, env=environment, start_new_session=True
        )
        try:
            status = process.wait(limit + GRACE)
        except subprocess.TimeoutExpired:
            status = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.seek(0)
        errors.seek(0)
        said = errors.read()
        assert status is not None, f"hung for {limit + GRACE} s, and wrote no stacks: {said}"
        return subprocess.CompletedProcess(command, status, output.read(), said)


def run_clean_child(code: str, limit: float = 60.0, **variables: str) -> str:
    """Returns what a new interpreter printed; fails unless it exited with 0 and wrote no errors."""
    done = run_child(code, limit, **variables)
    assert (done.returncode, done.stderr) == (0, ""), (
        f"exit status {done.returncode}: {done.stderr}"
    )
    return done.stdout
