"""The control socket of a daemon: who may open the file may give orders, and nobody else can.

Rule kept: the socket is there with mode 0600 from its first moment, one that a dead daemon left is replaced, and one
that somebody answers on is not. Errors leave as `{"error": "one line"}`: 400 for what the caller can mend, 503 for what
may pass, 500 for the rest.
"""

import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web

from validator.control.operations import Operations
from validator.errors import BadInput, TouchstoneError, Transient
from validator.requests.dataset_store import MAX_DATASET_BYTES
from validator.requests.desk import Desk
from validator.requests.orders import decode_request
from validator.requests.quotes import decode_wish, encode_quote
from validator.types import Hash32, TaskId

MAX_JSON_BYTES = 1 << 18
PRIVATE_UMASK = 0o177


@asynccontextmanager
async def serve_control(path: Path, desk: Desk, operations: Operations) -> AsyncIterator[None]:
    """Serve while the context lasts; BadInput if the socket cannot be had."""
    runner = web.AppRunner(_make_app(desk, operations), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    opened = open_private_socket(path)
    try:
        await web.SockSite(runner, opened).start()
        yield
    finally:
        _remove(path)
        await runner.cleanup()
        opened.close()


def open_private_socket(path: Path) -> socket.socket:
    """A listening socket that only this user can connect to; BadInput if somebody answers there, or it cannot be."""
    try:
        if path.is_socket():
            _remove_stale(path)
        opened = socket.socket(socket.AF_UNIX)
        # At the moment of `bind`: a mode that is changed afterwards leaves a gap.
        before = os.umask(PRIVATE_UMASK)
        try:
            opened.bind(str(path))
        finally:
            os.umask(before)
        opened.listen()
        opened.setblocking(False)
    except OSError as error:
        hint = ": choose a shorter state directory" if "too long" in str(error) else ""
        raise BadInput(f"cannot open the control socket {path}: {error.strerror or error}{hint}") from error
    return opened


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError as error:
            if error.errno != errno.ECONNREFUSED:
                raise
            path.unlink()
            return
    raise BadInput(f"a validator is running already: it answers at {path}")


def _make_app(desk: Desk, operations: Operations) -> web.Application:
    routes = _Routes(desk, operations)
    app = web.Application(middlewares=[_explain_errors], client_max_size=MAX_JSON_BYTES)
    app.add_routes(
        [
            web.get("/v1/status", routes.status),
            web.post("/v1/quotes", routes.quote),
            web.post("/v1/requests", routes.submit),
            web.get("/v1/requests", routes.list),
            web.get("/v1/requests/{id}", routes.show),
            web.post("/v1/requests/{id}/cancel", routes.cancel),
            web.get("/v1/requests/{id}/model/{file}", routes.model_file),
            web.get("/v1/tasks/{id}/story", routes.story),
        ]
    )
    return app


@web.middleware
async def _explain_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _refusal(error.status, error.reason)
    except TouchstoneError as error:
        status = 400 if isinstance(error, BadInput) else 503 if isinstance(error, Transient) else 500
        return _refusal(status, str(error))


def _refusal(status: int, reason: str) -> web.Response:
    return web.json_response({"error": " ".join(reason.split())}, status=status)


class _Routes:
    def __init__(self, desk: Desk, operations: Operations) -> None:
        self._desk = desk
        self._operations = operations

    async def status(self, _request: web.Request) -> web.Response:
        requests = await self._desk.requests()
        return _answer(await self._operations.status() | {"requests": requests})

    async def quote(self, request: web.Request) -> web.Response:
        quote = await self._desk.quote(decode_wish(await request.read()))
        return web.Response(body=encode_quote(quote), content_type="application/json")

    async def submit(self, request: web.Request) -> web.Response:
        if not request.content_type.startswith("multipart/"):
            raise BadInput("a request is multipart: the parts request and data")
        parts = await request.multipart()
        wanted = decode_request(await _read_part(await parts.next(), "request", MAX_JSON_BYTES))
        data = await _read_part(await parts.next(), "data", MAX_DATASET_BYTES)
        return _answer(await self._desk.submit(wanted, data))

    async def list(self, _request: web.Request) -> web.Response:
        return _answer(await self._desk.requests())

    async def show(self, request: web.Request) -> web.Response:
        return _answer(await self._desk.show(_id(request)))

    async def cancel(self, request: web.Request) -> web.Response:
        return _answer(await self._desk.cancel(_id(request)))

    async def model_file(self, request: web.Request) -> web.StreamResponse:
        return web.FileResponse(self._desk.model_file(_id(request), request.match_info["file"]))

    async def story(self, request: web.Request) -> web.Response:
        return _answer(self._operations.story(TaskId(_id(request))))


async def _read_part(part: Any, name: str, max_bytes: int) -> bytes:
    if not isinstance(part, BodyPartReader) or part.name != name:
        raise BadInput(f"the part {name} of the request is missing")
    body = bytearray()
    while chunk := await part.read_chunk(1 << 16):
        body += chunk
        if len(body) > max_bytes:
            raise BadInput(f"the {name} of the request has more than {max_bytes} bytes, which is the most: split it")
    return bytes(body)


def _id(request: web.Request) -> Hash32:
    text = request.match_info["id"]
    try:
        parsed = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        parsed = b""
    if len(parsed) != 32:
        raise BadInput(f"{text!r} is no id: 0x and 64 hex digits")
    return Hash32(parsed)


def _answer(value: Any) -> web.Response:
    return web.json_response(value, dumps=lambda body: json.dumps(body, ensure_ascii=False))
