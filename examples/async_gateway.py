"""An async gateway in front of two inference servers, whose fleet changes while it runs.

    python examples/async_gateway.py

Requests: acquire, retry, stream, tell the outcome, refuse. Operation: reload the fleet file, update
a definition, drain a backend. It needs the extra `follow`.

The servers are fakes on the loopback interface, with one line of text for each chunk. At first
`gpu-1` closes each connection without an answer, so each request is tried again on `gpu-2`. Then
the fleet file gives `gpu-1` another server, and at last one that is busy.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from registry import NoBackendAvailableError, Reason, Registry, follow_fleet

MODEL = "llama3:70b"
FIRST_BYTE_SECONDS = 30.0
DRAIN_SECONDS = 60.0
RETRY_AFTER = b"Retry-After: "  # what a busy server of this example answers
REST_SECONDS = (1.0, 86_400.0)  # the shortest and the longest rest that a server is given


class Busy(Exception):
    """The server answered 429 or 503, with the time after which to try again."""

    def __init__(self, seconds: float) -> None:
        shortest, longest = REST_SECONDS
        self.seconds = min(max(seconds, shortest), longest)
        super().__init__(f"busy for {self.seconds:g} s")


# ---- the gateway


async def answer(registry: Registry, model: str, prompt: str) -> AsyncGenerator[bytes, None]:
    """Streams the answer of one backend, chunk by chunk, and tells how each attempt ended."""
    tried: list[str] = []
    while True:
        # Raises NoBackendAvailableError when no backend is left to try.
        with registry.acquire(model, exclude=tried) as lease:
            async with aclosing(ask(lease.backend.url, prompt)) as chunks:
                try:
                    # The time-out is inside the lease's block, so it counts as a failure.
                    async with asyncio.timeout(FIRST_BYTE_SECONDS):
                        first = await anext(chunks)
                except Busy as busy:
                    # No need to exclude it: it is not chosen while it cools down.
                    print(f"{lease.backend.id} asks for {busy.seconds:g} s of rest")
                    lease.release(retry_after=busy.seconds)
                except OSError as error:  # includes TimeoutError and ConnectionError
                    print(f"{lease.backend.id} failed before the first byte: {error}")
                    lease.release(failed=True)
                    tried.append(lease.backend.id)
                else:
                    lease.first_token()
                    # The client sees the first byte now, so a later failure is not retried. It
                    # leaves the block as an exception, which counts as failed. A client that
                    # leaves cancels this task or closes this generator: that is abandoned.
                    yield first
                    async for chunk in chunks:
                        yield chunk
                    return


def refusal(error: NoBackendAvailableError) -> tuple[int, dict[str, str]]:
    """The HTTP status and headers for a request that no backend can take."""
    if error.unknown_model:
        return 404, {}
    kinds = set(error.kinds.values())
    status = 429 if kinds <= {Reason.FULL, Reason.COOLING_DOWN} else 503
    if error.retry_after is None:
        return status, {}
    return status, {"Retry-After": str(math.ceil(error.retry_after))}


async def drain(registry: Registry, backend_id: str) -> None:
    """Gives a backend no new request, and waits until those in flight have ended."""
    registry.drain(backend_id)
    is_idle = await registry.idle(backend_id, DRAIN_SECONDS)
    print(f"{backend_id} is {'idle' if is_idle else 'still busy'}")


async def ask(url: str, prompt: str) -> AsyncGenerator[bytes, None]:
    """Sends a prompt to a server and yields the chunks of its answer."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(prompt.encode() + b"\n")
        first = await reader.readline()
        if not first:
            raise ConnectionError("no answer")
        if first.startswith(RETRY_AFTER):
            raise Busy(float(first.removeprefix(RETRY_AFTER)))
        yield first
        async for chunk in reader:
            yield chunk
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


# ---- the fake servers


async def answer_in_words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Repeats the prompt, one word for each chunk."""
    words = (await reader.readline()).split()
    with suppress(ConnectionError):  # a client may leave at any time
        for word in words:
            writer.write(word + b"\n")
            await writer.drain()
    writer.close()


async def answer_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads the prompt and closes the connection."""
    await reader.readline()
    writer.close()


async def answer_busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks for twenty seconds of rest."""
    await reader.readline()
    writer.write(RETRY_AFTER + b"20\n")
    writer.close()


# ---- the demonstration


def url_of(server: asyncio.Server) -> str:
    """The address of a server that listens on a port chosen by the system."""
    host, port = server.sockets[0].getsockname()
    return f"http://{host}:{port}"


def write_fleet(file: Path, *servers: asyncio.Server) -> None:
    """Writes a fleet file with a backend for each server.

    A new file is renamed into place, so nobody reads half of it. Of two idle backends, the one with
    the greater weight is chosen first.
    """
    new = file.with_suffix(".new")
    new.write_text(
        "".join(
            f'[[backends]]\nname = "gpu-{number}"\nurl = "{url_of(server)}"\n'
            f'weight = {3 - number}\nmodels = ["{MODEL}"]\n'
            for number, server in enumerate(servers, 1)
        ),
        encoding="utf-8",
    )
    new.replace(file)


async def serve(registry: Registry) -> None:
    """Serves one request to its end, and one whose client leaves early."""
    print("A request:")
    async with aclosing(answer(registry, MODEL, "to be or not")) as chunks:
        print(*[chunk.decode().strip() async for chunk in chunks])

    print("A client that leaves after the first chunk:")
    async with aclosing(answer(registry, MODEL, "that is the question")) as chunks:
        print((await anext(chunks)).decode().strip())


async def change(registry: Registry, file: Path, server: asyncio.Server) -> None:
    """Changes the fleet: by its file, by an update, and by a drain while a client reads."""
    print("A reload that gives gpu-1 another server:")
    async with registry.watch() as watch:
        write_fleet(file, server, server)
        told = await anext(watch)
    assert told.backend_id is not None
    assert told.after is not None
    print(told.backend_id, told.kind)
    # The serial: this is about the new server, and not about a later one.
    registry.update_status(told.backend_id, "healthy", serial=told.after.serial)

    print("An update that makes gpu-2 preferred, and a drain while it answers:")
    view = registry.get_backend("gpu-2")
    assert view is not None
    registry.update_backend(replace(view.backend, weight=8))
    async with aclosing(answer(registry, MODEL, "whether tis nobler")) as chunks:
        words = [await anext(chunks)]
        draining = asyncio.create_task(drain(registry, "gpu-2"))
        words += [chunk async for chunk in chunks]
    print(*[word.decode().strip() for word in words])
    await draining


async def refuse(registry: Registry, file: Path, busy: asyncio.Server) -> None:
    """Answers requests that no backend can take: of an unknown model, and of a busy fleet."""
    async with registry.watch() as watch:
        write_fleet(file, busy)
        await anext(watch)
    registry.update_status("gpu-1", "healthy")
    for model in ("another", MODEL):
        print(f"A request for {model}, which is refused:")
        try:
            async with aclosing(answer(registry, model, "to sleep")) as chunks:
                await anext(chunks)
        except NoBackendAvailableError as error:
            print(*refusal(error))


async def main() -> None:
    """Follows a fleet file, serves requests and changes the fleet."""
    registry = Registry()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.toml"
        async with (
            await asyncio.start_server(answer_nothing, "127.0.0.1", 0) as broken,
            await asyncio.start_server(answer_in_words, "127.0.0.1", 0) as works,
            await asyncio.start_server(answer_busy, "127.0.0.1", 0) as busy,
        ):
            write_fleet(file, broken, works)
            async with follow_fleet(registry, file):
                for backend_id in registry:
                    registry.update_status(backend_id, "healthy")
                await serve(registry)
                await change(registry, file, works)
                for view in registry.get_all_backends():
                    counts = f"{view.total_requests} requests, {view.pending_requests} in flight"
                    print(f"{view.id}: {counts}")
                await refuse(registry, file, busy)


if __name__ == "__main__":
    asyncio.run(main())
