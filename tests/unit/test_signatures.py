"""Every public callable has a signature and a docstring, and the stub has the same ones."""

from __future__ import annotations

import ast
import inspect
import pydoc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

import registry
from registry import Lease, Policy, Registry
from registry._core import binding

STUB = ast.parse(Path(binding.__file__).with_name("binding.pyi").read_text(encoding="utf-8"))
# Name, kind and default of each parameter.
Parameters = list[tuple[str, Any, Any]]


def own_methods(cls: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The methods that this package defines for a class: public ones, and those for `with`."""
    for name in dir(cls):
        homes = [one for one in cls.__mro__ if name in vars(one)]
        if not homes or homes[0].__module__.partition(".")[0] != "registry":
            continue
        is_public = not name.startswith("_") or name in (
            "__enter__",
            "__exit__",
            "__aenter__",
            "__aexit__",
        )
        if is_public and callable(getattr(cls, name)):
            yield f"{cls.__name__}.{name}", getattr(cls, name)


def public_callables() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The package's functions, constructors and methods, by name."""
    for name in registry.__all__:
        value = getattr(registry, name)
        if callable(value):
            yield name, value
        if isinstance(value, type):
            yield from own_methods(value)


PUBLIC = dict(public_callables())


def parameters_of(signature: inspect.Signature) -> Parameters:
    """The parameters of a signature at run time."""
    return [(one.name, one.kind.name, one.default) for one in signature.parameters.values()]


def stub_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Parameters:
    """The parameters of a function in the stub."""
    given, empty = function.args, inspect.Parameter.empty
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    found = [
        (
            arg.arg,
            "POSITIONAL_ONLY" if arg in given.posonlyargs else "POSITIONAL_OR_KEYWORD",
            default,
        )
        for arg, default in zip(positional, defaults, strict=True)
    ]
    found += [(given.vararg.arg, "VAR_POSITIONAL", None)] if given.vararg else []
    found += [
        (arg.arg, "KEYWORD_ONLY", value)
        for arg, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    return [
        (name, kind, empty if value is None else eval(ast.unparse(value), {"Policy": Policy}))
        for name, kind, value in found
    ]


def in_stub() -> Iterator[tuple[str, Parameters, Callable[..., Any]]]:
    """The functions and methods of the stub: name, parameters, and the callable at run time."""
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, stub_parameters(node), getattr(binding, node.name)
        if isinstance(node, ast.ClassDef):
            for function in node.body:
                if (
                    isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not function.decorator_list
                ):
                    owner = Registry if node.name == "RegistryCore" else getattr(binding, node.name)
                    found = getattr(owner, function.name)
                    yield f"{owner.__name__}.{function.name}", stub_parameters(function), found


# The interpreter's wrappers of a class's C slots have argument names of their own.
SLOTS = ("__new__", "__len__", "__contains__", "__iter__", "__bool__")
STUBBED = [one for one in in_stub() if not one[0].endswith(SLOTS)]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_callable_has_a_signature(name: str) -> None:
    assert isinstance(inspect.signature(PUBLIC[name]), inspect.Signature)


def test_the_list_of_public_callables_is_complete() -> None:
    assert {
        "load_fleet",
        "Lease",
        "Lease.release",
        "Registry.acquire",
        "Registry.from_fleet",
    } < set(PUBLIC)
    assert {"BackendView.from_json", "Backend.to_json", "RegistryError", "Registry.stats"} < set(
        PUBLIC
    )
    assert len(PUBLIC) > 50


@pytest.mark.parametrize(("name", "expected", "found"), STUBBED, ids=[one[0] for one in STUBBED])
def test_the_stub_has_the_parameters_of_the_module(
    name: str, expected: Parameters, found: Callable[..., Any]
) -> None:
    parameters = parameters_of(inspect.signature(found))
    is_method = "." in name  # the kind of `self` differs in a method of C
    assert parameters[is_method:] == expected[is_method:]


def docstrings() -> Iterator[tuple[str, str | None, str | None]]:
    """Classes, functions and methods: name, docstring in the stub, docstring in the module."""
    for node in STUB.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            owner = getattr(binding, node.name)
            yield node.name, ast.get_docstring(node), inspect.getdoc(owner)
            for function in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(function, ast.FunctionDef) and not function.name.startswith("_"):
                    found = inspect.getdoc(vars(owner)[function.name])
                    yield f"{node.name}.{function.name}", ast.get_docstring(function), found


@pytest.mark.parametrize(("name", "expected", "found"), [*docstrings()])
def test_the_stub_has_the_docstrings_of_the_module(
    name: str, expected: str | None, found: str | None
) -> None:
    """Editors show the docstrings of the stub; `help` shows the docstrings of the module."""
    assert expected
    assert expected == found, name


def test_every_method_of_the_core_is_in_the_stub() -> None:
    stubbed = {name for name, _, _ in in_stub()}
    for cls in (binding.RegistryCore, Lease):
        owner = Registry if cls is binding.RegistryCore else cls
        methods = {
            name for name in vars(cls) if callable(getattr(cls, name)) and not name.startswith("__")
        }
        assert {f"{owner.__name__}.{name}" for name in methods} <= stubbed


@pytest.mark.parametrize("name", ["acquire", "select", "explain"])
def test_help_shows_the_arguments_of_a_choice(name: str) -> None:
    shown = "".join(
        pydoc.plain(pydoc.render_doc(Registry)).replace("|", "").split()
    )  # without white space, because help may break the line anywhere
    keywords = (
        "policy='least_pending',require=None,exclude=(),only=None,allow_unknown=False,"
        "affinity=None,tokens=0,prefix=None"
    )
    assert f"{name}(self,model_id,/,*,{keywords})" in shown
    assert (
        inspect.signature(getattr(Registry(), name)).parameters["policy"].default
        == Policy.LEAST_PENDING
    )


METHODS = [name for name in dir(Registry) if not name.startswith("_")]


def assert_checks_calls(mocked: Any, name: str) -> None:
    """A call with the required arguments works; too many, too few or an unknown one is an error."""
    parameters = [*inspect.signature(getattr(Registry(), name)).parameters.values()]
    needed = [one for one in parameters if one.default is inspect.Parameter.empty]
    method = getattr(mocked, name)
    result = method(*[object() for _ in needed])
    if inspect.iscoroutine(result):
        result.close()  # or it warns that it was never awaited
    with pytest.raises(TypeError):
        method(*[object() for _ in range(len(parameters) + 1)])
    with pytest.raises(TypeError):
        method(*[object() for _ in needed], unknown=1)
    if needed:
        with pytest.raises(TypeError):
            method()


@pytest.mark.parametrize("name", METHODS)
def test_autospec_checks_the_arguments_of_calls(name: str) -> None:
    assert_checks_calls(create_autospec(Registry)(), name)
    assert_checks_calls(create_autospec(Registry, instance=True, spec_set=True), name)


def test_a_method_taken_from_the_class_works_like_the_method() -> None:
    made = Registry()
    assert Registry.get_backend(made, "a") is None
    methods: list[object] = [Registry.get_backend, Registry.get_backend, Registry.acquire]
    assert methods[0] == methods[1] != methods[2]
    assert Registry.get_backend.__get__(made)("a") is None
    with pytest.raises(TypeError):
        Registry.get_backend(object(), "a")  # type: ignore[arg-type]


def test_a_subclass_may_be_abstract_and_may_override_methods() -> None:
    class Base(ABC):
        @abstractmethod
        def name(self) -> str: ...

    class Own(Registry, Base):
        def get_backend(self, backend_id: str, /) -> Any:
            return backend_id, super().get_backend(backend_id)

    with pytest.raises(TypeError, match="abstract"):
        Own()  # type: ignore[abstract]
    named = type("Named", (Own,), {"name": lambda self: "n"})
    assert named().get_backend("a") == ("a", None)
    assert named().name() == "n"
