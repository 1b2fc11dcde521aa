"""What people use today, each with the methods of ours that it has a counterpart of.

A peer that is not installed is named, with the reason, wherever its rows are missing.
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
    """One design that can be called from Python."""

    name: str
    package: str  # on PyPI; empty: it needs none
    module: str  # of this package; has `filled`, as benchmarks.fleet has
    largest: int = LARGEST  # the fleet that it can be measured with in reasonable time

    def missing(self) -> str:
        """Why it can't be measured; empty: it can."""
        if not self.package:
            return ""
        try:
            version(self.package)
            self.at_home()
        except PackageNotFoundError:
            return f"not installed (pip install {self.package})"
        except ImportError as error:
            return f"can't be imported: {error}"
        return ""

    def release(self) -> str:
        """Its version; empty: it is in this tree."""
        return version(self.package) if self.package else ""

    def filled(self, size: int) -> tuple[Any, list[str]]:
        """A registry of this design with so many backends."""
        made: tuple[Any, list[str]] = self.at_home().filled(size)
        return made

    def at_home(self) -> ModuleType:
        """Its module. What its packages warn of is theirs."""
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
    """Ours first, then the peers that can be measured."""
    return OURS, *(peer for peer in PEERS if not peer.missing())
