"""Argument checks: each returns the value in its exact form, or raises an error that names the argument and what it should be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:
    from registry.backend import Model

UINT32_MAX = 2**32 - 1
UINT64_MAX = 2**64 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

Member = TypeVar("Member", bound=StrEnum)
T = TypeVar("T")


def is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """`isinstance` by the type alone: `__class__` may lie, or raise."""
    return issubclass(type(value), kind)


def type_error(argument: str, expected: str, value: object) -> TypeError:
    """The error for an argument of a wrong type."""
    return TypeError(f"{argument} must be {expected}, not {type(value).__name__}")


def exact_text(value: object, argument: str) -> str:
    """A str; of a subclass an exact copy, made without its own methods."""
    if type(value) is str:
        return value
    if is_a(value, str):
        return "".join((value,)) if type("".join((value,))) is str else str.__add__("", value)
    raise type_error(argument, "a str", value)


def encodable(value: object, argument: str) -> str:
    """A str without lone surrogates, which no UTF-8 and so no JSON can carry."""
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
    """The same, and not empty."""
    checked = encodable(value, argument)
    if not checked:
        raise ValueError(f"{argument} must be a text that is not empty")
    return checked


def optional_text(value: object, argument: str) -> str | None:
    """A str without lone surrogates, or None."""
    if value is None:
        return None
    if not is_a(value, str):
        raise type_error(argument, "a str or None", value)
    return encodable(value, argument)


def integer(value: object, argument: str, low: int, high: int) -> int:
    """An int from `low` to `high`; a bool or a float is none."""
    if type(value) is not int and (is_a(value, bool) or not is_a(value, int)):
        raise type_error(argument, "an int", value)
    exact = int.__index__(value)
    if not low <= exact <= high:
        # Python refuses to spell out an int of more than some thousand digits.
        given = str(exact) if exact.bit_length() <= 256 else f"an int of {exact.bit_length()} bits"
        raise ValueError(f"{argument} must be from {low} to {high}, not {given}")
    return exact


def boolean(value: object, argument: str) -> bool:
    """A bool."""
    if value is True or value is False:
        return value
    raise type_error(argument, "a bool", value)


def enum_member(choices: type[Member], value: object, argument: str) -> Member:
    """A member of `choices`, given as itself or by its value."""
    if type(value) is choices:
        return value
    if not is_a(value, str) or is_a(value, StrEnum):
        raise type_error(argument, f"a {choices.__name__} or its value", value)
    exact = exact_text(value, argument)
    for member in choices:
        if member.value == exact:
            return member
    raise ValueError(f"{argument} must be one of {', '.join(repr(m.value) for m in choices)}, not {exact!r}")


def models(value: object, argument: str) -> tuple[Model, ...]:
    """An exact tuple of exact models with distinct ids, of any iterable of them."""
    from registry.backend import Model

    # The usual types first: a check against an abstract class takes a lock, which a fork may copy while it is held.
    if type(value) not in (tuple, list) and (
        isinstance(value, (str, bytes, Mapping, Model)) or not isinstance(value, Iterable)
    ):
        raise type_error(argument, "an iterable of Model", value)
    checked: tuple[Any, ...] = tuple(value)  # type: ignore[arg-type]
    for index, model in enumerate(checked):
        if type(model) is not Model:
            if not is_a(model, Model):
                raise type_error(f"{argument}[{index}]", "a Model", model)
            return models([_exact(Model, item) if is_a(item, Model) else item for item in checked], argument)
    if len(checked) > 1:
        seen: set[str] = set()
        for index, model in enumerate(checked):
            if model.id in seen:
                raise ValueError(f"{argument}[{index}].id must be unique in the list, but {model.id!r} comes twice")
            seen.add(model.id)
    return checked


def _exact(cls: type[Any], value: Any) -> Any:
    """An instance of the class itself with the fields of an instance of a subclass."""
    return cls(**{name: getattr(value, name) for name in cls.__dataclass_fields__})


def backend(value: object, argument: str = "backend") -> Any:
    """An exact `Backend`; of a subclass a copy without what the subclass adds."""
    from registry.backend import Backend

    if type(value) is Backend:
        return value
    if is_a(value, Backend):
        return _exact(Backend, value)
    raise type_error(argument, "a Backend", value)
