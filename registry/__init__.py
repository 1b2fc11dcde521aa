"""The in-memory source of truth of an LLM gateway: which backends exist, what they serve, how healthy, busy and fast they are."""

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
