"""The examples run, print what the README shows, and are the code that the README shows."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from registry import Backend, Ejection, Model, NoBackendAvailableError, Reason, Registry
from registry.testing import ManualClock

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
README = ROOT / "README.md"
GATEWAY = ROOT / "examples" / "async_gateway.py"

# A fenced block: its language, and its lines.
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def load_gateway() -> Any:
    """The gateway as a module."""
    spec = importlib.util.spec_from_file_location("async_gateway", GATEWAY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gateway = load_gateway()


class Example(NamedTuple):
    """A block of Python in the README, and the block of text after it: what it prints."""

    code: str
    output: str


Shown = tuple[Example, Example]


def examples(markdown: str) -> list[Example]:
    """The Python blocks of a document, each with the next block, which must be text."""
    blocks = BLOCK.findall(markdown)
    found = []
    for (language, code), (next_language, output) in pairwise(blocks):
        if language == "python":
            assert next_language == "text", "the output of the example is missing"
            found.append(Example(code, output))
    return found


def output_of(script: Path) -> str:
    """What a script prints in a fresh interpreter, where each warning is an error."""
    command = [sys.executable, "-X", "dev", "-W", "error", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # On a busy machine, asyncio's debug mode reports callbacks that took long.
    errors = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, errors) == (0, [])
    return done.stdout


@pytest.fixture(scope="module")
def shown() -> Shown:
    """The two examples of the README."""
    quickstart, in_gateway = examples(README.read_text(encoding="utf-8"))
    return quickstart, in_gateway


def test_the_quickstart_prints_what_the_readme_shows(shown: Shown, tmp_path: Path) -> None:
    quickstart, _ = shown
    script = tmp_path / "quickstart.py"
    script.write_text(quickstart.code, encoding="utf-8")
    assert output_of(script) == quickstart.output


def test_the_gateway_prints_what_the_readme_shows(shown: Shown) -> None:
    assert output_of(GATEWAY) == shown[1].output


def test_the_readme_shows_the_core_of_the_gateway(shown: Shown) -> None:
    code = shown[1].code
    assert code in GATEWAY.read_text(encoding="utf-8")
    for told in ("registry.acquire(", "exclude=", "failed=True", "retry_after=", "first_token()"):
        assert told in code
    assert "error.kinds" in code


# ---- how the gateway maps outcomes


def run(server: Callable[..., Awaitable[None]], *, chunks: int = 100) -> Registry:
    """One request to one fake server, by a client that leaves after so many chunks."""
    handlers: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        await server(reader, writer)
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def request() -> Registry:
        registry = Registry(clock=ManualClock())
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as started:
            url = gateway.url_of(started)
            registry.add_backend(Backend("a", "A", url, models=[Model(gateway.MODEL)]))
            registry.update_status("a", "healthy")
            async with aclosing(gateway.answer(registry, gateway.MODEL, "to be")) as answer:
                with suppress(NoBackendAvailableError, StopAsyncIteration):
                    for _ in range(chunks):
                        await anext(answer)
            await asyncio.gather(*filter(None, handlers))
        return registry

    return asyncio.run(request())


def ended(registry: Registry) -> tuple[int, int, bool, Reason | None]:
    """What the request left behind: total, failed, whether a first token came, and availability."""
    view = registry.get_backend("a")
    assert view is not None
    assert view.pending_requests == 0
    has_token = view.avg_ttft_ms is not None
    return view.total_requests, view.failed_requests, has_token, view.unavailable


def test_an_answer_is_a_success() -> None:
    assert ended(run(gateway.answer_in_words)) == (1, 0, True, None)


def test_a_client_that_leaves_is_no_failure() -> None:
    assert ended(run(gateway.answer_in_words, chunks=1)) == (1, 0, True, None)


def test_no_answer_is_a_failure() -> None:
    assert ended(run(gateway.answer_nothing)) == (1, 1, False, None)


def test_a_first_byte_that_is_late_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(_url: str, _prompt: str) -> AsyncGenerator[bytes, None]:
        await asyncio.Event().wait()
        yield b""

    monkeypatch.setattr(gateway, "ask", ask)
    monkeypatch.setattr(gateway, "FIRST_BYTE_SECONDS", 0.0)
    assert ended(run(gateway.answer_in_words)) == (1, 1, False, None)


def test_a_busy_server_cools_down() -> None:
    registry = run(gateway.answer_busy)
    assert ended(registry) == (1, 1, False, Reason.COOLING_DOWN)
    assert refused(registry, gateway.MODEL) == (429, {"Retry-After": "20"})


def refused(registry: Registry, model: str) -> tuple[int, dict[str, str]]:
    """What the gateway answers a request that the registry refuses."""
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire(model)
    answer: tuple[int, dict[str, str]] = gateway.refusal(caught.value)
    return answer


def test_refusals_have_a_status() -> None:
    registry = Registry()
    backend = Backend("a", "A", "http://a", models=[Model("m")], max_pending=1)
    registry.add_backend(backend)
    assert refused(registry, "another") == (404, {})
    assert refused(registry, "m") == (503, {})  # UNKNOWN
    registry.update_status("a", "healthy")
    with registry.acquire("m"):
        assert refused(registry, "m") == (429, {})  # FULL


def test_a_refusal_because_of_ejection_tells_when_to_come_back() -> None:
    rules = Ejection(consecutive_failures=1, panic=None)
    registry = Registry(ejection=rules, clock=ManualClock())
    registry.add_backend(Backend("a", "A", "http://a", models=[Model("m")]))
    registry.update_status("a", "healthy")
    registry.acquire("m").release(failed=True)
    assert refused(registry, "m") == (503, {"Retry-After": "30"})


# ---- the test's own tools


def test_an_example_without_its_output_is_noticed() -> None:
    markdown = "```python\nprint(1)\n```\n\n```\n1\n```\n"
    with pytest.raises(AssertionError, match="the output of the example is missing"):
        examples(markdown)
    assert examples(markdown.replace("\n```\n1", "\n```text\n1")) == [Example("print(1)\n", "1\n")]
