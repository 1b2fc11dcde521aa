"""What the extension module does to the interpreter that imports it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter's result."""
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_import_gives_no_warning() -> None:
    done = run("import registry", "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")


def test_import_leaves_the_gil_as_the_build_has_it() -> None:
    """Off on a free-threaded build: an extension that did not declare itself would turn it on, with a warning."""
    code = "import registry, sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    done = run(code, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{not FREE_THREADED}\n", "")


def test_hot_methods_take_one_argument_straight_from_c() -> None:
    from registry import Registry

    for name in ("get_backend", "increment_pending", "decrement_pending", "increment_total_requests"):
        assert type(Registry.__dict__.get(name, getattr(Registry, name))).__name__ == "method_descriptor"
