"""The in-memory source of truth of an LLM gateway.

A `Registry` holds the backends, their models, and each backend's health, load and latency.
"""

from pathlib import Path
from typing import TYPE_CHECKING

try:
    from registry._core.binding import (
        Lease,
        prefix_blocks,
        prefix_blocks_of_tokens,
        prefix_key,
    )
except ModuleNotFoundError as _error:
    if _error.name != "registry._core.binding":
        raise
    raise ImportError(
        "registry is imported from its sources, but its C extension is not built for this "
        f"interpreter: run `make` or `pip install -e .` in {Path(__file__).parent.parent}, "
        "or import it from another directory",
        name=_error.name,
    ) from None

from registry._literals import (
    BackendStatusValue,
    BackendTypeValue,
    DiscoverySourceValue,
    PolicyValue,
    ReasonValue,
)
from registry._reconcile import Reconciliation
from registry._registry import Registry
from registry.backend import (
    Backend,
    BackendStatus,
    BackendType,
    BackendView,
    DiscoverySource,
    Model,
)
from registry.ejection import Ejection
from registry.errors import (
    BackendNotFoundError,
    DuplicateBackendError,
    FleetFileError,
    NoBackendAvailableError,
    RegistryError,
    WaitingLineFullError,
)
from registry.fleet import FleetFollower, follow_fleet, load_fleet
from registry.selection import Candidate, Policy, Reason, Requirements
from registry.stats import RegistryStats
from registry.watching import Change, ChangeKind, Watch

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name):
        """Looks up `__version__` on first use, because the look-up would slow down the import."""
        if name == "__version__":
            from registry._version import version

            return version()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Backend",
    "BackendNotFoundError",
    "BackendStatus",
    "BackendStatusValue",
    "BackendType",
    "BackendTypeValue",
    "BackendView",
    "Candidate",
    "Change",
    "ChangeKind",
    "DiscoverySource",
    "DiscoverySourceValue",
    "DuplicateBackendError",
    "Ejection",
    "FleetFileError",
    "FleetFollower",
    "Lease",
    "Model",
    "NoBackendAvailableError",
    "Policy",
    "PolicyValue",
    "Reason",
    "ReasonValue",
    "Reconciliation",
    "Registry",
    "RegistryError",
    "RegistryStats",
    "Requirements",
    "WaitingLineFullError",
    "Watch",
    "follow_fleet",
    "load_fleet",
    "prefix_blocks",
    "prefix_blocks_of_tokens",
    "prefix_key",
]
