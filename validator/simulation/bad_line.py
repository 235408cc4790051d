"""A bad line between one client and one server: it is slow, and it breaks.

Rule kept: it carries bytes and knows nothing of them, so whoever is behind it meets what a network does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 1 << 16


@asynccontextmanager
async def bad_line(url: str, *, delay_s: float, loss: float, seed: int) -> AsyncIterator[str]:
    """A URL at which the server at `url` (plain HTTP) is reached, `delay_s` before each piece of an answer.

    In place of a share `loss` of these pieces the connection breaks.
    """
    random, host, port = Random(seed), urlsplit(url).hostname, urlsplit(url).port or 80
    open_lines: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        open_lines.add(task)
        try:
            with suppress(OSError):
                there_reader, there_writer = await asyncio.open_connection(host, port)
                requests = asyncio.create_task(_copy(reader, there_writer))
                try:
                    while piece := await there_reader.read(CHUNK_BYTES):
                        await asyncio.sleep(delay_s)
                        if random.random() < loss:
                            break
                        writer.write(piece)
                        await writer.drain()
                finally:
                    requests.cancel()
                    there_writer.close()
        except asyncio.CancelledError:
            pass  # The line ends with its context; asyncio's server would log it.
        finally:
            open_lines.discard(task)
            writer.close()

    server = await asyncio.start_server(carry, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for line in open_lines:
            line.cancel()
        await asyncio.gather(*open_lines)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(CHUNK_BYTES):
            writer.write(piece)
            await writer.drain()
