"""An async gateway in front of two inference servers, whose fleet changes while it runs.

    python examples/async_gateway.py

Requests: acquire, retry, stream, release. Operation: reload the fleet file, update a definition,
drain a backend. It needs the extra `follow`.

The servers are fakes on the loopback interface, with one line of text for each chunk. At first
`gpu-1` closes each connection without an answer, so each request is tried again on `gpu-2`. Then
the fleet file gives `gpu-1` another server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from registry import Registry, follow_fleet

MODEL = "llama3:70b"
FIRST_BYTE_SECONDS = 30.0
DRAIN_SECONDS = 60.0


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
    async with aclosing(answer(registry, "to be or not")) as chunks:
        print(*[chunk.decode().strip() async for chunk in chunks])

    print("A client that leaves after the first chunk:")
    async with aclosing(answer(registry, "that is the question")) as chunks:
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
    async with aclosing(answer(registry, "whether tis nobler")) as chunks:
        words = [await anext(chunks)]
        draining = asyncio.create_task(drain(registry, "gpu-2"))
        words += [chunk async for chunk in chunks]
    print(*[word.decode().strip() for word in words])
    await draining


async def main() -> None:
    """Follows a fleet file, serves requests and changes the fleet."""
    registry = Registry()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "fleet.toml"
        async with (
            await asyncio.start_server(answer_nothing, "127.0.0.1", 0) as broken,
            await asyncio.start_server(answer_in_words, "127.0.0.1", 0) as works,
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


if __name__ == "__main__":
    asyncio.run(main())
