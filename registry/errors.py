"""The exceptions of this package.

Each is a `RegistryError` and also the builtin exception that callers would expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry._core.binding import Refusal
    from registry.selection import Reason

from registry._messages import printable
from registry._single_import import refuse_second_import

refuse_second_import()

# The greatest number of backends that a message names.
NAMED = 10


class RegistryError(Exception):
    """The base of all exceptions that this package defines."""

    def __init__(self, *args: object) -> None:
        # Defined for its signature: older interpreters have none for BaseException.
        super().__init__(*args)


class _BackendError(RegistryError):
    """An error about one backend, whose id is `backend_id`."""

    problem: str

    def __init__(self, backend_id: str) -> None:
        super().__init__(backend_id)
        self.backend_id = backend_id

    def __str__(self) -> str:
        return f"{self.problem}: {self.backend_id!r}"


class DuplicateBackendError(_BackendError, ValueError):
    """A backend with this id is already registered."""

    problem = "backend already exists"


class BackendNotFoundError(_BackendError, KeyError):
    """No backend with this id is registered."""

    problem = "backend not found"


class NoBackendAvailableError(RegistryError, LookupError):
    """No backend qualifies for a request.

    `reasons` maps the id of each backend of the model to its reason at the instant of the refusal,
    as a text for people; `kinds` has the same as members of `Reason`. Both are empty if no backend
    lists the model. `retry_after` is a time in seconds, or None. `model_id` is the model of the
    request. The reasons are created when they are first read: O(backends of the model). `waited` is
    for how many seconds `Registry.acquire_wait` or `acquire_async` has waited; 0.0 if it has not.
    """

    waited: float = 0.0
    _problem = "no backend available"

    def __init__(
        self,
        model_id: str,
        reasons: Mapping[str, str] | None = None,
        kinds: Mapping[str, Reason] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.model_id = model_id
        self._reasons = dict(reasons or {})
        self._kinds = dict(kinds or {})
        self._retry_after = retry_after
        self._refusal: Refusal | None = None  # set by the core; the source of the other three
        super().__init__(model_id, self._reasons)

    def _read(self) -> None:
        """Creates the reasons, if the core has refused the request and nobody has read them."""
        refusal = self._refusal
        if refusal is not None:
            # Threads that do this at the same time store equal items in the same dictionaries.
            # `args` holds the dictionary of reasons.
            self._reasons.update(refusal.first(len(refusal)))
            self._kinds.update(refusal.kinds())
            self._retry_after = refusal.retry_after
            self._refusal = None

    @property
    def reasons(self) -> dict[str, str]:
        """The reason for each backend of the model, by id, as in `Candidate.reason`."""
        self._read()
        return self._reasons

    @property
    def kinds(self) -> dict[str, Reason]:
        """The reason for each backend of the model, by id, as in `Candidate.kind`."""
        self._read()
        return self._kinds

    @property
    def retry_after(self) -> float | None:
        """The seconds from the refusal until the first backend may be chosen again. O(1).

        It is the time until the first deadline passes, of the backends that are cooling down or
        ejected. None if there are none: time alone brings nobody back.
        """
        refusal = self._refusal
        return self._retry_after if refusal is None else refusal.retry_after

    # Overrides BaseException's attribute, so the reasons are created only if it is read.
    @property
    def args(self) -> tuple[Any, ...]:
        """The model id and the reasons."""
        self._read()
        return super().args

    @args.setter
    def args(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, args: tuple[Any, ...]
    ) -> None:
        vars(BaseException)["args"].__set__(self, args)

    @property
    def unknown_model(self) -> bool:
        """True if no backend lists the model, whatever its status."""
        refusal = self._refusal
        return len(self._reasons if refusal is None else refusal) == 0

    def __str__(self) -> str:
        refusal = self._refusal
        count = len(self._reasons if refusal is None else refusal)
        first = (
            dict(islice(self._reasons.items(), NAMED)) if refusal is None else refusal.first(NAMED)
        )
        named = [f"{backend_id!r} {reason}" for backend_id, reason in first.items()]
        if count > NAMED:
            named.append(f"and {count - NAMED} more")
        why = ", ".join(named) or "no backend lists it"
        return f"{self._problem} for {self.model_id!r}: {why}"

    def __repr__(self) -> str:
        self._read()
        return super().__repr__()

    def __reduce__(self) -> str | tuple[Any, ...]:
        self._read()
        return super().__reduce__()


class WaitingLineFullError(NoBackendAvailableError):
    """No backend qualifies for a request, and as many wait for one as may: see `max_waiting`."""

    _problem = "no backend available, and the waiting line is full,"


class FleetFileError(RegistryError, ValueError):
    """A fleet file has a mistake.

    `path` is the file, `place` the place in it, such as `backends[2].url`, and `problem` says
    what was expected there.
    """

    def __init__(self, path: str, place: str, problem: str) -> None:
        super().__init__(path, place, problem)
        self.path = path
        self.place = place
        self.problem = problem

    def __str__(self) -> str:
        return printable(": ".join(part for part in self.args if part))
