"""The peers: other designs of a registry, each with the methods of ours that it can support.

A result names the peers that are missing, and why.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

LARGEST = 100_000


@dataclass(frozen=True)
class Peer:
    """A design that Python can call."""

    name: str
    package: str  # on PyPI; empty if it needs none
    module: str  # of this package, with a function `filled` like benchmarks.fleet; empty for ours
    largest: int = LARGEST  # the largest fleet that it can build in reasonable time

    def missing(self) -> str:
        """Why it cannot be measured, or "" if it can."""
        if not self.package:
            return ""
        try:
            version(self.package)
            self.load()
        except PackageNotFoundError:
            return f"not installed (pip install {self.package})"
        except ImportError as error:
            return f"cannot be imported: {error}"
        return ""

    def release(self) -> str:
        """The version of its package, or "" if it needs none."""
        return version(self.package) if self.package else ""

    def filled(self, size: int) -> tuple[Any, list[str]]:
        """A registry of this design with `size` backends, and the backends' ids."""
        registry_and_ids: tuple[Any, list[str]] = self.load().filled(size)
        return registry_and_ids

    def load(self) -> ModuleType:
        """Imports its module. Ignores warnings, which come from other packages."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(
                f"benchmarks.peers.{self.module}" if self.module else "benchmarks.fleet"
            )


OURS = Peer("registry", "", "")
PEERS = (
    Peer("dict + Lock", "", "locked_oracle"),
    Peer("cereggii", "cereggii", "cereggii_map"),
    Peer("ft_utils", "ft_utils", "ft_utils_map"),
    Peer("LiteLLM", "litellm", "litellm_router", largest=1000),
)


@cache
def installed() -> tuple[Peer, ...]:
    """Our registry, then the peers that can be measured."""
    return OURS, *(peer for peer in PEERS if not peer.missing())
