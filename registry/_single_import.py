"""The package is imported once in a process.

The core is bound to the classes of the first import. It would refuse those of a second one, made by a
reload or after the modules were removed from `sys.modules`: `policy must be a Policy, not Policy`.
Modules that define such classes call `refuse_second_import` before anything else, so that a failed
reload leaves the first classes in place.
"""

from __future__ import annotations

import sys


def second_import_error() -> ImportError:
    """What a second import raises."""
    return ImportError(
        "registry is already imported in this process, and its C core is bound to the classes of "
        "that import: it can't be reloaded, nor imported again after its modules were removed from "
        "sys.modules. Keep using the first import, or start a new process",
        name="registry",
    )


def refuse_second_import() -> None:
    """ImportError once the core is bound."""
    # The extension module survives a purge of sys.modules. While it is itself being imported, it
    # has no functions yet.
    is_bound = getattr(sys.modules.get("registry._core.binding"), "is_bound", None)
    if is_bound is not None and is_bound():
        raise second_import_error()
