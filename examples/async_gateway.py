"""An async gateway in front of two inference servers: acquire, retry, stream, release.

    python examples/async_gateway.py

The servers are fakes on the loopback interface, with one line of text for each chunk. `gpu-1`
closes each connection without an answer, so each request is tried again on `gpu-2`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from urllib.parse import urlsplit

from registry import Backend, Model, Registry

MODEL = "llama3:70b"
FIRST_BYTE_SECONDS = 30.0


# ---- the gateway


async def answer(registry: Registry, prompt: str) -> AsyncGenerator[bytes, None]:
    """Streams the answer of one backend, chunk by chunk."""
    tried: list[str] = []
    while True:
        # Raises NoBackendAvailableError when no backend is left to try.
        with registry.acquire(MODEL, exclude=tried) as lease:
            async with aclosing(ask(lease.backend.url, prompt)) as chunks:
                try:
                    async with asyncio.timeout(FIRST_BYTE_SECONDS):
                        first = await anext(chunks)
                except OSError as error:  # includes TimeoutError and ConnectionError
                    print(f"{lease.backend.id} failed before the first byte: {error}")
                    lease.release(failed=True)
                    tried.append(lease.backend.id)
                    continue
                # The client sees the first byte now, so a later failure is not retried.
                yield first
                async for chunk in chunks:
                    yield chunk
                return


async def ask(url: str, prompt: str) -> AsyncGenerator[bytes, None]:
    """Sends a prompt to a server and yields the chunks of its answer."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(prompt.encode() + b"\n")
        first = await reader.readline()
        if not first:
            raise ConnectionError("no answer")
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


# ---- the demonstration


def url_of(server: asyncio.Server) -> str:
    """The address of a server that listens on a port chosen by the system."""
    host, port = server.sockets[0].getsockname()
    return f"http://{host}:{port}"


async def main() -> None:
    """Serves one request to its end, and one whose client leaves early."""
    registry = Registry()
    async with (
        await asyncio.start_server(answer_nothing, "127.0.0.1", 0) as broken,
        await asyncio.start_server(answer_in_words, "127.0.0.1", 0) as works,
    ):
        # Of two idle backends, the one with the greater weight is chosen first.
        for name, server, weight in (("gpu-1", broken, 2), ("gpu-2", works, 1)):
            url = url_of(server)
            backend = Backend(name, name, url, models=[Model(MODEL)], weight=weight)
            registry.add_backend(backend)
            registry.update_status(name, "healthy")

        print("A request:")
        async with aclosing(answer(registry, "to be or not")) as chunks:
            print(*[chunk.decode().strip() async for chunk in chunks])

        print("A client that leaves after the first chunk:")
        async with aclosing(answer(registry, "that is the question")) as chunks:
            print((await anext(chunks)).decode().strip())

    for view in registry.get_all_backends():
        counts = f"{view.total_requests} requests, {view.pending_requests} in flight"
        print(f"{view.id}: {counts}")


if __name__ == "__main__":
    asyncio.run(main())
