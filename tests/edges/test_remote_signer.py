"""A key behind JSON-RPC: every dialect, and nothing believed that a hostile or broken signer says (H7, H8)."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from eth_account.messages import encode_typed_data

from tests.edges.loopback import Handler, always, always_json, serving, serving_bytes
from validator.edges.devnet import anvil_node
from validator.edges.keys import CURVE_ORDER, LocalSigner, SecretBytes, dev_mnemonic_signer, recover_typed_data
from validator.edges.remote_signer import MAX_ANSWER_BYTES, RemoteSigner
from validator.errors import BadInput, Fatal, TouchstoneError, Transient
from validator.protocol import typed_data
from validator.types import Address, UnixSeconds, Wei

KEY = dev_mnemonic_signer(0)
STRANGER = LocalSigner(SecretBytes(b"\1" * 32))
CONTRACT = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
DOMAIN = typed_data.domain(31337, CONTRACT)
SESSION = typed_data.session(KEY.address, STRANGER.address, 1_700_000_000_000_000, UnixSeconds(2_000_000_000))
ORDER = typed_data.order(
    typed_data.OrderMessage(
        KEY.address, Wei(2**96 - 1), Wei(1), b"\2" * 32, b"\3" * 32, 16, 9, 2**63, UnixSeconds(2_000_000_000)
    )
)
TRANSACTION: dict[str, Any] = {
    "type": 2,
    "chainId": 31337,
    "nonce": 7,
    "maxFeePerGas": 2 * 10**9,
    "maxPriorityFeePerGas": 10**9,
    "gas": 100_000,
    "value": 5,
    "data": b"\x12\x34\x56\x78" + bytes(32),
    "to": CONTRACT,
}
Act = Callable[[RemoteSigner], Awaitable[bytes]]


def sign_transaction(signer: RemoteSigner) -> Awaitable[bytes]:
    return signer.sign_transaction(TRANSACTION)


def sign_session(signer: RemoteSigner) -> Awaitable[bytes]:
    return signer.sign_typed_data(DOMAIN, SESSION)


BOTH = pytest.mark.parametrize("act", [sign_transaction, sign_session])


class SigningServer:
    """A real signer that says it has the key of `address`; `spoil` changes what it was asked to sign."""

    def __init__(
        self, dialect: str = "web3signer", key: LocalSigner = KEY, address: Address = KEY.address, **spoil: Any
    ) -> None:
        self.methods: list[str] = []
        self._dialect = dialect
        self._key = key
        self._address = address
        self._spoil = spoil

    async def handle(self, request: web.Request) -> web.Response:
        call = await request.json()
        self.methods.append(call["method"])
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": call["id"]}
        match self._dialect, call["method"], call["params"]:
            case "web3signer", "eth_signTransaction", [transaction]:
                answer["result"] = await self._transaction(transaction)
            case "web3signer", "eth_signTypedData", [address, str(text)] if address == self._address:
                answer["result"] = self._typed_data(json.loads(text))
            case "clef", "account_signTransaction", [transaction]:
                answer["result"] = {"raw": await self._transaction(transaction), "tx": {"nonce": transaction["nonce"]}}
            case "clef", "account_signTypedData", [address, {} as struct] if address == self._address:
                answer["result"] = self._typed_data(struct)
            case _:
                answer["error"] = {"code": -32601, "message": "the method does not exist"}
        return web.json_response(answer)

    async def _transaction(self, call: dict[str, Any]) -> str:
        assert call.pop("from") == self._address
        numbers = {name: int(value, 16) for name, value in call.items() if name not in ("to", "data")}
        transaction = {"type": 2, "to": call["to"], "data": bytes.fromhex(call["data"][2:])} | numbers | self._spoil
        return "0x" + (await self._key.sign_transaction(transaction)).hex()

    def _typed_data(self, struct: dict[str, Any]) -> str:
        signable = encode_typed_data(full_message=struct | {"message": struct["message"] | self._spoil})
        return "0x" + self._key._account.sign_message(signable).signature.hex()


async def signed(handler: Handler, act: Act) -> bytes:
    async with serving(handler) as url:
        return await signed_at(url, act)


async def signed_at(url: str, act: Act, timeout_s: float = 5.0) -> bytes:
    signer = RemoteSigner(url, KEY.address, timeout_s=timeout_s)
    try:
        return await act(signer)
    finally:
        await signer.aclose()


async def failing(handler: Handler, act: Act) -> TouchstoneError:
    with pytest.raises(TouchstoneError) as error:
        await signed(handler, act)
    return error.value


@pytest.mark.parametrize("dialect", ["web3signer", "clef"])
async def test_what_a_signer_signs_is_what_the_key_itself_would(dialect: str) -> None:
    assert await signed(SigningServer(dialect).handle, sign_transaction) == await KEY.sign_transaction(TRANSACTION)
    assert await signed(SigningServer(dialect).handle, sign_session) == await KEY.sign_typed_data(DOMAIN, SESSION)


async def test_anvil_is_a_signer_too() -> None:
    """A program that is not ours: amounts beyond 64 bits, an empty call, and a new contract arrive as they are."""
    async with anvil_node() as url:
        signer = RemoteSigner(url, KEY.address)
        try:
            for data in (SESSION, ORDER):
                assert await signer.sign_typed_data(DOMAIN, data) == await KEY.sign_typed_data(DOMAIN, data)
            for changes in ({}, {"data": b"", "value": 0, "nonce": 0}, {"to": None, "data": b"\x60"}):
                transaction = TRANSACTION | changes
                assert await signer.sign_transaction(transaction) == await KEY.sign_transaction(transaction)
        finally:
            await signer.aclose()


async def test_a_dialect_is_looked_for_once() -> None:
    server = SigningServer("clef")

    async def twice(signer: RemoteSigner) -> bytes:
        await sign_session(signer)
        return await sign_session(signer)

    await signed(server.handle, twice)
    looked_for = ["eth_signTypedData", "eth_signTypedData_v4", "account_signTypedData"]
    assert server.methods == [*looked_for, "account_signTypedData"]


@BOTH
async def test_only_typed_requests_leave(act: Act) -> None:
    """H8: no method that signs a bare hash or message is ever asked for."""
    server = SigningServer("none")
    error = await failing(server.handle, act)
    assert isinstance(error, Fatal)
    assert "knows none of" in str(error)
    known = {"Transaction": ["eth", "account"], "TypedData": ["eth", "eth", "account"]}
    assert {method.removesuffix("_v4") for method in server.methods} <= {
        f"{prefix}_sign{kind}" for kind, prefixes in known.items() for prefix in prefixes
    }


@BOTH
async def test_the_signature_of_another_key_is_fatal(act: Act) -> None:
    """H4."""
    error = await failing(SigningServer(key=STRANGER).handle, act)
    assert isinstance(error, Fatal)
    assert "signature" in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chainId", 1),
        ("nonce", 8),
        ("to", STRANGER.address),
        ("value", 6),
        ("data", b""),
        ("gas", 99_999),
        ("maxFeePerGas", 10**12),
        ("maxPriorityFeePerGas", 2 * 10**9),
    ],
)
async def test_a_transaction_with_another_field_is_fatal(name: str, value: object) -> None:
    error = await failing(SigningServer(**{name: value}).handle, sign_transaction)
    assert isinstance(error, Fatal)
    assert f"another {name} than was asked for" in str(error)


async def test_the_signature_over_another_struct_is_fatal() -> None:
    error = await failing(SigningServer(expiry=1).handle, sign_session)
    assert isinstance(error, Fatal)


def malleable(signature: bytes) -> bytes:
    s, v = int.from_bytes(signature[32:64], "big"), signature[64]
    return signature[:32] + (CURVE_ORDER - s).to_bytes(32, "big") + bytes([55 - v])


@pytest.mark.parametrize(
    "spoil",
    [malleable, lambda s: s[:64], lambda s: s + b"\0", lambda s: s[:64] + bytes([s[64] - 27]), lambda _: b""],
    ids=["high s", "64 bytes", "66 bytes", "v of 0 or 1", "nothing"],
)
async def test_a_second_encoding_of_the_right_signature_is_fatal(spoil: Callable[[bytes], bytes]) -> None:
    """W7."""
    signature = spoil(await KEY.sign_typed_data(DOMAIN, SESSION))
    error = await failing(always_json({"jsonrpc": "2.0", "id": 1, "result": "0x" + signature.hex()}), sign_session)
    assert isinstance(error, Fatal)
    assert recover_typed_data(DOMAIN, SESSION, signature) is None


@BOTH
@pytest.mark.parametrize(
    "body", [None, [], 7, {}, {"result": None}, {"result": 7}, {"result": "0xzz"}, {"result": {"tx": {}}}], ids=repr
)
async def test_garbage_is_fatal(act: Act, body: object) -> None:
    assert isinstance(await failing(always_json(body), act), Fatal)


@BOTH
@pytest.mark.parametrize("text", ["", "<html>", '{"result": 1, "result": 2}', "[" * 100_000, '{"result": 1e999}'])
async def test_what_is_no_strict_json_is_fatal(act: Act, text: str) -> None:
    """R6."""
    assert isinstance(await failing(always(text=text), act), Fatal)


@BOTH
async def test_an_endless_answer_is_cut_off(act: Act) -> None:
    """R6."""
    error = await failing(always(body=b"[" + b" " * (MAX_ANSWER_BYTES + 1)), act)
    assert isinstance(error, Fatal)
    assert f"more than {MAX_ANSWER_BYTES} bytes" in str(error)


@BOTH
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_a_busy_signer_is_waited_for(act: Act, status: int) -> None:
    """H7."""
    assert isinstance(await failing(always(status=status), act), Transient)


@BOTH
async def test_a_signer_that_is_down_is_waited_for(act: Act) -> None:
    """H7."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Transient, match="no answer from the signer at 127"):
            await signed_at(f"http://127.0.0.1:{unused.getsockname()[1]}", act)


@BOTH
async def test_a_signer_that_never_answers_is_given_up(act: Act) -> None:
    """H7."""
    async with serving_bytes(b"HTTP/1.1 200 OK\r\n", is_left_open=True) as url:
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(Transient, match="TimeoutError"):
            await signed_at(url, act, timeout_s=0.2)
        assert asyncio.get_running_loop().time() - began_s < 5


@BOTH
async def test_a_redirect_is_not_followed(act: Act) -> None:
    """N4."""
    async with serving(SigningServer().handle) as elsewhere:
        error = await failing(always(status=307, headers={"Location": elsewhere}), act)
        assert isinstance(error, Fatal)


@BOTH
@pytest.mark.parametrize(("code", "kind"), [(-32000, Fatal), (-32602, Fatal), (-32005, Transient), (-32603, Transient)])
async def test_a_refusal_is_told_in_the_signers_words(act: Act, code: int, kind: type[TouchstoneError]) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "account\nis \x1b[31mlocked" + "x" * 10_000}}
    error = await failing(always_json(body, status=400 if kind is Fatal else 200), act)
    assert type(error) is kind
    assert "account is  [31mlocked" in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 400


@BOTH
async def test_a_password_in_the_url_is_used_and_never_printed(act: Act) -> None:
    """H5."""
    seen: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", "") + request.path_qs)
        return web.json_response({"error": {"code": -32000, "message": "no"}})

    async with serving(refuse) as url:
        private = url.replace("http://", "http://user:hunter2@") + "/hunter2?key=hunter2"
        signer = RemoteSigner(private, KEY.address)
        with pytest.raises(Fatal) as error:
            await act(signer)
        await signer.aclose()
    assert seen[0].startswith("Basic ")
    assert seen[0].endswith("/hunter2?key=hunter2")
    with pytest.raises(Transient) as down:
        await signed_at(private, act)
    for shown in (repr(signer), str(error.value), str(down.value), repr(down.value.__context__)):
        assert "hunter2" not in shown


@pytest.mark.parametrize("url", ["", "127.0.0.1:8550", "ipc:///run/clef.ipc", "http://", "file:///etc/passwd"])
def test_what_is_no_http_url_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput, match="must begin with http://"):
        RemoteSigner(url, KEY.address)


async def test_requests_at_once_do_not_mix() -> None:
    """No double nonce: every answer is checked against its own request."""
    async with serving(SigningServer().handle) as url:
        signer = RemoteSigner(url, KEY.address)
        raws = await asyncio.gather(*(signer.sign_transaction(TRANSACTION | {"nonce": n}) for n in range(20)))
        await signer.aclose()
    assert raws == [await KEY.sign_transaction(TRANSACTION | {"nonce": n}) for n in range(20)]
