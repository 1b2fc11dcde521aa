"""The in-memory source of truth of an LLM gateway: which backends exist, what they serve, how healthy, busy and fast they are."""

from registry._registry import Registry
from registry.backend import Backend, BackendStatus, BackendType, BackendView, DiscoverySource, Model
from registry.errors import BackendNotFoundError, DuplicateBackendError, FleetFileError, RegistryError
from registry.fleet import load_fleet

__all__ = [
    "Backend",
    "BackendNotFoundError",
    "BackendStatus",
    "BackendType",
    "BackendView",
    "DiscoverySource",
    "DuplicateBackendError",
    "FleetFileError",
    "Model",
    "Registry",
    "RegistryError",
    "load_fleet",
]
