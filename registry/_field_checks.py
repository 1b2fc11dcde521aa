"""Derives the checks of a dataclass's fields from their types, and applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from registry import _checks

T = TypeVar("T")
Checks = dict[str, _checks.Check]
FieldChecks = tuple[tuple[str, _checks.Check, Any], ...]

_NAMES = {str: "a str", int: "an int", datetime: "a datetime"}


def checks_of(hints: Mapping[str, Any], known: Mapping[Any, _checks.Check]) -> Checks:
    """The check of each field, by name.

    `known` maps types to checks. The checks of enums, of ints with limits, and of optional types
    are derived.
    """
    return {name: _check_of(hint, known) for name, hint in hints.items()}


def field_checks(cls: type[Any], known: Mapping[Any, _checks.Check]) -> FieldChecks:
    """Name, check and default of each field of a dataclass. Defaults need no check."""
    checks = checks_of(get_type_hints(cls, include_extras=True), known)
    return tuple((field.name, checks[field.name], field.default) for field in fields(cls))


def _check_of(hint: Any, known: Mapping[Any, _checks.Check]) -> _checks.Check:
    if hint in known:
        return known[hint]
    if get_origin(hint) in (Union, UnionType):
        (kind,) = (part for part in get_args(hint) if part is not NoneType)
        base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        name = _NAMES.get(base, f"a {base.__name__}, its value")
        return _checks.optional(_check_of(kind, known), name)
    if get_origin(hint) is Annotated and isinstance(get_args(hint)[1], msgspec.Meta):
        limits = get_args(hint)[1]
        return _checks.within(limits.ge, limits.le)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return partial(_checks.enum_member, hint)
    raise TypeError(f"no check is known for a field of type {hint!r}")


def check_fields(made: object, checks: FieldChecks) -> None:
    """Checks the fields of a frozen instance, and stores the exact form of each value."""
    for name, check, default in checks:
        given = getattr(made, name)
        if given is default:
            continue
        exact = check(given, name)
        if exact is not given:
            object.__setattr__(made, name, exact)


def exact_instance(cls: type[T], value: object, argument: str) -> T:
    """The value as an instance of exactly this class: copied if its class is a subclass."""
    if type(value) is cls:
        return value
    if _checks.is_a(value, cls):
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: getattr(value, name) for name in names})
    raise _checks.type_error(argument, f"a {cls.__name__}", value)
