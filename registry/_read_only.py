"""The base of the mappings in a `Backend`: a dict that refuses changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeVar

from registry._single_import import refuse_second_import

refuse_second_import()

T = TypeVar("T")


class ReadOnlyDict(dict[str, T]):
    """A dict with str keys that refuses changes, so definitions can share it.

    A subclass checks and stores its items in `__new__`, with `dict.__setitem__`, and gives the name
    of the field that holds it. Every method that would change the dict raises TypeError.
    Thread safety: atomic.
    """

    __slots__ = ()
    field: ClassVar[str]

    def __init__(self, *_args: object) -> None:
        """Does nothing: `__new__` fills the dict, and `dict.__init__` could change it later."""

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError(f"{self.field} is read-only: make a new Backend with dataclasses.replace")

    if not TYPE_CHECKING:  # type checkers see dict's methods, which have other signatures
        __setitem__ = __delitem__ = __ior__ = _refuse
        update = setdefault = pop = popitem = clear = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __repr__(self) -> str:
        return dict.__repr__(self)
