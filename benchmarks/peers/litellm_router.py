"""The Router of LiteLLM (PyPI) as a peer: one model name on many deployments, strategy least-busy, without a network."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

NOT_INSTALLED = "litellm: not installed, pip install litellm"
MESSAGES = [{"role": "user", "content": "hello"}]


def missing() -> str | None:
    """Why there is nothing to measure beside, or None."""
    if find_spec("litellm") is None:
        return NOT_INSTALLED
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else the import fetches one, and tries again behind
    try:
        import litellm  # noqa: F401
    except ImportError as error:
        return f"litellm: can't be imported: {error}"
    return None


def name() -> str:
    """With the version: interpreters differ in the newest one that can be installed."""
    return f"LiteLLM {version('litellm')}"


def deployment(number: int) -> dict[str, object]:
    """One entry of the Router's list."""
    return {
        "model_name": "model-3",
        "litellm_params": {"model": "openai/model-3", "api_key": "none", "api_base": f"http://10.0.0.1:{number}"},
        "model_info": {"id": f"backend-{number}"},
    }


def selector(size: int) -> Callable[[], object]:
    """One selection, as the Router's synchronous calls make it; RuntimeError if it is none of the deployments."""
    from litellm import Router

    router = Router(
        model_list=[deployment(number) for number in range(size)], routing_strategy="least-busy", set_verbose=False
    )

    def select() -> dict[str, dict[str, object]]:
        return router.get_available_deployment(model="model-3", messages=MESSAGES, request_kwargs={})

    chosen = select()["model_info"]["id"]
    if chosen not in {f"backend-{number}" for number in range(size)}:
        raise RuntimeError(f"{name()} chose {chosen!r}, which is no deployment")
    return select
