"""Real HTTP servers on loopback that behave as badly as a test needs."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, context: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[str]:
    """A server that gives every request, whatever its method and path, to one handler; over TLS if asked to."""
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield f"{'https' if context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_bytes(answer: bytes, *, is_left_open: bool = False) -> AsyncIterator[str]:
    """A server that sends these raw bytes to whoever connects, then closes, or stays silent."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if is_left_open:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def date_ahead(offset_s: float) -> str:
    """The header `Date` of a server that answers now, by a clock that is `offset_s` ahead."""
    return formatdate(time.time() + offset_s, usegmt=True)


def always(**answer: object) -> Handler:
    """A handler that gives the same answer every time; arguments as of `aiohttp.web.Response`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(**answer)

    return handle


def always_json(body: object, status: int = 200) -> Handler:
    """A handler that gives the same JSON every time."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response(body, status=status)

    return handle
