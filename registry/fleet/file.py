"""Fleet files: TOML with one `[[backends]]` table for each backend.

The package imports this module, so this module takes the public classes from the modules that
define them. It also uses three private parts of the package: the types of `Backend`'s fields, the
place of an error in a document, and the helpers for messages, which escape text and recognize
typos. So fleet files and other definitions have the same checks and messages.
"""

from __future__ import annotations

import logging
import re
import tomllib
from dataclasses import MISSING, Field, fields
from os import PathLike, fsdecode
from typing import Any, get_type_hints

import msgspec

from registry import _json
from registry._messages import near, printable
from registry.backend import INSTANCE_KEY, Backend, DiscoverySource, Model, Text
from registry.errors import FleetFileError

logger: logging.Logger = logging.getLogger("registry")


# The differences between a table and `Backend`: renamed keys, wider types (`Backend` itself
# checks the values), defaults for keys that may be missing, and fields that a file cannot set.
_RENAMED = {"backend_type": "type"}
_TYPES: dict[str, Any] = {
    # pyright mistakes an Annotated alias for a value; the union works at run time.
    "id": Text | None,  # pyright: ignore[reportOperatorIssue]
    "backend_type": str,
    "metadata": dict[str, Any],
    "settings": dict[str, Any],
    "models": list[Model | Text],
}
_DEFAULTS: dict[str, Any] = {"id": None, "metadata": {}, "models": []}
_ABSENT = ("discovery_source",)


def _key(field: Field[Any], kind: Any) -> tuple[Any, ...]:
    default = _DEFAULTS.get(field.name, field.default)
    return (field.name, _TYPES.get(field.name, kind), *(() if default is MISSING else (default,)))


# A `[[backends]]` table.
_HINTS = get_type_hints(Backend, include_extras=True)
_BackendTable = msgspec.defstruct(
    "_BackendTable",
    [_key(field, _HINTS[field.name]) for field in fields(Backend) if field.name not in _ABSENT],
    rename=_RENAMED,
    kw_only=True,
)
# The part of a file that is read. Other tables may belong to other programs.
_FleetFile = msgspec.defstruct(
    "_FleetFile",
    [("backends", list[_BackendTable], [])],  # type: ignore[valid-type]
)


TABLE = "backends"
_SIMILAR = (TABLE, "backend")  # a typo of either is a typo of the table's name
BACKEND_KEYS = tuple(field.encode_name for field in msgspec.structs.fields(_BackendTable))
MODEL_KEYS = tuple(field.name for field in fields(Model))


# The messages of `Backend` and `Model` begin with the field: `url must be ...`,
# `models[3].id must ...`, `metadata['a b'] must ...`.
_PROBLEM = re.compile(r"(\w+(?:\[.*?\])?(?:\.\w+)?) must (?:be )?(.*)", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`")


def load_fleet(path: str | PathLike[str]) -> list[Backend]:
    """The backends of a fleet file, in the file's order; [] if there are none.

    A `[[backends]]` table has the keys `name` and `url`. Optional keys are `type` (the value of a
    `BackendType`, by default generic), `priority`, `max_pending`, `max_pending_tokens`, `weight`,
    `id` (by default the name), `metadata`, `settings`, and `models`. A model is an id, or a table
    with the fields of `Model`. `[backends.settings]` is a table of anything, which arrives as
    `Backend.settings`.

    Other tables are ignored. An unknown key is ignored with a warning in the log, and so is a
    table such as `[[backend]]` in a file without `[[backends]]`.

    Raises `FleetFileError`, which names the file, the place and what was expected, and `OSError`
    (such as `FileNotFoundError`) if the file cannot be read.

    O(size of the file). Thread safety: atomic.
    """
    file = file_name(path)
    with open(file, "rb") as opened:
        return parse_fleet(file, opened.read())


def file_name(path: object) -> str:
    """The path of a file as a str."""
    if not isinstance(path, (str, bytes, PathLike)):
        raise TypeError(f"path must be a str or a path, not {type(path).__name__}")
    return fsdecode(path)


def parse_fleet(
    file: str,
    content: bytes,
    source: DiscoverySource = DiscoverySource.STATIC,
    *,
    may_be_empty: bool = True,
) -> list[Backend]:
    """The backends in the content of a fleet file, as `load_fleet` returns them.

    Messages name `file`. The backends get `source` as their `discovery_source`. Unless
    `may_be_empty`, a file without backends is a mistake: it had some before.
    """
    document = parse_toml(file, content)
    try:
        fleet: Any = msgspec.convert(document, _FleetFile)
    except msgspec.ValidationError as error:
        raise misfit(file, error) from None
    backends = [
        _backend(file, f"backends[{index}]", table, source)
        for index, table in enumerate(fleet.backends)
    ]
    _refuse_duplicates(file, backends)
    misnamed = _misnamed_table(document)
    if not backends and not may_be_empty:
        hint = f"; {misnamed} was ignored: did you mean [[{TABLE}]]?" if misnamed else ""
        problem = f"expected [[{TABLE}]]: it has lost all of them (see allow_empty){hint}"
        raise FleetFileError(file, "", problem)
    if misnamed:
        logger.warning(
            "%s: no [[%s]], so the fleet is empty; %s was ignored: did you mean [[%s]]?",
            *(printable(file), TABLE, printable(misnamed), TABLE),
        )
    _warn_of_unknown_keys(file, document.get(TABLE, []))
    return backends


def parse_toml(file: str, content: bytes) -> dict[str, Any]:
    """The document in the content of a TOML file. Raises `FleetFileError`."""
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FleetFileError(file, f"byte {error.start}", "expected UTF-8") from None
    except RecursionError:
        raise FleetFileError(file, "", "expected TOML that is not nested so deeply") from None
    except ValueError as error:  # a TOMLDecodeError, or int()'s for thousands of digits
        raise FleetFileError(file, "", f"expected TOML: {error}") from None


def misfit(file: str, error: msgspec.ValidationError) -> FleetFileError:
    """The error for a document that is not of the expected form."""
    problem, place = _json.problem_and_place(error)
    place = place.removeprefix("$").removeprefix(".")
    missing = _MISSING.fullmatch(problem)
    if missing:
        key = f"{place}.{missing['field']}".removeprefix(".")
        return FleetFileError(file, key, "missing: this key is required")
    return FleetFileError(file, place, problem[:1].lower() + problem[1:])


def _backend(file: str, place: str, table: Any, source: DiscoverySource) -> Backend:
    given = msgspec.structs.asdict(table)
    given["id"] = table.name if table.id is None else table.id
    given["models"] = [Model(model) if isinstance(model, str) else model for model in table.models]
    try:
        return Backend(**given, discovery_source=source)
    except (TypeError, ValueError) as error:
        field, expectation = _PROBLEM.fullmatch(str(error)).groups()  # type: ignore[union-attr]
        raise FleetFileError(
            file, f"{place}.{_RENAMED.get(field, field)}", f"expected {expectation}"
        ) from None


def _refuse_duplicates(file: str, backends: list[Backend]) -> None:
    first_ids: dict[str, int] = {}
    first_instances: dict[str, int] = {}
    for index, backend in enumerate(backends):
        _refuse_second(file, "id", backend.id, index, first_ids)
        instance = backend.metadata.get(INSTANCE_KEY)
        if instance == "":
            raise FleetFileError(
                file,
                f"backends[{index}].metadata.{INSTANCE_KEY}",
                "expected a text that is not empty",
            )
        if instance is not None:
            _refuse_second(file, INSTANCE_KEY, instance, index, first_instances)


def _refuse_second(file: str, what: str, value: str, index: int, first: dict[str, int]) -> None:
    if value in first:
        places = f"backends[{first[value]}] and backends[{index}]"
        raise FleetFileError(file, places, f"expected every {what} once, but both have {value!r}")
    first[value] = index


def _misnamed_table(document: dict[str, Any]) -> str | None:
    """A table such as `[[backend]]`, `[Backends]` or `[[backend_list]]` in a file without
    `[[backends]]`, whose fleet is empty therefore."""
    if TABLE in document:
        return None
    tables = [key for key, value in document.items() if isinstance(value, dict | list)]
    typos = [key for key in tables if near(key, _SIMILAR)]
    misnamed = typos or [key for key in tables if "backend" in key.casefold()]
    return misnamed[0] if misnamed else None


def _warn_of_unknown_keys(file: str, tables: list[dict[str, Any]]) -> None:
    for index, table in enumerate(tables):
        _warn_in_table(file, f"{TABLE}[{index}]", table, BACKEND_KEYS)
        for number, model in enumerate(table.get("models", [])):
            if isinstance(model, dict):
                _warn_in_table(file, f"{TABLE}[{index}].models[{number}]", model, MODEL_KEYS)


def _warn_in_table(file: str, place: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            typo = near(key, known)
            hint = "" if typo is None else f"; did you mean {typo!r}?"
            where = f"{printable(file)}: {place}.{printable(key)}"
            logger.warning("%s is not known and was ignored%s", where, hint)
