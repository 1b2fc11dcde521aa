"""Read-only str-to-str metadata."""

from __future__ import annotations

from typing import Any, NoReturn


class Metadata(dict[str, str]):
    """A dict that refuses every change, and so can be hashed and shared. Thread safety: atomic."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("metadata is read-only: make a new Backend with dataclasses.replace")

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
