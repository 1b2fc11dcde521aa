"""The metadata of a backend: a read-only dict from str to str."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from registry import _checks
from registry._read_only import ReadOnlyDict
from registry._single_import import refuse_second_import

refuse_second_import()


class Metadata(ReadOnlyDict[str]):
    """A dict from str to str that refuses changes, so it can be hashed and shared.

    Raises TypeError for a key or a value that is not a str, and in every method that would change
    the dict.
    Thread safety: atomic.
    """

    __slots__ = ()
    field = "metadata"

    def __new__(cls, items: dict[str, str] | Iterable[tuple[str, str]] = ()) -> Metadata:
        self = super().__new__(cls)
        for key, value in items.items() if isinstance(items, dict) else items:
            exact_key = _checks.encodable(key, "a key of metadata")
            dict.__setitem__(self, exact_key, _checks.encodable(value, f"metadata[{exact_key!r}]"))
        return self


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


def with_item(metadata: Mapping[str, str], key: str, value: str | None) -> Metadata:
    """A copy in which the key has this value and comes last; without the key if it is None.

    The key and the value are checked texts.
    """
    copy = dict.__new__(Metadata)
    dict.update(copy, read_only(metadata, "metadata"))
    dict.pop(copy, key, None)
    if value is not None:
        dict.__setitem__(copy, key, value)
    return copy or EMPTY
