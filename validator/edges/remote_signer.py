"""A key that another program holds: a Signer over JSON-RPC.

Rules kept: nothing but whole transactions and EIP-712 structs leaves (H8), and nothing that comes back is believed: the
fields are those that were asked for and the signature is the address's, in the one form that nodes and the contract
take. A signer that is down or slow is Transient, so that what waits for it waits, with its nonce (H7); one that answers
anything else is Fatal. Its URL, which may hold a password, is never printed beyond the host.

Three dialects are spoken, tried in this order until one is known: Web3Signer's (`eth_signTransaction`,
`eth_signTypedData` with the struct as text), that of nodes and wallets (`eth_signTypedData_v4`), and clef's
(`account_signTransaction`, `account_signTypedData`).
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from validator.edges.keys import check_transaction, recover_typed_data
from validator.errors import BadInput, Fatal, Transient
from validator.protocol.typed_data import TypedData
from validator.protocol.wire import strict_json
from validator.types import Address

TIMEOUT_S = 15.0
"""Of one request: a signer in a vault takes a second, and a deadline of the chain is hours away."""
MAX_ANSWER_BYTES = 1 << 20
"""A transaction of the largest size that nodes pass on takes a quarter of it in hex."""
RETRY_STATUS = {408, 425, 429}
METHOD_NOT_FOUND, METHOD_NOT_SUPPORTED = -32601, -32004
LIMIT_EXCEEDED, RESOURCE_UNAVAILABLE, INTERNAL_ERROR = -32005, -32002, -32603
MAX_REASON_LENGTH = 200

TRANSACTION_METHODS = ("eth_signTransaction", "account_signTransaction")
TYPED_DATA_METHODS = ("eth_signTypedData", "eth_signTypedData_v4", "account_signTypedData")
TAKES_OBJECT = "account_signTypedData"

DOMAIN_TYPE = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


class _UnknownMethodError(Exception):
    """The signer speaks another dialect."""


class RemoteSigner:
    """The key of `address` behind `url`. Both methods may raise Transient and Fatal."""

    def __init__(self, url: str, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        """BadInput if `url` is none of HTTP."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput("the remote signer's URL must begin with http:// or https:// and name a host")
        self._address = address
        self._url = url
        self._signer = f"the signer at {parts.hostname}"
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._known: dict[tuple[str, ...], str] = {}

    @property
    def address(self) -> Address:
        return self._address

    def __repr__(self) -> str:
        return f"RemoteSigner({self.address}, {self._signer})"

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        fields = {
            name: hex(value) if isinstance(value, int) else value
            for name, value in transaction.items()
            if name not in ("type", "data") and value is not None
        }
        call = fields | {"from": self.address, "data": "0x" + bytes(transaction["data"]).hex()}
        result = await self._ask_in_turn(TRANSACTION_METHODS, lambda _: (call,))
        # geth and clef show the decoded transaction beside the bytes.
        raw = self._bytes(result.get("raw") if isinstance(result, dict) else result)
        try:
            check_transaction(raw, transaction, self.address)
        except ValueError as error:
            raise Fatal(f"{self._signer} signed something else than it was asked to: {error}") from None
        return raw

    async def sign_typed_data(self, domain: dict[str, Any], data: TypedData) -> bytes:
        [primary_type] = data.types
        struct = {
            "types": {"EIP712Domain": DOMAIN_TYPE} | data.types,
            "primaryType": primary_type,
            "domain": domain,
            "message": {name: _to_json(value) for name, value in data.message.items()},
        }
        text = json.dumps(struct)
        result = await self._ask_in_turn(
            TYPED_DATA_METHODS, lambda method: (self.address, struct if method == TAKES_OBJECT else text)
        )
        signature = self._bytes(result)
        if recover_typed_data(domain, data, signature) != self.address:
            raise Fatal(f"{self._signer} gave no valid signature of {self.address} over the {primary_type}")
        return signature

    async def _ask_in_turn(self, methods: tuple[str, ...], params: Any) -> Any:
        """The result of the first method that the signer knows, which is the only one asked from then on."""
        known = self._known.get(methods)
        for method in (known,) if known else methods:
            try:
                result = await self._ask(method, params(method))
            except _UnknownMethodError:
                continue
            self._known[methods] = method
            return result
        raise Fatal(f"{self._signer} knows none of {', '.join(methods)}: it cannot sign for a validator")

    async def _ask(self, method: str, params: tuple[Any, ...]) -> Any:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        status, body = await self._post(request)
        try:
            answer = strict_json(body)
        except ValueError as error:
            raise Fatal(f"{self._signer} does not speak JSON-RPC (HTTP status {status}): {error}") from None
        match answer:
            case {"error": {"code": int(code), "message": str(message)}}:
                if code in (METHOD_NOT_FOUND, METHOD_NOT_SUPPORTED) or message.lower().startswith("not implemented"):
                    raise _UnknownMethodError
                reason = "".join(c if c.isprintable() else " " for c in message[:MAX_REASON_LENGTH])
                is_passing = code in (LIMIT_EXCEEDED, RESOURCE_UNAVAILABLE, INTERNAL_ERROR)
                kind = Transient if is_passing else Fatal
                raise kind(f"{self._signer} refuses {method}: {reason} (JSON-RPC error {code})")
            case {"result": result}:
                return result
        raise Fatal(f"{self._signer} does not speak JSON-RPC (HTTP status {status})")

    async def _post(self, request: dict[str, Any]) -> tuple[int, bytes]:
        # `from None`: aiohttp's messages quote the whole URL.
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._connections().post(self._url, json=request, allow_redirects=False) as response,
            ):
                if response.status in RETRY_STATUS or response.status >= 500:
                    raise Transient(f"{self._signer} is busy: HTTP status {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise Fatal(f"{self._signer} gave an answer of more than {MAX_ANSWER_BYTES} bytes")
                return response.status, bytes(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise Transient(f"no answer from {self._signer}: {reason}") from None

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
                trust_env=False,
            )
        return self._session

    def _bytes(self, result: Any) -> bytes:
        try:
            return bytes.fromhex(result.removeprefix("0x"))
        except (AttributeError, TypeError, ValueError):
            raise Fatal(f"{self._signer} gave an answer that is no hex") from None


def _to_json(value: Any) -> Any:
    """Bytes in hex, and numbers as text: they may be larger than other programs' JSON numbers."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return str(value) if isinstance(value, int) else value
