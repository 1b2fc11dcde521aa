"""The exceptions of this package. Each is a `RegistryError`, and the builtin that a caller would expect."""

from __future__ import annotations


class RegistryError(Exception):
    """Base of all errors that this package defines."""


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


class FleetFileError(RegistryError, ValueError):
    """A fleet file says something that it should not: `path` is the file, `place` where in it, such as `backends[2].url`."""

    def __init__(self, path: str, place: str, problem: str) -> None:
        super().__init__(path, place, problem)
        self.path = path
        self.place = place
        self.problem = problem

    def __str__(self) -> str:
        return ": ".join(part for part in self.args if part)
