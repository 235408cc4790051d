"""The daemon as the command line sees it: the routes of `server.py`, over the Unix socket.

Rule kept: a daemon that does not run, and everything that it refuses, is one line with the way out.
"""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from validator.errors import BadInput, Fatal, Transient
from validator.requests.orders import Request, encode_request
from validator.requests.quotes import Quote, Wish, decode_quote, encode_wish

ANSWER_TIMEOUT_S = 600.0
"""A large dataset is read, hashed and written before the daemon answers."""
CHUNK_BYTES = 1 << 16


class NoDaemon(BadInput):
    """Nobody answers at the socket."""


class ControlClient:
    """Use `connect`."""

    def __init__(self, session: aiohttp.ClientSession, path: Path) -> None:
        self._session = session
        self._path = path

    @classmethod
    @asynccontextmanager
    async def connect(cls, path: Path) -> AsyncIterator["ControlClient"]:
        """A client of the daemon behind this socket; it is not talked to yet."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=ANSWER_TIMEOUT_S)
        async with aiohttp.ClientSession(
            base_url="http://daemon/", connector=aiohttp.UnixConnector(str(path)), timeout=timeout
        ) as session:
            yield cls(session, path)

    async def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self._json("GET", "v1/status")
        return answer

    async def quote(self, wish: Wish) -> Quote:
        return decode_quote(await self._bytes("POST", "v1/quotes", data=encode_wish(wish)))

    async def submit(self, request: Request, data: bytes) -> dict[str, Any]:
        """Hand a request in with the canonical lines of its dataset."""
        form = aiohttp.FormData()
        form.add_field("request", encode_request(request).decode(), content_type="application/json")
        form.add_field("data", io.BytesIO(data), filename="data.jsonl", content_type="application/jsonl")
        answer: dict[str, Any] = await self._json("POST", "v1/requests", data=form)
        return answer

    async def requests(self) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = await self._json("GET", "v1/requests")
        return answer

    async def show(self, request_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self._json("GET", f"v1/requests/{request_id}")
        return answer

    async def cancel(self, request_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self._json("POST", f"v1/requests/{request_id}/cancel")
        return answer

    async def story(self, task_id: str) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = await self._json("GET", f"v1/tasks/{task_id}/story")
        return answer

    async def model_file(self, request_id: str, name: str) -> AsyncIterator[bytes]:
        """The bytes of one file of the paid model, chunk by chunk."""
        async with self._request("GET", f"v1/requests/{request_id}/model/{name}") as response:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                yield chunk

    async def _json(self, method: str, route: str, **options: Any) -> Any:
        async with self._request(method, route, **options) as response:
            return await response.json()

    async def _bytes(self, method: str, route: str, **options: Any) -> bytes:
        async with self._request(method, route, **options) as response:
            return await response.read()

    @asynccontextmanager
    async def _request(self, method: str, route: str, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, route, **options) as response:
                if response.status != 200:
                    raise await _read_refusal(response)
                yield response
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or type(error).__name__
            raise NoDaemon(
                f"no validator answers at {self._path} ({reason}): start it with `touchstone validator run`, or name "
                "its socket with --socket or its configuration with --config"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Transient(
                f"the validator at {self._path} stopped answering: {error or type(error).__name__}"
            ) from error


async def _read_refusal(response: aiohttp.ClientResponse) -> BadInput | Transient | Fatal:
    try:
        reason = str((await response.json())["error"])
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        reason = f"the validator answered with status {response.status}"
    kind = BadInput if response.status < 500 else Transient if response.status == 503 else Fatal
    return kind(reason)
