"""Child interpreters for tests: one that crashes or hangs fails the test that started it, with the stacks of its threads."""

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
    """What `module:name` names: how a check tells its children which registry to use, or a test which broken one."""
    module, name = spec.split(":")
    return getattr(importlib.import_module(module), name)


def run_child(code: str, limit: float = 60.0, **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter's result, with `tests` on its path and these environment variables. After `limit` seconds it writes its stacks and ends itself; where it can't
    even do that, it is killed. What it has forked ends with it."""
    watch = f"import faulthandler; faulthandler.enable(); faulthandler.dump_traceback_later({limit}, exit=True)\n"
    command = [sys.executable, "-c", watch + code]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), **variables}
    # Files, for a pipe would stay open as long as one forked child lives.
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
        assert status is not None, f"hung for {limit + GRACE} s, and told no stacks: {said}"
        return subprocess.CompletedProcess(command, status, output.read(), said)


def run_clean_child(code: str, limit: float = 60.0, **variables: str) -> str:
    """What a fresh interpreter printed; AssertionError unless it ended well and wrote no error."""
    done = run_child(code, limit, **variables)
    assert (done.returncode, done.stderr) == (0, ""), (
        f"exit status {done.returncode}: {done.stderr}"
    )
    return done.stdout
