"""A real HTTP server in front of a real node, that loses, delays or falsifies what it is told to."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

from tests.edges.loopback import serving

TAGS = ("latest", "finalized", "pending")
Falsify = Callable[[Any], Any]


class FaultProxy:
    """Faults are named by JSON-RPC method; `errors` and `statuses` are used up, one a request, the others stay.

    `swallow` takes a transaction with thanks and passes nothing on; `hang` never answers; `bodies` are sent as they
    are; `frozen_at` is the newest block that it admits to know; while `is_dead` it answers nothing.
    """

    def __init__(self, upstream: str, session: ClientSession) -> None:
        self.lose_request: set[str] = set()
        self.lose_answer: set[str] = set()
        self.errors: dict[str, list[str]] = defaultdict(list)
        self.statuses: dict[str, list[int]] = defaultdict(list)
        self.falsify: dict[str, Falsify] = {}
        self.swallow: set[str] = set()
        self.hang: set[str] = set()
        self.bodies: dict[str, bytes] = {}
        self.frozen_at: int | None = None
        self.is_dead = False
        self.seen: list[str] = []
        self.broadcasts: list[bytes] = []
        self._upstream = upstream
        self._session = session

    async def handle(self, request: web.Request) -> web.Response:
        call = await request.json()
        method = call["method"]
        self.seen.append(method)
        if method == "eth_sendRawTransaction":
            self.broadcasts.append(bytes.fromhex(call["params"][0][2:]))
        assert request.transport is not None
        if method in self.lose_request or self.is_dead:
            request.transport.close()
            return web.Response()
        if method in self.hang:
            await asyncio.Event().wait()
        if method in self.bodies:
            return web.Response(body=self.bodies[method])
        if method in self.swallow:
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": "0x" + "00" * 32})
        if self.statuses[method]:
            return web.Response(status=self.statuses[method].pop(0))
        if self.errors[method]:
            error = {"code": -32000, "message": self.errors[method].pop(0)}
            return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})
        if self.frozen_at is not None:
            if method == "eth_blockNumber":
                return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": hex(self.frozen_at)})
            call["params"] = [hex(self.frozen_at) if value in TAGS else value for value in call["params"]]
        async with self._session.post(self._upstream, json=call) as response:
            answer = await response.json()
        if method in self.lose_answer:
            request.transport.close()
        if method in self.falsify and "result" in answer:
            answer["result"] = self.falsify[method](answer["result"])
        return web.json_response(answer)


@asynccontextmanager
async def faulty(upstream: str) -> AsyncIterator[tuple[FaultProxy, str]]:
    """The proxy and its URL."""
    async with ClientSession() as session:
        proxy = FaultProxy(upstream, session)
        async with serving(proxy.handle) as url:
            yield proxy, url
