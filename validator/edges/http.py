"""The only importer of aiohttp's client: requests to strangers, with every size and time bounded.

Rule kept: a transport failure is Transient and never evidence, for whoever failed has not proved to be the miner; an
answer over the registered TLS key that breaks the protocol is a MinerFault.
Nothing of the environment leaks in or out: no proxies, no cookies, no redirects, no compression (N2-N4, N9, N10).
A name is resolved for each connection, all its addresses are judged, and only what was judged is connected to (N6).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from validator.config import Profile
from validator.edges.connections import Endpoint, JudgedResolver, Lookup, WireMeter
from validator.edges.exchanges import Exchange, Exchanges, Limits
from validator.edges.miner_url import parse_endpoint
from validator.edges.tls_pin import make_pinned_context
from validator.errors import MinerFault, Transient
from validator.files import PartialFile
from validator.protocol.wire import strict_json
from validator.types import Hash32

MAX_ANSWER_BYTES = 64 * 1024
"""Of any answer: the largest that the protocol knows, a transcript's, has a tenth of it."""
MAX_HEADERS, MAX_HEADER_BYTES = 32, 8 * 1024
MAX_WIRE_BYTES = 256 * 1024
"""Of one exchange, with certificate, headers and framing: nothing but this bounds what is no answer at all."""
MAX_REASON_LENGTH = 200
UPLOAD_CHUNK_BYTES = 1 << 16
FILE_CHUNK_BYTES = 1 << 18
BUFFER_BYTES = 1 << 20
"""What may have come of a file and not be looked at yet: too much of it is then found by us, not by the meter."""

RETRY_STATUS = {401, 408, 429, 500, 502, 503, 504}
"""401 among them: a session that was renewed while the request was on its way is refused, and the next one is not."""


class HttpClient:
    """An async context manager around the sessions with all miners; `lookup` replaces the system's resolver."""

    def __init__(self, profile: Profile, *, limits: Limits | None = None, lookup: Lookup | None = None) -> None:
        self._profile = profile
        self._limits = limits or Limits()
        self._lookup = lookup or self._ask_system
        self._sessions: list[MinerSession] = []

    async def __aenter__(self) -> Self:
        self._exchanges = Exchanges(self._limits)
        # Not the loop's own few threads: name servers that never answer would take them all.
        self._resolver_threads = ThreadPoolExecutor(self._limits.exchanges, thread_name_prefix="resolver")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions:
            await session.aclose()
        self._resolver_threads.shutdown(wait=False, cancel_futures=True)

    def open_session(self, url: str, tls_key_hash: Hash32) -> "MinerSession":
        """A session with the miner that registered these; MinerFault if nobody can or may go there."""
        return self._open(parse_endpoint(url, tls_key_hash, self._profile))

    def open_own(self, url: str) -> "MinerSession":
        """A session with a server of the operator's own, wherever that is; its limits are those of a stranger."""
        return self._open(_OwnEndpoint(url.rstrip("/")))

    def _open(self, endpoint: Endpoint) -> "MinerSession":
        session = MinerSession(endpoint, self._exchanges, self._lookup)
        self._sessions.append(session)
        return session

    async def _ask_system(self, host: str) -> list[str]:
        def ask() -> list[str]:
            # The dot ends the name: no search domain of this machine's network is put behind it.
            found = socket.getaddrinfo(f"{host}.", None, type=socket.SOCK_STREAM)
            return [str(address[0]) for *_, address in found]

        return await asyncio.get_running_loop().run_in_executor(self._resolver_threads, ask)


@dataclass(frozen=True, slots=True)
class _OwnEndpoint:
    url: str
    tls_key_hash: Hash32 | None = None

    def admits(self, _address: str) -> bool:
        return True


class MinerSession:
    """The connections to one miner. Nothing is shared with any other: no cookie, no address, no TLS session (N10)."""

    def __init__(self, endpoint: Endpoint, exchanges: Exchanges, lookup: Lookup) -> None:
        self._exchanges = exchanges
        limits = exchanges.limits
        self._base_url = endpoint.url
        self._turns = asyncio.Semaphore(limits.exchanges_per_miner)
        self._resolver = JudgedResolver(endpoint, lookup)
        self._wire = WireMeter()
        self._connections = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect_s, sock_read=limits.read_s),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            trust_env=False,
            max_headers=MAX_HEADERS,
            max_field_size=MAX_HEADER_BYTES,
            max_line_size=MAX_HEADER_BYTES,
            connector=aiohttp.TCPConnector(
                limit=limits.exchanges_per_miner,
                resolver=self._resolver,
                socket_factory=self._wire.make_socket,
                use_dns_cache=False,
                ssl=True if endpoint.tls_key_hash is None else make_pinned_context(endpoint.tls_key_hash),
            ),
        )

    async def aclose(self) -> None:
        await self._connections.close()
        await self._resolver.close()

    async def request_json(
        self,
        method: str,
        path: str,
        *,
        token: str,
        json: Any = None,
        form: dict[str, Any] | None = None,
    ) -> Any:
        """One exchange; the answer's JSON. Transient if it may work later, MinerFault if the answer is not allowed.

        `form` maps field names to text, or to (file name, bytes) for an uploaded file.
        """
        headers, body = await self._request(method, path, token=token, json=json, form=form)
        try:
            return strict_json(body)
        except ValueError as error:
            # Where only the end of the connection ends an answer, anybody on the way can have cut it short.
            kind = MinerFault if _is_framed(headers) else Transient
            raise kind(f"{method} {self._base_url}{path}: the answer is {error}") from error

    async def request(self, method: str, path: str, *, token: str, json: Any = None) -> None:
        """One exchange of which only the status counts."""
        await self._request(method, path, token=token, json=json)

    async def _request(self, method: str, path: str, **more: Any) -> tuple[Mapping[str, str], bytes]:
        status, headers, body = await self._exchange(method, path, _to_memory, **more)
        if not 200 <= status < 300:
            raise MinerFault(f"{method} {self._base_url}{path}: HTTP {status}: {read_error_message(body)}")
        return headers, body

    async def download(self, path: str, into: PartialFile, *, token: str, cap_bytes: int) -> None:
        """Go on where `into` ends, or from the start where the miner does not; Transient if the end is not reached.

        DiskFull if there is no space for `cap_bytes`; MinerFault if more than that comes, or no file.
        """

        async def receive(response: aiohttp.ClientResponse, exchange: Exchange) -> bytes:
            if response.status not in (200, 206):
                return await _to_memory(response, exchange)
            if not _is_framed(response.headers):
                raise MinerFault("a file whose end only the connection tells is not accepted")
            _check_encoding(response)
            if response.status == 200:
                into.restart()
            elif response.headers.get("Content-Range", "").partition("-")[0] != f"bytes {into.size_bytes}":
                raise MinerFault("the miner sent another part of the file than the one that was asked for")
            if into.size_bytes + (response.content_length or 0) > cap_bytes:
                raise MinerFault(f"the file is longer than {cap_bytes} bytes")
            async for chunk in response.content.iter_chunked(FILE_CHUNK_BYTES):
                exchange.moved(len(chunk))
                if into.size_bytes + len(chunk) > cap_bytes:
                    raise MinerFault(f"the file is longer than {cap_bytes} bytes")
                await into.append(chunk)
            return b""

        into.check_space(cap_bytes)
        ranges = {"Range": f"bytes={into.size_bytes}-"} if into.size_bytes else {}
        status, _headers, body = await self._exchange(
            "GET", path, receive, token=token, headers=ranges, wire_bytes=cap_bytes + cap_bytes // 16 + BUFFER_BYTES
        )
        if status == 416:
            into.restart()
            raise Transient(f"GET {self._base_url}{path}: what is there is not the beginning of the miner's file")
        if status not in (200, 206):
            raise MinerFault(f"GET {self._base_url}{path}: HTTP {status}: {read_error_message(body)}")

    async def _exchange(
        self,
        method: str,
        path: str,
        receive: Callable[[aiohttp.ClientResponse, Exchange], Awaitable[bytes]],
        *,
        token: str,
        json: Any = None,
        form: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        wire_bytes: int = 0,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers, and what `receive` makes of the body; `wire_bytes` come on top of an answer's."""
        url = self._base_url + path
        try:
            async with self._turns, self._exchanges.begin(self) as exchange:
                with self._wire.allowing(MAX_WIRE_BYTES + wire_bytes):
                    data = None if form is None else _multipart(form, exchange)
                    async with self._connections.request(
                        method,
                        url,
                        json=json,
                        data=data,
                        headers={"Authorization": f"Bearer {token}"} | (headers or {}),
                        allow_redirects=False,
                    ) as response:
                        if response.status in RETRY_STATUS:
                            raise Transient(f"HTTP {response.status}")
                        return response.status, response.headers, await receive(response, exchange)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"{method} {url}: {quote_stranger(str(error)) or type(error).__name__}") from error
        except (Transient, MinerFault) as error:
            raise type(error)(f"{method} {url}: {error}") from error


class _Upload(aiohttp.BytesPayload):
    """A file's bytes that report how far they have got."""

    def __init__(self, content: bytes, exchange: Exchange) -> None:
        super().__init__(content, content_type="application/octet-stream")
        self._exchange = exchange

    async def write(self, writer: AbstractStreamWriter) -> None:
        content = memoryview(self._value)
        for start in range(0, len(content), UPLOAD_CHUNK_BYTES):
            chunk = content[start : start + UPLOAD_CHUNK_BYTES]
            await writer.write(chunk)
            self._exchange.moved(len(chunk))


def _multipart(form: dict[str, Any], exchange: Exchange) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in form.items():
        if isinstance(value, tuple):
            file_name, content = value
            data.add_field(name, _Upload(content, exchange), filename=file_name)
        else:
            data.add_field(name, value)
    return data


def _check_encoding(response: aiohttp.ClientResponse) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise MinerFault("compressed answers are not accepted")


def _is_framed(headers: Mapping[str, str]) -> bool:
    return "Content-Length" in headers or "Transfer-Encoding" in headers


async def _to_memory(response: aiohttp.ClientResponse, exchange: Exchange) -> bytes:
    _check_encoding(response)
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        exchange.moved(len(chunk))
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise MinerFault(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def read_error_message(body: bytes) -> str:
    """The message of an OpenAI-style error body, in whichever of the two usual shapes it comes."""
    try:
        value = strict_json(body)
    except ValueError:
        return quote_stranger(body[:MAX_REASON_LENGTH].decode(errors="replace"))
    inner = value.get("error", value) if isinstance(value, dict) else value
    return quote_stranger(str(inner.get("message", inner) if isinstance(inner, dict) else inner))


def quote_stranger(text: str) -> str:
    """A stranger's own words, short, on one line and printable: they go into journals and to terminals."""
    line = " ".join(text[: 2 * MAX_REASON_LENGTH].split())[:MAX_REASON_LENGTH]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
