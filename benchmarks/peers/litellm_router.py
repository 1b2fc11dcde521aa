"""LiteLLM (PyPI): its `Router`, one model name on many deployments, strategy least-busy, without a network.

It only chooses: its counterpart is `select`, and what it takes does not depend on what is in flight.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from benchmarks.fleet import backend
from registry import Backend

os.environ.setdefault(
    "LITELLM_LOCAL_MODEL_COST_MAP", "True"
)  # else the import fetches one, and tries again behind

# Only `make peers` installs it.
from litellm import Router  # pyright: ignore[reportMissingImports]

MESSAGES = [{"role": "user", "content": "hello"}]
MODEL = "model-3"


def deployment(backend: Backend) -> dict[str, object]:
    """One entry of the Router's list."""
    parameters = {"model": f"openai/{MODEL}", "api_key": "none", "api_base": backend.url}
    return {"model_name": MODEL, "litellm_params": parameters, "model_info": {"id": backend.id}}


class Chosen(NamedTuple):
    """What a selection says."""

    id: str


class LiteLLMRouter:
    """Its least-busy strategy over these backends."""

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
    """So many deployments."""
    backends = [backend(number) for number in range(size)]
    return LiteLLMRouter(backends), [one.id for one in backends]
