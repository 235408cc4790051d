"""The routes of the web listener, and how long a stranger may take to read an answer.

Rule kept: everything here is read-only and public; what is secret until a settlement is not in reach of any route.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from validator.door import open_door, serving
from validator.evidence.fields import to_hex
from validator.evidence.store import BundleStore
from validator.health.progress import Health, Progress
from validator.types import Hash32

PAGE_HASHES = 1000
HASH = "0x[0-9a-f]{64}"
ANSWER_SECONDS = 120.0
"""To make an answer and have it read: the largest bundle at half a megabyte a second. Who is slower asks for ranges."""
FOR_EVER = "public, max-age=31536000, immutable"
NOT_AT_ALL = "no-store"


def make_app(
    progress: Progress, bundles: BundleStore | None, registry: CollectorRegistry = REGISTRY
) -> web.Application:
    """`/healthz`, `/readyz`, `/metrics`, `/bundles/`, `/bundles/0x<hash>`; GET and HEAD, and nothing else.

    Without `bundles` there are no routes for them.
    """

    async def healthz(_request: web.Request) -> web.Response:
        return _health(progress.alive())

    async def readyz(_request: web.Request) -> web.Response:
        return _health(progress.ready())

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_bounded_answers])
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    if bundles is not None:
        app.add_routes(_bundle_routes(bundles))
    app.on_response_prepare.append(_set_headers)
    return app


def _bundle_routes(bundles: BundleStore) -> list[web.RouteDef]:
    async def list_bundles(request: web.Request) -> web.Response:
        after = request.query.get("after", "")
        hashes = [to_hex(each) for each in await asyncio.to_thread(bundles.hashes)]
        page = [each for each in hashes if each > after][: PAGE_HASHES + 1]
        following = page[PAGE_HASHES - 1] if len(page) > PAGE_HASHES else None
        return web.json_response({"bundles": page[:PAGE_HASHES], "next_after": following})

    async def bundle(request: web.Request) -> web.StreamResponse:
        path = bundles.path(Hash32(bytes.fromhex(request.match_info["hash"][2:])))
        if not path.is_file():
            raise web.HTTPNotFound(text="no such bundle\n")
        return _File(path, headers={"Content-Type": "application/json", "Cache-Control": FOR_EVER})

    return [web.get("/bundles/", list_bundles), web.get(f"/bundles/{{hash:{HASH}}}", bundle)]


@asynccontextmanager
async def serving_web(app: web.Application, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Serve until the context ends; where it listens. BadInput if nobody can listen there."""
    door = open_door(host, port, "http.listen")
    async with serving(app, door, None):
        yield door.getsockname()[:2]


def _health(health: Health) -> web.Response:
    return web.json_response(health.as_json(), status=200 if health.is_ok else 503)


@web.middleware
async def _bounded_answers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Send the answer from here, so that a reader who takes a byte a minute keeps its place for a bounded time (N1)."""
    response = await handler(request)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await response.prepare(request)
            await response.write_eof()
    except (TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()
    return response


class _File(web.FileResponse):
    """One that may be prepared twice, as other responses may: once by `_bounded_answers`, once by aiohttp."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return await web.StreamResponse.prepare(self, request) if self.prepared else await super().prepare(request)


async def _set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "touchstone"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", NOT_AT_ALL)
