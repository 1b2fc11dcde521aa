"""Refuses a second import of the package in one process.

The core is bound to the classes of the first import. A reload, or an import after the modules
were removed from `sys.modules`, would make new classes, and the core would refuse them: `policy
must be a Policy, not Policy`. Modules that define such classes call `refuse_second_import` before
anything else, so a failed reload leaves the first classes in place.
"""

from __future__ import annotations

import sys


def second_import_error() -> ImportError:
    """The error of a second import."""
    return ImportError(
        "registry is already imported in this process, and its C core is bound to the classes of "
        "that import: it can't be reloaded, nor imported again after its modules were removed from "
        "sys.modules. Keep using the first import, or start a new process",
        name="registry",
    )


def refuse_second_import() -> None:
    """Raises ImportError if the core is already bound to the classes of an import."""
    # The extension module keeps its state if it is removed from sys.modules. It has no functions
    # yet while it is being imported.
    is_bound = getattr(sys.modules.get("registry._core.binding"), "is_bound", None)
    if is_bound is not None and is_bound():
        raise second_import_error()
