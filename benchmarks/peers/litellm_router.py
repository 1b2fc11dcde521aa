"""LiteLLM (PyPI): its `Router` with the strategy least-busy, without a network.

All deployments have one model name. The Router only chooses, so it is compared with `select`. Its
time does not depend on the number of requests in flight.
"""

# The peer's own types, if it is installed, are incomplete.
# pyright: reportPrivateImportUsage=false, reportIndexIssue=false

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.fleet import backend
from registry import Backend

# Without it, the import downloads a list of prices, and retries in the background.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

# Only `make peers` installs it.
from litellm import Router  # pyright: ignore[reportMissingImports]

MESSAGES = [{"role": "user", "content": "hello"}]
MODEL = "model-3"


def deployment(backend: Backend) -> dict[str, object]:
    """One entry of the Router's list."""
    parameters = {"model": f"openai/{MODEL}", "api_key": "none", "api_base": backend.url}
    return {"model_name": MODEL, "litellm_params": parameters, "model_info": {"id": backend.id}}


class Chosen(NamedTuple):
    """The result of a selection."""

    id: str


class LiteLLMRouter:
    """A Router over these backends."""

    def __init__(self, backends: Iterable[Backend]) -> None:
        deployments = [deployment(one) for one in backends]
        self.router = Router(
            model_list=deployments, routing_strategy="least-busy", set_verbose=False
        )

    def select(self, model_id: str) -> Chosen:
        """One selection, as the Router's synchronous calls make it."""
        chosen = self.router.get_available_deployment(
            model=model_id, messages=MESSAGES, request_kwargs={}
        )
        return Chosen(chosen["model_info"]["id"])


def filled(size: int) -> tuple[LiteLLMRouter, list[str]]:
    """A Router with `size` deployments, and their ids."""
    backends = [backend(number) for number in range(size)]
    return LiteLLMRouter(backends), [one.id for one in backends]
