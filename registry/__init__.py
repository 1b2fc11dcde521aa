"""The in-memory source of truth of an LLM gateway: which backends exist, what they serve, how healthy, busy and fast they are."""

from typing import TYPE_CHECKING

from registry._core import Lease
from registry._registry import Registry
from registry.backend import Backend, BackendStatus, BackendType, BackendView, DiscoverySource, Model
from registry.errors import (
    BackendNotFoundError,
    DuplicateBackendError,
    FleetFileError,
    NoBackendAvailableError,
    RegistryError,
)
from registry.fleet import load_fleet
from registry.selection import Candidate, Policy, Requirements
from registry.stats import RegistryStats

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name):
        """`__version__`, looked up when somebody asks for it."""
        if name == "__version__":
            from registry._version import version

            return version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Backend",
    "BackendNotFoundError",
    "BackendStatus",
    "BackendType",
    "BackendView",
    "Candidate",
    "DiscoverySource",
    "DuplicateBackendError",
    "FleetFileError",
    "Lease",
    "Model",
    "NoBackendAvailableError",
    "Policy",
    "Registry",
    "RegistryError",
    "RegistryStats",
    "Requirements",
    "load_fleet",
]
