"""The exceptions of this package. Each is a `RegistryError`, and the builtin that a caller would expect."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from registry._once import refuse_second_import
from registry._text import printable

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
    """No backend may be chosen for a model. `reasons` says why, by backend id; it is empty where no backend lists the model."""

    def __init__(self, model_id: str, reasons: Mapping[str, str] | None = None) -> None:
        self.model_id = model_id
        self.reasons = dict(reasons or {})
        super().__init__(model_id, self.reasons)

    @property
    def unknown_model(self) -> bool:
        """Whether no backend lists the model."""
        return not self.reasons

    def __str__(self) -> str:
        told = [f"{backend_id!r} {reason}" for backend_id, reason in islice(self.reasons.items(), TOLD)]
        if len(self.reasons) > TOLD:
            told.append(f"and {len(self.reasons) - TOLD} more")
        return f"no backend available for {self.model_id!r}: {', '.join(told) or 'no backend lists it'}"


class FleetFileError(RegistryError, ValueError):
    """A fleet file says something that it should not: `path` is the file, `place` where in it, such as `backends[2].url`."""

    def __init__(self, path: str, place: str, problem: str) -> None:
        super().__init__(path, place, problem)
        self.path = path
        self.place = place
        self.problem = problem

    def __str__(self) -> str:
        return printable(": ".join(part for part in self.args if part))
