"""A server as strangers meet it: how many connections, how long, how much, before anybody is known.

Rule kept (N1 and N2, turned round): whoever connects and says nothing, talks TLS for ever or sends headers without end
costs one of its own few places for a bounded time, and never somebody else's.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from validator.errors import BadInput

MAX_CONNECTIONS = 512
MAX_CONNECTIONS_PER_PEER = 64
"""A validator uses two for each miner; behind one address there may be many."""
BACKLOG = 128
HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 30.0
"""Until a request's headers are complete, from the connection's beginning or the end of the request before."""
LINGERING_SECONDS = 1.0
"""How long what is still coming of a refused body is thrown away, so that its sender gets to read the refusal."""
CLOSING_SECONDS = 1.0
"""How long a request that is being served may still take when the server is told to end."""
MAX_HEADERS, MAX_HEADER_BYTES = 64, 8190
"""The real OpenAI client sends about twenty."""


class Door(socket.socket):
    """A listening TCP socket for `asyncio`, which takes ConnectionAbortedError from `accept` for a peer that left."""

    def __init__(self, host: str, port: int, *, per_peer: int = MAX_CONNECTIONS_PER_PEER) -> None:
        super().__init__(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._per_peer = per_peer
        self._places: Counter[str] = Counter()
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.setblocking(False)
        try:
            self.bind((host, port))
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        accepted, address = super().accept()
        peer = address[0]
        if self._places[peer] >= self._per_peer or self._places.total() >= MAX_CONNECTIONS:
            accepted.close()
            raise ConnectionAbortedError(f"too many connections from {peer}")
        return _Counted(accepted, peer, self._places), address


def open_door(host: str, port: int, whose: str) -> Door:
    """BadInput if nobody can listen there, with `whose` door it is: the setting or the miner that names the place."""
    try:
        return Door(host, port)
    except OSError as error:
        raise BadInput(f"{whose}: cannot listen on {host} port {port}: {error.strerror or error}") from error


class _Counted(socket.socket):
    """A connection that gives its place back when it is closed."""

    def __init__(self, accepted: socket.socket, peer: str, places: Counter[str]) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, accepted.detach())
        self._peer: str | None = peer
        self._places = places
        places[peer] += 1

    def close(self) -> None:
        super().close()
        if self._peer is not None:
            self._places[self._peer] -= 1
            self._places += Counter()  # forgets those who have none left
            self._peer = None


@asynccontextmanager
async def serving(app: web.Application, door: Door, context: ssl.SSLContext | None) -> AsyncIterator[None]:
    """Serve at this door, over TLS if there is a context, and close it at the end."""
    logger = logging.getLogger("validator.door")
    logger.addFilter(_is_worth_a_line)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=logger,
        shutdown_timeout=CLOSING_SECONDS,
        keepalive_timeout=IDLE_SECONDS,
        lingering_time=LINGERING_SECONDS,
        max_line_size=MAX_HEADER_BYTES,
        max_field_size=MAX_HEADER_BYTES,
        max_headers=MAX_HEADERS,
        auto_decompress=False,
    )
    await runner.setup()
    try:
        assert runner.server is not None  # noqa: S101 - since `setup`
        listener = await asyncio.get_running_loop().create_server(
            runner.server,
            sock=door,
            backlog=BACKLOG,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
        )
        try:
            yield
        finally:
            listener.close()
    finally:
        await runner.cleanup()


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Not what strangers send that is no HTTP: they could fill the disk with it."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)
