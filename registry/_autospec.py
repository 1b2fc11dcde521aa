"""What `Registry.acquire` is on the class: a callable whose calls `unittest.mock` can check.

The methods that come from C are called on an instance without any of this. But `create_autospec` takes
its signatures from what the class gives, and has none for a method of C.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from types import MethodDescriptorType
from typing import TYPE_CHECKING, Any


class AutospecMethod:
    """A method of C, taken from its class. `inspect` reads its signature, as it is of the method
    itself; mock reads that of `__call__`, which lacks the instance: a mock is called without one."""

    def __init__(self, method: MethodDescriptorType) -> None:
        bound = inspect.signature(method)
        self.method = method
        self.__signature__ = bound
        self.__name__, self.__qualname__ = method.__name__, method.__qualname__
        self.__doc__ = method.__doc__
        self.__objclass__ = method.__objclass__
        self.__dict__["__call__"] = _shape(
            bound.replace(parameters=[*bound.parameters.values()][1:])
        )

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self.method(*arguments, **named)

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        return self.method.__get__(instance, owner)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.__objclass__, self.__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AutospecMethod) and other.method == self.method

    def __hash__(self) -> int:
        return hash(self.method)

    def __repr__(self) -> str:
        return repr(self.method)


def _shape(signature: inspect.Signature) -> Any:
    def call(*_arguments: Any, **_named: Any) -> None:
        """Only its signature counts."""

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


class AutospecMeta(ABCMeta):
    """A class that gives its methods of C as `AutospecMethod`. An ABCMeta, so that a subclass may be
    an abstract base class too."""

    if not TYPE_CHECKING:

        def __getattribute__(cls, name: str) -> Any:
            found = super().__getattribute__(name)
            is_ours = type(found) is MethodDescriptorType and isinstance(
                found.__objclass__, AutospecMeta
            )
            return AutospecMethod(found) if is_ours and not name.startswith("_") else found
