"""The only importer of aiohttp's client: requests to strangers, with every size and time bounded.

Rule kept: a transport failure is Transient and never evidence; an answer that breaks the protocol is a MinerFault.
Nothing of the environment leaks in or out: no proxies, no cookies, no redirects, no compression (N2-N4, N9, N10).
"""

from types import TracebackType
from typing import Any, Self

import aiohttp

from validator.errors import MinerFault, Transient
from validator.protocol.wire import strict_json

MAX_ANSWER_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
TOTAL_TIMEOUT_S = 120.0

RETRY_STATUS = {401, 408, 429, 500, 502, 503, 504}
"""401 among them: a session that was renewed while the request was on its way is refused, and the next one is not."""


class HttpClient:
    """An async context manager around one connection pool."""

    def __init__(self, *, total_timeout_s: float = TOTAL_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=total_timeout_s, connect=CONNECT_TIMEOUT_S, sock_read=read_timeout_s
        )

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            trust_env=False,
            connector=aiohttp.TCPConnector(limit=64, limit_per_host=4),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request_json(
        self, method: str, url: str, *, token: str, json: Any = None, form: dict[str, Any] | None = None
    ) -> Any:
        """One exchange; the answer's JSON. Transient if it may work later, MinerFault if the answer is not allowed.

        `form` maps field names to text, or to (file name, bytes) for an uploaded file.
        """
        data = _multipart(form) if form is not None else None
        headers = {"Authorization": f"Bearer {token}"}
        try:
            async with self._session.request(
                method, url, json=json, data=data, headers=headers, allow_redirects=False
            ) as response:
                body = await _read_bounded(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"{method} {url}: {str(error) or type(error).__name__}") from error
        if status in RETRY_STATUS:
            raise Transient(f"{method} {url}: HTTP {status}")
        if not 200 <= status < 300:
            raise MinerFault(f"{method} {url}: HTTP {status}: {_error_message(body)}")
        try:
            return strict_json(body)
        except ValueError as error:
            raise MinerFault(f"{method} {url}: the answer is {error}") from error


def _multipart(form: dict[str, Any]) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in form.items():
        if isinstance(value, tuple):
            file_name, content = value
            data.add_field(name, content, filename=file_name, content_type="application/octet-stream")
        else:
            data.add_field(name, value)
    return data


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise MinerFault(f"{response.url}: compressed answers are not accepted")
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise MinerFault(f"{response.url}: the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _error_message(body: bytes) -> str:
    """The message of an OpenAI-style error body, in whichever of the two usual shapes it comes."""
    try:
        value = strict_json(body)
    except ValueError:
        return body[:200].decode(errors="replace")
    inner = value.get("error", value) if isinstance(value, dict) else value
    return str(inner.get("message", inner) if isinstance(inner, dict) else inner)[:200]
