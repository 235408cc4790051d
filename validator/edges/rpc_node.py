"""One EVM node behind a JSON-RPC URL: requests with every size and time bounded, and how the node has behaved lately.

Rules kept: every foreign exception ends here as ChainUnreachable, Transient, NodeFault, Fatal or Reverted; a request is
sent once, so that no transaction is ever sent twice unseen; a URL, which may hold an access key, is never printed
beyond its host. No name is resolved and no link followed because an answer says so (R4), nothing of the environment
leaks in, and an answer is measured before it is parsed (R6). So it is a web3 provider with a transport of its own:
web3's HTTP provider reads answers of any size.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import structlog
from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    TraceConfig,
)
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from validator.errors import BadInput, ChainUnreachable, Fatal, NodeFault, Reverted, Transient, WithoutReason
from validator.protocol.wire import strict_json
from validator.telemetry import RPC_NODE_HEALTHY, RPC_REQUESTS, RPC_SECONDS

T = TypeVar("T")

REQUEST_TIMEOUT = ClientTimeout(total=30, sock_connect=5, sock_read=15)
MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Parsing more would hold the loop up; the logs of one range of blocks have a tenth of it."""
FIRST_REST_S, LONGEST_REST_S = 0.125, 15.0
"""How long a node is left alone after a failure, and after many; drawn between half of it and all of it (R5)."""

READ_METHODS = frozenset(
    {
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_estimateGas",
        "eth_getBalance",
        "eth_getBlockByNumber",
        "eth_getCode",
        "eth_getLogs",
        "eth_getTransactionByHash",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
    }
)
"""What may be asked again, and elsewhere. `eth_sendRawTransaction` may not: its first answer is the true one."""

RATE_LIMITED_STATUS = 429
EXECUTION_REVERTED = 3
LIMIT_EXCEEDED, RESOURCE_UNAVAILABLE, INTERNAL_ERROR = -32005, -32002, -32603
"""JSON-RPC error codes: geth's for reverts, EIP-1474 for those that may pass."""
PASSING_WORDS = ("header not found", "missing trie node", "unknown block", "block not found", "beyond current head")
"""Of a node behind a load balancer that has not heard of what another has told us, under whatever code."""

NO_REASON = "no reason given"
ERROR_SELECTOR = bytes.fromhex("08c379a0")
PANIC_SELECTOR = bytes.fromhex("4e487b71")
"""Of `Error(string)` and `Panic(uint256)`, the two standard revert payloads."""

log = structlog.get_logger(__name__)


class AnswerTooLarge(NodeFault):
    """More than MAX_ANSWER_BYTES: ask for less at once."""


class Node(AsyncJSONBaseProvider):
    """One node. `label` is its place in the configuration, for metrics; times are the loop's."""

    global_ccip_read_enabled = False

    def __init__(self, url: str, label: str) -> None:
        super().__init__()
        self.name = describe_url(url)
        self.label = label
        self.chain_id: int | None = None
        self.head_number = -1
        self.head_moved_at_s = asyncio.get_running_loop().time()
        self.is_out_of_sync = False
        self.rests_until_s = 0.0
        self._url = url
        self._failures = 0
        self._failed_at_s = 0.0
        self._is_checked = False
        tracing = TraceConfig()
        tracing.on_connection_create_end.append(self._doubt)
        self._session = ClientSession(
            timeout=REQUEST_TIMEOUT,
            cookie_jar=DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
            trace_configs=[tracing],
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()

    @property
    def is_healthy(self) -> bool:
        return self._failures == 0 and not self.is_out_of_sync

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """What web3 asks of its providers, once and within all limits; errors of the node are in the response."""
        return cast(RPCResponse, await self._minding(lambda: self._exchange(method, params)))

    async def introduce(self) -> int:
        """Ask the node for its chain id, which it must keep from now on; BadInput if it is no Ethereum node."""
        try:
            self.chain_id = await self._ask(read_int, "eth_chainId", ())
        except (Fatal, NodeFault):
            raise BadInput(f"what answers at {self.name} is not an Ethereum node") from None
        self._is_checked = True
        return self.chain_id

    async def ask(self, parse: Callable[[Any], T], method: str, *params: Any) -> T:
        """One JSON-RPC request and its result as `parse` reads it."""
        return await self._minding(lambda: self._ask(parse, method, params))

    async def broadcast(self, raw: bytes) -> str | None:
        """Hand signed bytes to the node: None if it took them, else its own words."""

        async def send() -> str | None:
            match await self._exchange("eth_sendRawTransaction", (write_hex(raw),)):
                case {"error": {"message": str(message)}}:
                    return message
                case {"result": _}:
                    return None
            raise NodeFault(f"{self.name} does not speak JSON-RPC")

        return await self._minding(send)

    def note_head(self, number: int) -> None:
        """The node's newest block."""
        if number > self.head_number:
            self.head_number = number
            self.head_moved_at_s = asyncio.get_running_loop().time()

    async def _minding(self, request: Callable[[], Awaitable[T]]) -> T:
        """Keep account of how the node behaves; a failure counts once for all requests that it met."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            answer = await request()
            await self._check_chain_id()
        except Transient:
            self._is_checked = False
            if began_s >= self._failed_at_s:
                rest_s = min(FIRST_REST_S * 2**self._failures, LONGEST_REST_S)
                self._failures += 1
                self._failed_at_s = loop.time()
                self.rests_until_s = loop.time() + random.uniform(0.5, 1) * rest_s
            self._measure()
            raise
        except Fatal:
            self._failures = 0  # It answers, and what it says is another matter.
            self._measure()
            raise
        self._failures, self.rests_until_s = 0, 0.0
        self._measure()
        return answer

    async def _doubt(self, *_: Any) -> None:
        """Who answers a new connection may be somebody else (R3)."""
        self._is_checked = False

    async def _check_chain_id(self) -> None:
        if self._is_checked:
            return
        found = await self._ask(read_int, "eth_chainId", ())
        if self.chain_id is None:
            self.chain_id = found
        if found != self.chain_id:
            log.error("a node is on another chain", node=self.name, chain_id=found, expected=self.chain_id)
            raise NodeFault(f"{self.name} is on chain {found} now, and not on {self.chain_id}")
        self._is_checked = True

    def _measure(self) -> None:
        RPC_NODE_HEALTHY.labels(self.label).set(self.is_healthy)

    async def _ask(self, parse: Callable[[Any], T], method: str, params: tuple[Any, ...]) -> T:
        match await self._exchange(method, params):
            case {"error": {"code": int(code), "message": str(message)} as error_object}:
                raise self._translate(code, message, error_object.get("data"))
            case {"result": result}:
                try:
                    return parse(result)
                except (AttributeError, KeyError, TypeError, ValueError) as error:
                    raise NodeFault(f"{self.name} gave a malformed answer to {method}") from error
        raise NodeFault(f"{self.name} does not speak JSON-RPC")

    async def _exchange(self, method: str, params: tuple[Any, ...]) -> Mapping[str, Any]:
        known = method if method in READ_METHODS or method == "eth_sendRawTransaction" else "other"
        outcome = "cancelled"
        try:
            with RPC_SECONDS.labels(self.label).time():
                answer = await self._post(cast(Mapping[str, Any], self.form_request(RPCEndpoint(method), params)))
            outcome = "error" if "error" in answer else "answered"
            return answer
        except Transient as error:
            outcome = _OUTCOMES.get(type(error), "busy")
            raise
        finally:
            RPC_REQUESTS.labels(self.label, known, outcome).inc()

    async def _post(self, call: Mapping[str, Any]) -> Mapping[str, Any]:
        # `from None`: aiohttp's messages quote the whole URL, and with it a provider's access key.
        try:
            async with self._session.post(self._url, json=call, allow_redirects=False) as response:
                if response.status == RATE_LIMITED_STATUS or response.status >= 500:
                    raise Transient(f"{self.name} is busy: HTTP status {response.status}")
                if response.status != 200:
                    raise NodeFault(f"{self.name} refuses requests: HTTP status {response.status}")
                body = await self._read_bounded(response)
        except InvalidURL:
            raise BadInput("the chain URL has no valid host or port") from None
        except (ClientError, TimeoutError, OSError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ChainUnreachable(f"no answer from {self.name}: {reason}") from None
        try:
            answer = strict_json(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise NodeFault(f"{self.name} does not speak JSON-RPC")
        return answer

    async def _read_bounded(self, response: ClientResponse) -> bytes:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise NodeFault(f"{self.name} compresses its answers although it was asked not to")
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise AnswerTooLarge(f"an answer of {self.name} is longer than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)

    def _translate(self, code: int, message: str, data: Any) -> Fatal | Transient:
        # geth gives a revert without data the general code -32000, so there its fixed message must do.
        if code == EXECUTION_REVERTED or message == "execution reverted":
            return _reverted(data)
        text = f"{self.name}: {message} (JSON-RPC error {code})"
        is_passing = code in (LIMIT_EXCEEDED, RESOURCE_UNAVAILABLE, INTERNAL_ERROR) or any(
            words in message.lower() for words in PASSING_WORDS
        )
        return Transient(text) if is_passing else Fatal(text)


_OUTCOMES: dict[type[Transient], str] = {
    ChainUnreachable: "unreachable",
    NodeFault: "nonsense",
    AnswerTooLarge: "nonsense",
}


def describe_url(url: str) -> str:
    """The URL without path, query and user: what may be shown. BadInput if it is no HTTP URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadInput("the chain URL has no valid host or port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput("the URL of a chain looks like http://127.0.0.1:8545 or https://host/path")
    return f"{parts.scheme}://{parts.hostname}" + (f":{port}" if port else "")


def _reverted(data: Any) -> Reverted:
    try:
        payload = read_bytes(data)
        if payload.startswith(ERROR_SELECTOR):
            return Reverted(str(abi_decode(["string"], payload[4:])[0]))
        if payload.startswith(PANIC_SELECTOR):
            return Reverted(f"panic {abi_decode(['uint256'], payload[4:])[0]:#04x}")
    except (AttributeError, DecodingError, TypeError, ValueError):
        pass
    return Reverted(f"revert data {data}") if data and data != "0x" else WithoutReason(NO_REASON)


def write_hex(data: bytes) -> str:
    return "0x" + data.hex()


def read_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def read_int(text: str) -> int:
    """A JSON-RPC quantity; ValueError beyond 256 bits."""
    if len(text) > 66:
        raise ValueError("a number of more than 256 bits")
    return int(text, 16)
