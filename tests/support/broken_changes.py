"""Registries that break one promise about changes each. The checks must detect them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from registry import Backend, BackendNotFoundError, Reconciliation, Registry
from support.broken import GAP


class ReconcilesInSteps(Registry):
    """Changes one backend after the other."""

    def reconcile(self, backends: Iterable[Backend], /, *, source: Any = None) -> Reconciliation:
        wanted = {backend.id: backend for backend in backends}
        for backend_id in list(self):
            if backend_id not in wanted:
                self.remove_backend(backend_id)
        time.sleep(GAP)
        for backend in wanted.values():
            change = self.update_backend if backend.id in self else self.add_backend
            change(backend)
        return super().reconcile(wanted.values(), source=source)


class UpdatesByRemoving(Registry):
    """Removes the backend, and adds it again."""

    def update_backend(self, backend: Backend, /) -> None:
        self.remove_backend(backend.id)
        time.sleep(GAP)
        self.add_backend(backend)


class ChecksSerialsFirst(Registry):
    """Compares the serial, and then acts on whatever has the id."""

    def update_status(
        self,
        backend_id: str,
        /,
        status: Any,
        error: str | None = None,
        *,
        serial: int | None = None,
    ) -> None:
        view = self.get_backend(backend_id)
        if serial is not None and (view is None or view.serial != serial):
            raise BackendNotFoundError(backend_id)
        time.sleep(GAP)
        super().update_status(backend_id, status, error)


class HealthEndsDrains(Registry):
    """A status that is reported ends a drain."""

    def update_status(
        self,
        backend_id: str,
        /,
        status: Any,
        error: str | None = None,
        *,
        serial: int | None = None,
    ) -> None:
        super().update_status(backend_id, status, error, serial=serial)
        self.resume(backend_id, serial=serial)


class UpdatesEndDrains(Registry):
    """A new definition ends a drain."""

    def update_backend(self, backend: Backend, /) -> None:
        super().update_backend(backend)
        self.resume(backend.id)


class RenewsTheUnchanged(Registry):
    """A reconcile gives every backend a new registration."""

    def reconcile(self, backends: Iterable[Backend], /, *, source: Any = None) -> Reconciliation:
        given = list(backends)
        done = super().reconcile(given, source=source)
        for backend in given:
            self.update_backend(replace(backend, url="http://elsewhere"))
            self.update_backend(backend)
        return done


class KeepsOldCaps(Registry):
    """A new definition does not change the cap."""

    def update_backend(self, backend: Backend, /) -> None:
        view = self.get_backend(backend.id)
        cap = None if view is None else view.max_pending
        super().update_backend(replace(backend, max_pending=cap))


class LosesThePlace(Registry):
    """A backend that is replaced goes to the end."""

    def update_backend(self, backend: Backend, /) -> None:
        view = self.get_backend(backend.id)
        super().update_backend(backend)
        after = self.get_backend(backend.id)
        if view and after and view.serial != after.serial:
            self.remove_backend(backend.id)
            self.add_backend(backend)


class ReconcilesBeforeItChecks(Registry):
    """Has already drained a backend when it raises for the list."""

    def reconcile(self, backends: Iterable[Backend], /, *, source: Any = None) -> Reconciliation:
        for backend_id in self:
            self.drain(backend_id)
        return super().reconcile(backends, source=source)
