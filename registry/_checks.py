"""Argument checks.

A check takes a value and the name of an argument. It returns the value in its exact form, or raises
TypeError or ValueError with a message that begins with the name: `url must be ...`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, TypeGuard, TypeVar, cast

UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

Member = TypeVar("Member", bound=StrEnum)
T = TypeVar("T")
Check = Callable[[Any, str], Any]


def is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """`isinstance` by the true type; the attribute `__class__` could lie or raise."""
    return issubclass(type(value), kind)


def type_error(argument: str, expected: str, value: object) -> TypeError:
    """The TypeError for an argument of the wrong type."""
    return TypeError(f"{argument} must be {expected}, not {type(value).__name__}")


def optional(check: Check, expected: str) -> Check:
    """A check that also accepts None. `expected` names the type in the message, as in `an int`."""

    def checked(value: object, argument: str) -> Any:
        if value is None:
            return None
        try:
            return check(value, argument)
        except TypeError:
            raise type_error(argument, f"{expected} or None", value) from None

    return checked


def within(low: int, high: int) -> Check:
    """A check for an int from `low` to `high`."""

    def checked(value: object, argument: str) -> int:
        return (
            value
            if type(value) is int and low <= value <= high
            else integer(value, argument, low, high)
        )

    return checked


def items(value: object, argument: str, kind: str) -> list[Any]:
    """A new list of the items of an iterable other than str and bytes.

    `kind` names the type of the items in the message.
    """
    kind_given = type(value)
    iterate = getattr(kind_given, "__iter__", getattr(kind_given, "__getitem__", None))
    if iterate is None or issubclass(kind_given, (str, bytes)):
        raise type_error(argument, f"an iterable of {kind}", value)
    return list(cast("Iterable[Any]", value))


def exact_text(value: object, argument: str) -> str:
    """A str. A str of a subclass is copied to an exact str, without calling its methods."""
    if type(value) is str:
        return value
    if is_a(value, str):
        return "".join((value,)) if type("".join((value,))) is str else str.__add__("", value)
    raise type_error(argument, "a str", value)


def encodable(value: object, argument: str) -> str:
    """A str without lone surrogates, which UTF-8, and so JSON, can't encode."""
    text_value = exact_text(value, argument)
    if not text_value.isascii():
        try:
            text_value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{argument} must be free of lone surrogates, but has one at index {error.start}"
            ) from None
    return text_value


def text(value: object, argument: str) -> str:
    """An encodable str that is not empty."""
    checked = encodable(value, argument)
    if not checked:
        raise ValueError(f"{argument} must be a text that is not empty")
    return checked


optional_text = optional(encodable, "a str")


def _shown(number: float) -> str:
    """The number for a message. Python refuses to convert an int of thousands of digits."""
    if isinstance(number, int) and number.bit_length() > 256:
        return f"an int of {number.bit_length()} bits"
    return repr(number)


def integer(value: object, argument: str, low: int, high: int) -> int:
    """An int from `low` to `high`. A bool or a float is a TypeError."""
    if type(value) is not int and (is_a(value, bool) or not is_a(value, int)):
        raise type_error(argument, "an int", value)
    exact = int.__index__(value)
    if not low <= exact <= high:
        raise ValueError(f"{argument} must be from {low} to {high}, not {_shown(exact)}")
    return exact


def rounded(value: object, argument: str, low: int, high: int) -> int:
    """An int or a float from `low` to `high`, rounded to the nearest int, halves to even.

    A value below `low` is bad even if it would be rounded up. A bool is a TypeError.
    """
    if is_a(value, float):
        exact = float.__float__(value)
        if not low <= exact < high + 0.5:  # NaN fails, too
            raise ValueError(f"{argument} must be from {low} to {high}, not {_shown(exact)}")
        return round(exact)
    if is_a(value, bool) or not is_a(value, int):
        raise type_error(argument, "an int or a float", value)
    return integer(value, argument, low, high)


def number(low: float, high: float, *, above: bool = False) -> Check:
    """A check for an int or a float from `low` to `high`; with `above`, it must not be `low`.

    Returns a float. An int that fits is exact.
    """
    limits = f"above {low} and at most {high}" if above else f"from {low} to {high}"

    def checked(value: object, argument: str) -> float:
        if is_a(value, float):
            exact: float = float.__float__(value)
        elif is_a(value, int) and not is_a(value, bool):
            exact = int.__index__(value)
        else:
            raise type_error(argument, "an int or a float", value)
        if not (low < exact if above else low <= exact) or exact > high:  # NaN, too
            raise ValueError(f"{argument} must be {limits}, not {_shown(exact)}")
        return float(exact)

    return checked


def nanoseconds(seconds: float) -> int:
    """Seconds in nanoseconds, to the nearest one. A time above 0 is at least 1 ns."""
    whole = int(seconds)  # apart, because a float has no room for it and for nanoseconds
    rounded_part = round((seconds - whole) * 1e9)
    return whole * 10**9 + rounded_part or int(seconds > 0)


# The longest cool-down, in seconds.
COOL_DOWN_MAX = 86_400
cool_down_seconds = number(0, COOL_DOWN_MAX)


def timeout(value: object, argument: str, longest: float) -> float | None:
    """Seconds, an int or a float of at least 0. None for ever, and for more than `longest`."""
    if value is None:
        return None
    if is_a(value, float):
        exact: float = float.__float__(value)
    elif is_a(value, int) and not is_a(value, bool):
        exact = int.__index__(value)
    else:
        raise type_error(argument, "an int, a float or None", value)
    if not exact >= 0:  # NaN, too
        raise ValueError(f"{argument} must be at least 0, not {_shown(exact)}")
    return None if exact >= longest else float(exact)


def boolean(value: object, argument: str) -> bool:
    """A bool."""
    if value is True or value is False:
        return value
    raise type_error(argument, "a bool", value)


# The serial of a registration.
optional_serial = optional(within(0, UINT64_MAX), "an int")


def enum_member(choices: type[Member], value: object, argument: str) -> Member:
    """A member of the enum `choices`, given as the member or as its value."""
    if type(value) is choices:
        return value
    if not is_a(value, str) or is_a(value, StrEnum):
        raise type_error(argument, f"a {choices.__name__} or its value", value)
    exact = exact_text(value, argument)
    for member in choices:
        if member.value == exact:
            return member
    raise ValueError(
        f"{argument} must be one of {', '.join(repr(m.value) for m in choices)}, not {exact!r}"
    )
