"""`follow_fleet`: a registry that follows a fleet file.

One thread of its own watches the file and loads it. Two rules make sure that it misses nothing:

1. An event only says that it is time to look. What decides is the content: it is loaded if it
   differs from the content that was seen last. So a missing, late or superfluous event can't make
   the fleet wrong.
2. The order is: look up the way to the file, begin to watch it, look at the content, wait. A change
   before the look is in the content that the look reads. A change after it is an event, for the
   watch has begun before the look, and covers the way as the look found it. After each event that
   concerns the way, all of this begins again, because the event may have turned a directory on the
   way into another one, which nobody watches yet.

If the way changed between the look-up and the begin of the watch, some of what is watched is out
of date. So the thread looks up the way again after it began to watch, and begins anew unless both
are equal. For changes that the system does not report (network file systems), and if there is
nothing to watch with, it also looks from time to time.

Who writes what: `_seen`, `_wanted` and `_warned` belong to the thread; before it starts, to the
caller that enters the block. `_result` is written by the same, always as a whole, and read by
everybody. `_stopping` is only ever set.
"""

from __future__ import annotations

import atexit
import errno
import logging
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from registry import _checks
from registry._core import binding
from registry._literals import DiscoverySourceValue
from registry._messages import printable
from registry.backend import Backend, DiscoverySource
from registry.errors import FleetFileError
from registry.fleet.file import file_name, parse_fleet
from registry.fleet.route import Route, route_to

if TYPE_CHECKING:
    from registry._registry import Registry

logger: logging.Logger = logging.getLogger("registry")

# In seconds. A change is in force within half a second, with or without an event: events are
# delivered after one or two EVENT_STEPs without another one, and at the latest after EVENTS_MAX; a
# content is taken when it has stayed the same for SETTLED, and at the latest after LOOKS_MAX such
# times. Each EVENT_STEP costs a wake-up of the thread.
EVENT_STEP = 0.025
EVENTS_MAX = 0.1
SETTLED = 0.05
LOOKS_MAX = 4
LOOK_EVERY = 0.4  # without an event
LOOK_UNWATCHED_EVERY = 0.1  # if nothing can be watched

# What was seen at the path: the content, or the error that reading it raised.
Seen = bytes | OSError


class _Watcher(Protocol):
    """What the thread waits with: `RustNotify` of watchfiles."""

    def watch(
        self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: threading.Event, /
    ) -> set[tuple[int, str]] | str: ...


def follow_fleet(
    registry: Registry,
    path: str | PathLike[str],
    *,
    source: DiscoverySource | DiscoverySourceValue = DiscoverySource.STATIC,
    allow_empty: bool = False,
) -> FleetFollower:
    """Makes a registry follow a fleet file, from the beginning to the end of a `with` block.

    Entering the block loads the file. Until the block ends, each new content of the file is loaded
    too. Loading is a `Registry.reconcile` of the file's backends, whose `discovery_source` becomes
    `source`; backends from other sources are not touched. A change is in force within half a
    second, also if the file is replaced by renaming, or if a symbolic link on the way to it is.

    A mistake on entering raises: the errors of `load_fleet`, and `ValueError` for a backend that is
    registered from another source. Later, the fleet stays as it was, `FleetFollower.last_error` has
    the error, and the logger `registry` gets one warning. The same holds for a file that has lost
    all of its backends, unless `allow_empty`. A file that is corrected, or comes back, is loaded.

    A file that is written in place may be seen half written, which is a mistake only if that half
    is no valid fleet: write a new file and rename it.

    The block may be `with` or `async with`. Raises TypeError or ValueError for a bad argument, and
    ImportError without the extra `follow`. Thread safety: shared objects.
    """
    if not issubclass(type(registry), binding.RegistryCore):
        raise _checks.type_error("registry", "a Registry", registry)
    return FleetFollower(
        registry,
        file_name(path),
        _checks.enum_member(DiscoverySource, source, "source"),
        _checks.boolean(allow_empty, "allow_empty"),
    )


class FleetFollower:
    """Follows a fleet file during one `with` or `async with` block; see `follow_fleet`.

    Thread safety: shared objects. Any thread may read the properties.
    """

    def __init__(
        self, registry: Registry, file: str, source: DiscoverySource, allow_empty: bool
    ) -> None:
        """Use `follow_fleet` instead."""
        self._notify = _watching_class()
        self._registry = registry
        self._file = file
        # Absolute, for the working directory may change. Not `abspath`, which drops `..` together
        # with the name before it: after a link, `..` is the parent of the link's target.
        self._path = file if os.path.isabs(file) else os.path.join(os.getcwd(), file)
        self._source = source
        self._allow_empty = allow_empty
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"follow {file}", daemon=True)
        self._process = 0  # that entered the block; 0: none yet
        self._seen: Seen = b""
        self._wanted: list[Backend] | None = None  # what the registry refused
        self._was_empty = True  # the latest fleet that was loaded
        self._warned = ""
        # One object, so that nobody sees the count of one attempt beside the error of another.
        self._result: tuple[int, Exception | None] = (0, None)

    @property
    def reloads(self) -> int:
        """How often a new content was loaded successfully, after the first load on entering."""
        return self._result[0]

    @property
    def last_error(self) -> Exception | None:
        """The exception of the latest attempt to load the file; None after a success."""
        return self._result[1]

    def __repr__(self) -> str:
        reloads, error = self._result
        problem = "" if error is None else f", last error: {type(error).__name__}"
        return f"<FleetFollower of {self._file!r}: {reloads} reloads{problem}>"

    # ---- the block

    def __enter__(self) -> Self:
        if self._process:
            raise RuntimeError("a FleetFollower can be entered once: call follow_fleet again")
        self._process = os.getpid()
        self._seen = _read(self._path)
        self._load(self._seen)
        self._thread.start()
        # Without this, an exit of the interpreter inside the block would find the thread in
        # foreign code, which an interpreter that exits must not leave by force.
        atexit.register(self._stop)
        if self._stopping.is_set():  # see `__aenter__`
            self._stop()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self._stop()

    async def __aenter__(self) -> Self:
        from asyncio import to_thread

        try:
            return await to_thread(self.__enter__)
        except BaseException:
            # A cancelled task does not wait for the other thread, which may be about to start ours.
            self._stopping.set()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        from asyncio import to_thread

        self._stopping.set()
        await to_thread(self._stop)

    def _stop(self) -> None:
        """Ends the thread, and waits for its end: for one EVENT_STEP, or for a load that runs."""
        if self._process != os.getpid():
            return  # a forked child has no such thread, and may have a copy of a held lock
        atexit.unregister(self._stop)
        self._stopping.set()
        self._thread.join()

    # ---- the thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._watch_and_look()
            except Exception as error:  # such as a MemoryError: nobody else would notice it
                self._fail(error)
                self._stopping.wait(LOOK_EVERY)

    def _watch_and_look(self) -> None:
        """Looks at the file until something on the way to it may have changed."""
        route = route_to(self._path)
        with self._watching(route) as watcher:
            if watcher is not None and route_to(self._path) != route:
                return
            self._look()
            while not self._wait(watcher, route):
                self._look()

    @contextmanager
    def _watching(self, route: Route) -> Iterator[_Watcher | None]:
        """Watches the way to the file until the end of the block, if that is possible.

        It is not, for example, if the user has no watches left, or if what is on the way has gone.
        """
        try:
            watcher = self._notify(route.watched, False, False, 0, False, True)
        except Exception as error:
            logger.debug("%s can't be watched: %s", printable(self._file), error)
            yield None
        else:
            with watcher:
                yield watcher

    def _wait(self, watcher: _Watcher | None, route: Route) -> bool:
        """Waits until it is time to look. True if the watch must begin anew before that."""
        if watcher is None:
            self._stopping.wait(LOOK_UNWATCHED_EVERY)
            return True
        try:
            return self._wait_for_event(watcher, route) or route_to(self._path) != route
        except Exception as error:  # such as a name that is not UTF-8
            logger.debug("watching %s failed: %s", printable(self._file), error)
            self._stopping.wait(LOOK_UNWATCHED_EVERY)
            return True

    def _wait_for_event(self, watcher: _Watcher, route: Route) -> bool:
        """Whether something happened to a name on the way. False after LOOK_EVERY seconds.

        Directories such as /tmp report much that concerns only others.
        """
        end = monotonic() + LOOK_EVERY
        while not self._stopping.is_set():
            left = end - monotonic()
            if left <= 0:
                return False
            # At least 1 ms: 0 means no limit.
            events = watcher.watch(
                _ms(EVENTS_MAX), _ms(EVENT_STEP), max(1, _ms(left)), self._stopping
            )
            if not isinstance(events, str) and any(path in route.names for _, path in events):
                return True
        return True

    # ---- looking at the file, and loading it

    def _look(self) -> None:
        """Loads the file if its content is new, or if the registry has refused it."""
        seen = _read(self._path)
        for _ in range(LOOKS_MAX):
            if _is_same(seen, self._seen) or self._stopping.wait(SETTLED):
                break
            earlier, seen = seen, _read(self._path)
            if _is_same(seen, earlier):
                break
        if self._stopping.is_set():
            return
        if not _is_same(seen, self._seen):
            self._seen, self._wanted = seen, None
            self._attempt(seen)
        elif self._wanted is not None:  # what was in the way may have gone by now
            self._attempt(seen)

    def _attempt(self, seen: Seen) -> None:
        """Loads what was seen, and publishes the result. Any error leaves the fleet as it was."""
        try:
            self._load(seen)
        except Exception as error:
            self._fail(error)
        else:
            self._warned = ""
            logger.info("%s was loaded again", printable(self._file))
            self._result = (self._result[0] + 1, None)

    def _load(self, seen: Seen) -> None:
        """Makes the registry's fleet equal to the file's."""
        if isinstance(seen, OSError):
            raise seen
        wanted = self._wanted
        if wanted is None:
            may_be_empty = self._was_empty or self._allow_empty
            wanted = parse_fleet(self._file, seen, self._source, may_be_empty=may_be_empty)
        self._wanted = wanted
        self._registry.reconcile(wanted, source=self._source)
        self._wanted, self._was_empty = None, not wanted

    def _fail(self, error: Exception) -> None:
        """Publishes the error of an attempt, and logs it unless the latest attempt had it too."""
        problem = _message(self._file, error)
        if problem != self._warned:
            self._warned = problem
            logger.warning("%s; the fleet stays as it was", problem)
        self._result = (self._result[0], error)


def _watching_class() -> Any:
    """`RustNotify`, which unlike `watchfiles.watch` says when its watch has begun."""
    try:
        from watchfiles._rust_notify import RustNotify
    except ImportError as error:
        raise ImportError(
            "follow_fleet needs watchfiles: pip install 'backend-registry[follow]'", name=error.name
        ) from error
    return RustNotify


def _read(path: str) -> Seen:
    """The content of a file, or the error that reading it raised."""
    try:
        # Opening a pipe would wait for somebody who writes.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as f:
            if not stat.S_ISREG(os.fstat(f.fileno()).st_mode):
                return OSError(errno.EINVAL, "not a regular file", path)
            return f.read()
    except OSError as error:
        return error.with_traceback(None)


def _is_same(one: Seen, other: Seen) -> bool:
    """Whether there is nothing new: an equal content, or an error of the same kind."""
    if isinstance(one, OSError) and isinstance(other, OSError):
        return (type(one), one.errno) == (type(other), other.errno)
    return one == other


def _message(file: str, error: Exception) -> str:
    """What is wrong, with its place."""
    if isinstance(error, FleetFileError):
        return str(error)
    if isinstance(error, OSError):
        return printable(f"{file}: {error.strerror or error}")
    return printable(f"{file}: {error}")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
