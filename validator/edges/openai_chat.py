"""A provider of fine-tuned models, as any of its customers meets it: chat completions over OpenAI's wire.

Rules kept: what may pass (a lost connection, a rate limit, a busy server, an answer cut short) is Transient and never
an answer; what will not (a wrong key, no such model) is BadInput, for whoever named it can mend it. The key goes to the
named server alone: no redirects, no cookies, no proxies, nothing of the environment (N2-N4, N9, N10).
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar

from validator.edges.http import quote_stranger, read_error_message
from validator.errors import BadInput, Transient
from validator.protocol.state import Answer
from validator.protocol.wire import build_probe, strict_json

CHAT = "/chat/completions"
MAX_ANSWER_BYTES = 1 << 20
"""Of any answer: a reply of a few dozen tokens, with whatever a provider puts beside it."""
LONGEST_WAIT_S = 120.0
"""Of what a server may ask us to wait, as in OpenAI's own client."""
MAY_PASS = frozenset({408, 409, 425, 429})
NEWER_LIMIT = "max_completion_tokens"
"""What newer models of OpenAI call `max_tokens`, which they refuse."""


class Busy(Transient):
    """The server wants to be asked later; `wait_s` is what it said, or None."""

    def __init__(self, message: str, wait_s: float | None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class OpenAIServer:
    """An async context manager around the connections to one server; `base_url` usually ends in /v1."""

    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float = 120.0) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise BadInput(f"{base_url!r} is no base URL: it looks like https://host/v1")
        self._base_url = base_url.rstrip("/")
        self._headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._timeout = ClientTimeout(total=timeout_s, sock_connect=15)

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            timeout=self._timeout,
            cookie_jar=DummyCookieJar(),
            headers=self._headers,
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, body: Any = None) -> bytes:
        """The content of a good answer; Transient if it may come later, BadInput if it never will."""
        url = self._base_url + path
        try:
            async with self._session.request(method, url, json=body, allow_redirects=False) as response:
                status, headers, content = response.status, response.headers, await _read(response)
        except (ClientError, TimeoutError, OSError) as error:
            raise Transient(f"{url}: {quote_stranger(str(error)) or type(error).__name__}") from error
        if status == 200:
            return content
        reason = f"{url}: HTTP {status}: {read_error_message(content)}"
        if status in MAY_PASS or status >= 500:
            raise Busy(reason, _read_wait_s(headers))
        raise BadInput(reason)


class ChatProvider(OpenAIServer):
    """A provider's chat completions."""

    _limit_name = "max_tokens"

    async def answer(self, model: str, prompt: str, max_tokens: int) -> Answer:
        """One complete reply at temperature 0; Transient if it may come later, BadInput if it never will."""
        body, limit_name = build_probe(model, prompt, max_tokens), self._limit_name
        body[limit_name] = body.pop("max_tokens")
        try:
            content = await self.request("POST", CHAT, body)
        except BadInput as error:
            if NEWER_LIMIT not in str(error) or limit_name == NEWER_LIMIT:
                raise
            self._limit_name = NEWER_LIMIT
            return await self.answer(model, prompt, max_tokens)
        try:
            return _parse(strict_json(content))
        except ValueError as error:
            raise Transient(f"{self._base_url}{CHAT}: {error}") from error


def decide_wait_s(error: Exception) -> bool | float:
    """For `stamina`, how long to wait after an error: as long as the server said, if it did; False to give up."""
    if isinstance(error, Busy) and error.wait_s is not None:
        return error.wait_s
    return isinstance(error, Transient)


async def _read(response: ClientResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ClientError("compressed answers were not asked for")
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise ClientError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _parse(body: Any) -> Answer:
    """Text and whether the token limit cut it; ValueError if it is no completion.

    The model's name is not compared, since providers answer with the version behind it; nor are the words for an end,
    of which every server has its own. What a filter withheld is an answer too: an empty one.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict) or not isinstance(choice, dict):
        raise ValueError("the answer is no chat completion")
    text = message.get("content")
    if text is not None and not isinstance(text, str):
        raise ValueError("the answer's content is no text")
    return Answer(text or "", choice.get("finish_reason") == "length")


def _read_wait_s(headers: Mapping[str, str]) -> float | None:
    """What `retry-after-ms` or `retry-after` asks for, in seconds; None without one, or with a date."""
    for name, unit_s in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return min(max(0.0, float(headers[name]) * unit_s), LONGEST_WAIT_S)
        except (KeyError, ValueError):
            continue
    return None
