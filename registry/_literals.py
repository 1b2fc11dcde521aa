"""The values of the enums as `Literal` types, for arguments that take a member or its value.

Type checkers can't derive a `Literal` from an enum. tests/unit/test_typing.py checks that they
agree.
"""

from __future__ import annotations

from typing import Literal

BackendStatusValue = Literal["healthy", "unhealthy", "unknown", "draining"]
BackendTypeValue = Literal[
    "ollama",
    "vllm",
    "llamacpp",
    "exo",
    "openai",
    "lmstudio",
    "anthropic",
    "google",
    "generic",
]
DiscoverySourceValue = Literal["static", "mdns", "manual"]
PolicyValue = Literal[
    "least_pending",
    "power_of_two",
    "lowest_latency",
    "round_robin",
    "random",
    "priority",
    "smart",
    "affinity",
    "least_tokens",
    "hot_cold",
]
ReasonValue = Literal[
    "excluded",
    "unhealthy",
    "draining",
    "unknown",
    "no vision",
    "no tools",
    "no json mode",
    "short context",
    "cooling down",
    "ejected",
    "on trial",
    "waiting",
    "full",
]
