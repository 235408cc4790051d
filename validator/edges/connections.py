"""What a session connects by: names whose addresses are all judged, and sockets whose bytes are all counted."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from validator.types import Hash32

Lookup: TypeAlias = Callable[[str], Awaitable[list[str]]]
"""All addresses of a name; OSError if there are none."""


class Endpoint(Protocol):
    """Where a session goes."""

    @property
    def url(self) -> str: ...

    @property
    def tls_key_hash(self) -> Hash32 | None:
        """Of the only key that is accepted; None: plain HTTP, or a certificate that this system trusts."""

    def admits(self, address: str) -> bool:
        """Whether this address of the host may be connected to."""


class JudgedResolver(AbstractResolver):
    """All of a name's addresses, or an OSError if one of them may not be connected to."""

    def __init__(self, endpoint: Endpoint, lookup: Lookup) -> None:
        self._endpoint = endpoint
        self._lookup = lookup
        self._asking: asyncio.Future[list[str]] | None = None

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - both kinds
    ) -> list[ResolveResult]:
        # One question at a time and for each miner: an abandoned one keeps its thread until the system gives up.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._lookup(host))
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        addresses = await asyncio.shield(self._asking)
        if not addresses:
            raise OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
        for address in addresses:
            if not self._endpoint.admits(address):
                raise OSError(errno.EADDRNOTAVAIL, f"{host} has the address {address}, which is not a public one")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()


class WireMeter:
    """How many bytes a miner may still send: a miner can send what is no answer for ever (N2)."""

    def __init__(self) -> None:
        self._left = 0
        self._running = 0

    @contextmanager
    def allowing(self, count: int) -> Iterator[None]:
        """So many for what is done inside, on top of what runs beside it."""
        self._left = count + (self._left if self._running else 0)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def count(self, received: int) -> None:
        self._left -= received
        if self._left < 0:
            raise ConnectionAbortedError("more has come than an answer can need")

    def make_socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = address
        return _MeteredSocket(self, family, kind, protocol)


class _MeteredSocket(socket.socket):
    def __init__(self, meter: WireMeter, family: int, kind: int, protocol: int) -> None:
        super().__init__(family, kind, protocol)
        self._meter = meter
        self.setblocking(False)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        received = super().recv(size, flags)
        self._meter.count(len(received))
        return received

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        received = super().recv_into(buffer, size, flags)
        self._meter.count(received)
        return received
