"""A field of `Backend` is declared once, in the dataclass. Everything else is derived from it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.children import run_clean_child

import registry
from registry import Backend, BackendView, Model, backend
from registry._core import binding

PACKAGE = Path(registry.__file__).parent
SOURCE = PACKAGE / "backend.py"


def spelled_out(cls: str) -> list[ast.stmt]:
    """The statements that a class of backend.py has only for type checkers."""
    (found,) = (
        node
        for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == cls
    )
    return [
        statement
        for node in found.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
    ]


def parameters(cls: str, function: str) -> list[tuple[str, Any]]:
    """Names and defaults of the parameters of a spelled-out function, without the first."""
    (found,) = (
        node
        for node in spelled_out(cls)
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    names = [argument.arg for argument in found.args.args[1:]]
    defaults = [eval(ast.unparse(default), dict(vars(backend))) for default in found.args.defaults]
    required = [inspect.Parameter.empty] * (len(names) - len(defaults))
    return list(zip(names, [*required, *defaults], strict=True))


def runtime(cls: type[Any]) -> list[tuple[str, Any]]:
    """Names and defaults of the constructor at run time."""
    return [(one.name, one.default) for one in inspect.signature(cls).parameters.values()]


@pytest.mark.parametrize(
    ("cls", "function"), [(Model, "__init__"), (Backend, "__init__"), (BackendView, "__new__")]
)
def test_type_checkers_read_the_parameters_of_the_constructor(
    cls: type[Any], function: str
) -> None:
    assert parameters(cls.__name__, function) == runtime(cls)


def test_type_checkers_read_the_fields_of_a_view() -> None:
    declared = {
        node.target.id: ast.unparse(node.annotation)
        for node in spelled_out("BackendView")
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert list(declared) == [field.name for field in dataclasses.fields(BackendView)]
    assert public_fields() < set(declared)


def public_fields() -> set[str]:
    """The fields of `Backend` that views have, too. A private one has no place in the repr."""
    return {field.name for field in dataclasses.fields(Backend) if field.repr}


def test_only_settings_are_private() -> None:
    assert {field.name for field in dataclasses.fields(Backend)} - public_fields() == {"settings"}


def test_a_view_has_a_property_for_each_public_field_of_a_definition() -> None:
    own = {name for name in vars(binding.ViewBase) if not name.startswith("_")}
    own.remove("backend")  # a property, but not a field
    made = {
        name for name in vars(BackendView) if inspect.isgetsetdescriptor(vars(BackendView)[name])
    }
    assert made == public_fields()
    assert made | own == {field.name for field in dataclasses.fields(BackendView)}
    for name in made:
        with pytest.raises(TypeError):
            vars(BackendView)[name].__get__(object())


LAST = "    max_pending_tokens: TokenCap | None = None\n"
NEW = """\
    region: str = ""
    secret: str = field(default="", repr=False)
"""
EVERYWHERE = """
import copy, dataclasses, json, pickle, sys
sys.path.insert(0, {place!r})
import registry
from registry import Backend, BackendView, Model, Registry, load_fleet
assert registry.__file__.startswith({place!r}), registry.__file__

def backend(backend_id, **fields):
    models = [Model("".join(["m", "1"]))]  # a new object each time
    return Backend(backend_id, backend_id, "http://h", models=models, **fields)

fleet = Registry()
fleet.add_backend(backend("a", region="north"))
# Copied, to share the first one's models.
fleet.add_backend(backend("b", region="south", secret="t"))
fleet.add_backend(backend("c"))
for backend_id in fleet:
    fleet.update_status(backend_id, "healthy")
assert fleet.get_backend("b").models[0] is fleet.get_backend("a").models[0]
assert [view.region for view in fleet.get_all_backends()] == ["north", "south", ""]
with fleet.acquire("m1", exclude=["a", "c"]) as lease:
    assert lease.backend.region == "south"
    assert lease.backend == backend("b", region="south", secret="t")
    assert fleet.get_backend("b").backend is lease.backend
assert fleet.select("m1", exclude=["a", "b"]).region == ""
fleet.update_models("b", [Model("m2")])
fleet.set_mdns_instance("b", "i")
view = fleet.get_backend("b")
assert view.region == "south"
assert view.backend.secret == "t" and not hasattr(view, "secret")
public = dataclasses.replace(view.backend, secret="")
assert Backend.from_json(view.backend.to_json()) == public != view.backend
for thing in (view, view.backend):
    assert "secret" not in json.loads(thing.to_json()), thing.to_json()
    assert "secret" not in repr(thing), thing

for thing in (view, public):
    assert type(thing).from_json(thing.to_json()) == thing
    assert json.loads(thing.to_json())["region"] == "south"
    for twin in (copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):
        assert (twin, twin.region, hash(twin)) == (thing, "south", hash(thing))
    assert dataclasses.replace(thing, region="east").region == "east"
    assert dataclasses.replace(thing, region="east") != thing
    assert "region='south'" in repr(thing)
    assert dataclasses.asdict(thing)["region"] == "south"
    assert type(thing).__match_args__[-2 if thing is not view else -1] == "region"
    older = json.loads(thing.to_json())
    del older["region"]
    assert type(thing).from_json(json.dumps(older)).region == ""
    wrong_values = (5, TypeError), (None, TypeError), (chr(0xD800), ValueError)
    for wrong, error in wrong_values:
        try:
            dataclasses.replace(thing, region=wrong)
        except error as refused:
            assert str(refused).startswith("region must be"), refused
        else:
            raise AssertionError(wrong)
assert [field.name for field in dataclasses.fields(view)][-1] == "region"
assert json.loads(fleet.to_json())["backends"][0]["region"] == "north"
assert fleet.remove_backend("a").region == "north"

(loaded,) = load_fleet({fleet!r})
assert (loaded.region, loaded.secret) == ("west", "hush")
print("everywhere")
"""


def test_a_field_added_to_the_dataclass_works_everywhere(tmp_path: Path) -> None:
    copied = tmp_path / "registry"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copied / "backend.py").read_text(encoding="utf-8")
    assert source.count(LAST) == 1
    (copied / "backend.py").write_text(source.replace(LAST, f"{LAST}{NEW}"), encoding="utf-8")
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        '[[backends]]\nname = "w"\nurl = "http://w"\nregion = "west"\nsecret = "hush"\n'
    )
    code = EVERYWHERE.format(place=str(tmp_path), fleet=str(fleet))
    assert run_clean_child(code) == "everywhere\n"
