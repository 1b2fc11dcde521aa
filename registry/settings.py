"""The settings of a backend: a read-only table of anything that TOML can express.

The registry never looks inside. Settings may hold secrets, so an error names the place of a value
but never the value.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any

from registry import _checks
from registry._read_only import ReadOnlyDict
from registry._single_import import refuse_second_import

refuse_second_import()

# The limit keeps every recursion over settings (comparing, hashing, pickling) far from the
# interpreter's own limits, some of which end the process.
DEPTH_MAX = 64
# The types of values other than tables and lists.
_EXACT = frozenset({str, int, float, bool, datetime, date, time})
_EXPECTED = "a str, an int, a float, a bool, a date or time, a list or a table"


class Array(tuple[Any, ...]):
    """A list of settings: a tuple that also equals a list with equal items.

    So settings equal the table that they were made from. Thread safety: atomic.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return tuple.__eq__(self, tuple(other) if type(other) is list else other)

    def __ne__(self, other: object) -> bool:
        return tuple.__ne__(self, tuple(other) if type(other) is list else other)

    def __hash__(self) -> int:
        return tuple.__hash__(self)


class Settings(ReadOnlyDict[Any]):
    """A dict of settings that refuses changes. Nested tables are `Settings`, lists are `Array`s.

    Raises TypeError for a key or a value of a type that TOML does not have, and in every method
    that would change the dict; ValueError for tables and lists that are nested too deeply.
    Thread safety: atomic.
    """

    __slots__ = ()
    field = "settings"

    def __new__(cls, items: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> Settings:
        # A dict of pairs is what `dataclasses.asdict` makes anew.
        return _table(items if _checks.is_a(items, dict) else dict(items), "settings", ())


EMPTY_SETTINGS = dict.__new__(Settings)


def read_only_settings(value: object, argument: str) -> Settings:
    """A read-only copy of a table, at any depth; always the same object if it is empty."""
    if type(value) is Settings:
        return value
    if not _is_table(value):
        raise _checks.type_error(argument, "a mapping with str keys", value)
    return _table(value, argument, ()) or EMPTY_SETTINGS


def _is_table(value: object) -> bool:
    # Test for the usual type first, for the reason given in `metadata.read_only`.
    return type(value) in (dict, Settings) or issubclass(type(value), Mapping)


def _table(given: Any, place: str, around: tuple[object, ...]) -> Settings:
    """A read-only copy of a mapping inside the tables and lists `around`."""
    inside = _enter(given, place, around)
    made = dict.__new__(Settings)
    for key in given:
        if not _checks.is_a(key, str):
            raise TypeError(f"{place}[{_shown(key)}] must have a str as key, not {_name(key)}")
        exact = _checks.exact_text(key, place)
        dict.__setitem__(made, exact, _value(given[key], f"{place}[{exact!r}]", inside))
    return made


def _value(given: object, place: str, around: tuple[object, ...]) -> Any:
    """The exact and read-only form of a value."""
    if type(given) in _EXACT:
        return given
    if _is_table(given):
        return _table(given, place, around)
    if _checks.is_a(given, list) or _checks.is_a(given, tuple):
        inside = _enter(given, place, around)
        return Array(_value(item, f"{place}[{i}]", inside) for i, item in enumerate(given))
    # Subclasses: an enum of str or int, for example. A subclass of datetime may have values that
    # datetime can't express.
    if _checks.is_a(given, str):
        return _checks.exact_text(given, place)
    if _checks.is_a(given, int):
        return int.__int__(given)
    if _checks.is_a(given, float):
        return float.__float__(given)
    raise _checks.type_error(place, _EXPECTED, given)


def _enter(given: object, place: str, around: tuple[object, ...]) -> tuple[object, ...]:
    if any(given is outer for outer in around):
        raise ValueError(f"{place} must not contain itself")
    if len(around) == DEPTH_MAX:
        raise ValueError(f"{place} must be nested at most {DEPTH_MAX} deep")
    return (*around, given)


def _shown(key: object) -> str:
    """A key of a wrong type in a message. Its own `__repr__` may fail, or be very long."""
    try:
        return reprlib.repr(key)
    except Exception:
        return _name(key)


def _name(value: object) -> str:
    return type(value).__name__
