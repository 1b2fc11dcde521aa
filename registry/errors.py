"""The exceptions of this package. Each is a `RegistryError`, and the builtin that a caller would expect."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry._core.binding import Refusal

from registry._messages import printable
from registry._single_import import refuse_second_import

refuse_second_import()

# How many backends a message names.
TOLD = 10


class RegistryError(Exception):
    """Base of all errors that this package defines."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # for its signature: older interpreters tell none of BaseException


class _BackendError(RegistryError):
    """An error about one backend id, kept in `backend_id`."""

    problem: str

    def __init__(self, backend_id: str) -> None:
        super().__init__(backend_id)
        self.backend_id = backend_id

    def __str__(self) -> str:
        return f"{self.problem}: {self.backend_id!r}"


class DuplicateBackendError(_BackendError, ValueError):
    """The id is registered already."""

    problem = "backend already exists"


class BackendNotFoundError(_BackendError, KeyError):
    """No backend with this id is registered."""

    problem = "backend not found"


class NoBackendAvailableError(RegistryError, LookupError):
    """No backend may be chosen for a model. `reasons` says why, by backend id, as of the instant of the refusal; it is
    empty where no backend lists the model. It is made when it is first asked for, O(backends of the model)."""

    def __init__(self, model_id: str, reasons: Mapping[str, str] | None = None) -> None:
        self.model_id = model_id
        self._reasons = dict(reasons or {})
        self._refusal: Refusal | None = None  # set by the core: what `_reasons` lacks
        super().__init__(model_id, self._reasons)

    @property
    def reasons(self) -> dict[str, str]:
        """Why each backend of the model could not be chosen, by id."""
        refusal = self._refusal
        if refusal is not None:
            # Threads that ask at once put the same into the same dictionary. So do `args`, until it is copied.
            self._reasons.update(refusal.first(len(refusal)))
            self._refusal = None
        return self._reasons

    # In the place of BaseException's own, so that `reasons` are made only when somebody asks.
    @property
    def args(self) -> tuple[Any, ...]:
        """The model id and `reasons`."""
        _ = self.reasons
        return super().args

    @args.setter
    def args(self, args: tuple[Any, ...]) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        vars(BaseException)["args"].__set__(self, args)

    @property
    def unknown_model(self) -> bool:
        """Whether no backend lists the model."""
        refusal = self._refusal
        return len(self._reasons if refusal is None else refusal) == 0

    def __str__(self) -> str:
        refusal = self._refusal
        count = len(self._reasons if refusal is None else refusal)
        first = (
            dict(islice(self._reasons.items(), TOLD)) if refusal is None else refusal.first(TOLD)
        )
        told = [f"{backend_id!r} {reason}" for backend_id, reason in first.items()]
        if count > TOLD:
            told.append(f"and {count - TOLD} more")
        return f"no backend available for {self.model_id!r}: {', '.join(told) or 'no backend lists it'}"

    def __repr__(self) -> str:
        _ = self.reasons
        return super().__repr__()

    def __reduce__(self) -> str | tuple[Any, ...]:
        _ = self.reasons
        return super().__reduce__()


class FleetFileError(RegistryError, ValueError):
    """A fleet file says something that it should not: `path` is the file, `place` where in it, such as `backends[2].url`."""

    def __init__(self, path: str, place: str, problem: str) -> None:
        super().__init__(path, place, problem)
        self.path = path
        self.place = place
        self.problem = problem

    def __str__(self) -> str:
        return printable(": ".join(part for part in self.args if part))
