"""How importing and calling the extension module affects the interpreter."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from registry import Backend, BackendStatus, BackendType, DiscoverySource, Model, Policy, Registry

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs the code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_import_gives_no_warning() -> None:
    done = run("import registry", "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")


def test_import_leaves_the_gil_as_the_build_has_it() -> None:
    """An extension without a declaration of free-threading support would turn the GIL on."""
    code = "import registry, sys; print(getattr(sys, '_is_gil_enabled', lambda: True)())"
    done = run(code, "-W", "error")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{not FREE_THREADED}\n", "")


def test_hot_methods_are_method_descriptors() -> None:
    for name in (
        "get_backend",
        "increment_pending",
        "decrement_pending",
        "increment_total_requests",
        "acquire",
    ):
        assert (
            type(Registry.__dict__.get(name, getattr(Registry, name))).__name__
            == "method_descriptor"
        )


def fresh(text: str) -> str:
    """A new str object that nothing else refers to, like one from a parsed request."""
    return "".join(list(text))


@pytest.mark.parametrize(
    "given",
    [{}, {"policy": Policy.SMART}, {"policy": "random", "exclude": [], "allow_unknown": True}],
)
def test_a_lease_takes_no_reference_to_the_model_id(
    registry: Registry, given: dict[str, Any]
) -> None:
    model_id = fresh("llama3:70b")
    registry.add_backend(Backend("b", "b", "http://b", models=[Model("llama3:70b")]))
    registry.update_status("b", "healthy")
    before = sys.getrefcount(model_id)
    leases = [registry.acquire(model_id, **given) for _ in range(100)]
    assert sys.getrefcount(model_id) == before
    assert {lease.model_id for lease in leases} == {model_id}
    assert all(lease.release() for lease in leases)


@pytest.mark.skipif(
    not FREE_THREADED, reason="with a GIL, threads do not contend for reference counts"
)
def test_objects_that_all_backends_share_are_immortal() -> None:
    system: Any = sys  # Type checkers do not know the private function of 3.14.
    metadata = Backend("b", "b", "http://b").metadata
    shared = (*Policy, *BackendStatus, *BackendType, *DiscoverySource, metadata)
    counted = [one for one in shared if not system._is_immortal(one)]
    assert counted == []


@pytest.mark.skipif(
    not FREE_THREADED, reason="with a GIL, threads do not contend for reference counts"
)
def test_a_second_import_keeps_reference_counts_right() -> None:
    """The second import must not take over the references that the first, interrupted one owns."""
    code = """
import sys, threading
sys.modules["registry.fleet"] = None
def first():
    try:
        import registry
    except ImportError:
        pass
thread = threading.Thread(target=first)
thread.start()
thread.join()
del sys.modules["registry.fleet"]
from registry import Backend, BackendStatus, Registry
registry = Registry()
registry.add_backend(Backend("a", "a", "http://a"))
for _ in range(1000):
    assert registry.get_backend("a").status is BackendStatus.UNKNOWN
print(min(sys.getrefcount(status) for status in BackendStatus) > 0)
"""
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
