"""The metadata of a backend: a read-only dict from str to str."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from registry import _checks
from registry._single_import import refuse_second_import

refuse_second_import()


class Metadata(dict[str, str]):
    """A dict from str to str that refuses changes, so it can be hashed and shared.

    Raises TypeError for a key or a value that is not a str, and in every method that would change
    the dict.
    Thread safety: atomic.
    """

    __slots__ = ()

    def __new__(cls, items: dict[str, str] | Iterable[tuple[str, str]] = ()) -> Metadata:
        self = super().__new__(cls)
        for key, value in items.items() if isinstance(items, dict) else items:
            exact_key = _checks.encodable(key, "a key of metadata")
            dict.__setitem__(self, exact_key, _checks.encodable(value, f"metadata[{exact_key!r}]"))
        return self

    def __init__(self, *_args: object) -> None:
        """Does nothing: `__new__` fills the dict, and `dict.__init__` could change it later."""

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("metadata is read-only: make a new Backend with dataclasses.replace")

    if not TYPE_CHECKING:  # type checkers see dict's methods, which have other signatures
        __setitem__ = __delitem__ = __ior__ = _refuse
        update = setdefault = pop = popitem = clear = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Metadata, (dict(self),)

    def __copy__(self) -> Metadata:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Metadata:
        return self

    def __repr__(self) -> str:
        return dict.__repr__(self)


EMPTY = Metadata()


def read_only(value: object, argument: str) -> Metadata:
    """A read-only copy of a mapping from str to str; always the same object if it is empty."""
    if type(value) is Metadata:
        return value
    # Test for the usual type first: a check against an abstract class takes a lock, and a forked
    # child may inherit the lock while it is held.
    if type(value) is not dict and not isinstance(value, Mapping):
        raise _checks.type_error(argument, "a mapping from str to str", value)
    return Metadata((key, value[key]) for key in value) or EMPTY
