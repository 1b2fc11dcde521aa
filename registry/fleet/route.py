"""The way to a file: every directory in which the system looks up a name when it opens a path.

A path means another file as soon as one of these names is created, removed or renamed: the file
itself, a directory on the way, or a symbolic link, such as `current` of a release or `..data` of a
Kubernetes ConfigMap. Each such change is an event of the directory that holds the name. So whoever
watches these directories notices every change of what the path leads to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

LINKS_MAX = 40  # as Linux: a path with more symbolic links can't be opened


class Route(NamedTuple):
    """The way to a file, as it was when it was looked up."""

    directories: tuple[str, ...]
    """The real paths of the directories that hold a name on the way, if they exist."""
    names: frozenset[str]
    """The names, each with the real path of its directory; one of them is the file."""
    file: str | None
    """The real path of the file; None if there is none."""

    @property
    def watched(self) -> list[str]:
        """What to watch. The file, too: a container may have only the file mounted, and then its
        directory is not told of changes from outside."""
        return [*self.directories, *([] if self.file is None else [self.file])]


def route_to(path: str) -> Route:
    """The way to the file at an absolute path. O(parts of the path and of its links)."""
    directories: dict[str, None] = {}
    names: set[str] = set()
    here = "/"
    ahead = path.split("/")[::-1]  # the next name is the last item
    links = 0
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)  # `here` is real, so this is its parent
            continue
        directories[here] = None
        full = os.path.join(here, name)
        names.add(full)
        target = _target(full)
        if target is None:
            here = full
            continue
        links += 1
        if links > LINKS_MAX:
            break
        if target.startswith("/"):
            here = "/"
        ahead += target.split("/")[::-1]
    return Route(
        tuple(one for one in directories if _is(one, stat.S_ISDIR)),
        frozenset(names),
        here if _is(here, stat.S_ISREG) else None,
    )


def _target(full: str) -> str | None:
    """Where a symbolic link points to; None if this is no link, or does not exist."""
    try:
        return os.readlink(full)
    except OSError:
        return None


def _is(path: str, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.lstat(path).st_mode)
    except OSError:
        return False
