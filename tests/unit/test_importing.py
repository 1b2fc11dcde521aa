"""Importing the package: a second import, a checkout that is not built, the files of a wheel."""

from __future__ import annotations

import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from support.children import run_clean_child

import registry

PACKAGE = Path(registry.__file__).parent
PROJECT = PACKAGE.parent

WORKS = """
def check(first, backend):
    made = first.Registry()
    made.add_backend(first.Backend("a", "a", "http://a", models=[first.Model("m")]))
    made.update_status("a", first.BackendStatus.HEALTHY)
    with made.acquire("m", policy=first.Policy.RANDOM, require=first.Requirements()) as lease:
        assert type(lease.backend) is first.Backend is backend.Backend
    assert made.add_model("a", first.Model("n"))
    made.update_models("a", [first.Model("o")])
    view = made.get_backend("a")
    assert first.BackendView.from_json(view.to_json()) == view
    assert view.status is first.BackendStatus.HEALTHY
    for call, error in (
        (lambda: made.remove_backend("b"), first.BackendNotFoundError),
        (lambda: made.acquire("x"), first.NoBackendAvailableError),
    ):
        try:
            call()
        except error:
            pass
        else:
            raise AssertionError(error)

def refused(call):
    try:
        call()
    except ImportError as error:
        assert "already imported in this process" in str(error), error
        assert "new process" in str(error) and error.name == "registry"
    else:
        raise AssertionError("not refused")

import importlib, sys
import registry
backend = importlib.import_module("registry.backend")
"""


def test_reloading_the_package_changes_nothing() -> None:
    code = """
before = {name: getattr(registry, name) for name in registry.__all__}
assert importlib.reload(registry) is registry
assert {name: getattr(registry, name) for name in registry.__all__} == before
check(registry, backend)
"""
    assert run_clean_child(WORKS + code) == ""


def test_reloading_any_module_is_refused_or_changes_nothing() -> None:
    code = """
bound = {
    *("_read_only", "_reconcile", "_registry", "backend", "ejection", "errors", "metadata"),
    *("selection", "settings", "stats", "watching"),
}
for name in sorted(name for name in sys.modules if name.startswith("registry.")):
    module = sys.modules[name]
    if name.removeprefix("registry.") in bound:
        refused(lambda: importlib.reload(module))
    else:
        importlib.reload(module)
    assert sys.modules[name] is module
    check(registry, backend)
importlib.reload(registry)
check(registry, backend)
"""
    assert run_clean_child(WORKS + code) == ""


@pytest.mark.parametrize(
    "kept", [(), ("registry._core.binding",), ("registry._core.binding", "registry._single_import")]
)
def test_a_second_import_is_refused_and_the_first_still_works(kept: tuple[str, ...]) -> None:
    code = f"""
first = registry
for name in [name for name in sys.modules if name.partition(".")[0] == "registry"]:
    if name not in {kept!r}:
        del sys.modules[name]
for attempt in range(2):
    refused(lambda: importlib.import_module("registry"))
    refused(lambda: importlib.import_module("registry.backend"))
    assert "registry" not in sys.modules
    check(first, backend)
"""
    assert run_clean_child(WORKS + code) == ""


def test_a_second_bind_is_refused() -> None:
    code = """
from registry._core import binding
members = tuple(registry.BackendStatus), tuple(registry.Reason)
refused(lambda: binding.bind(registry.Backend, registry.Model, registry.BackendView, *members))
check(registry, backend)
"""
    assert run_clean_child(WORKS + code) == ""


def test_a_failed_import_can_be_repeated() -> None:
    code = """
import sys
sys.modules["registry.fleet"] = None
try:
    import registry
except ImportError as error:
    assert "registry.fleet" in str(error)
del sys.modules["registry.fleet"]
"""
    assert run_clean_child(code + WORKS + "check(registry, backend)") == ""


# ---- a checkout that is not built


def unbuilt(tmp_path: Path) -> Path:
    """A copy of the package without its extension module."""
    shutil.copytree(
        PACKAGE, tmp_path / "registry", ignore=shutil.ignore_patterns("__pycache__", "*.so")
    )
    return tmp_path


IMPORT = """
import sys
sys.path.insert(0, {place!r})
sys.meta_path[:] = [one for one in sys.meta_path if "Editable" not in getattr(one, "__name__", "")]
try:
    import registry
except ImportError as error:
    print(type(error).__name__, error.name, error.__suppress_context__, error)
"""


def test_importing_an_unbuilt_checkout_says_how_to_build_it(tmp_path: Path) -> None:
    output = run_clean_child(IMPORT.format(place=str(unbuilt(tmp_path))))
    assert output.startswith("ImportError registry._core.binding True ")
    assert "not built" in output
    assert "`make`" in output
    assert "`pip install -e .`" in output
    assert str(tmp_path) in output


def test_other_import_errors_of_the_extension_are_not_hidden(tmp_path: Path) -> None:
    place = unbuilt(tmp_path)
    (place / "registry" / "_core" / "binding.py").write_text("import no_such_module\n")
    output = run_clean_child(IMPORT.format(place=str(place)))
    assert output.startswith("ModuleNotFoundError no_such_module False ")
    (place / "registry" / "_core" / "binding.py").write_text(
        "raise ImportError('libfoo.so: undefined symbol')\n"
    )
    assert "undefined symbol" in run_clean_child(IMPORT.format(place=str(place)))


# ---- packaging


@pytest.mark.skipif(
    not (PROJECT / "pyproject.toml").exists(), reason="installed without its sources"
)
def test_a_wheel_does_not_contain_the_sources_of_the_extension() -> None:
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "setuptools"
    ]
    (excluded,) = setuptools["exclude-package-data"].values()
    wanted = (".py", ".pyi", ".typed", ".so")
    files = [path.name for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    sources = [name for name in files if not name.endswith(wanted)]
    assert {"binding.pyx", "c_api.pxd", "python.h", "views.pxi"} <= set(sources)
    assert [
        name for name in sources if not any(fnmatch(name, pattern) for pattern in excluded)
    ] == []
    assert [
        name for name in files if name.endswith(wanted) and any(fnmatch(name, p) for p in excluded)
    ] == []
