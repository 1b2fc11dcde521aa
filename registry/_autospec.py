"""Makes `unittest.mock.create_autospec(Registry)` check the arguments of calls.

`create_autospec` reads the signatures of the attributes of a class, and finds none for a method
that is written in C. With the metaclass `AutospecMeta`, the class returns such a method as an
`AutospecMethod`, which has a signature. Calls on an instance don't pass through either of them.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from types import MethodDescriptorType
from typing import TYPE_CHECKING, Any


class AutospecMethod:
    """A method of C as an attribute of its class.

    It has two signatures. `inspect` reads the method's own signature, which has `self`. Mock reads
    the signature of `__call__`, which has no `self`, because a mock is called without an instance.
    """

    def __init__(self, method: MethodDescriptorType) -> None:
        bound = inspect.signature(method)
        self.method = method
        self.__signature__ = bound
        self.__name__, self.__qualname__ = method.__name__, method.__qualname__
        self.__doc__ = method.__doc__
        self.__objclass__ = method.__objclass__
        self.__dict__["__call__"] = _function_with(
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


def _function_with(signature: inspect.Signature) -> Any:
    def call(*_arguments: Any, **_named: Any) -> None:
        """Never called: mock reads its signature."""

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


class AutospecMeta(ABCMeta):
    """The metaclass of a class whose methods of C are returned as `AutospecMethod`.

    It derives from ABCMeta, so a subclass may also be an abstract base class.
    """

    if not TYPE_CHECKING:

        def __getattribute__(cls, name: str) -> Any:
            found = super().__getattribute__(name)
            is_ours = type(found) is MethodDescriptorType and isinstance(
                found.__objclass__, AutospecMeta
            )
            return AutospecMethod(found) if is_ours and not name.startswith("_") else found
