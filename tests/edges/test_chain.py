"""Nodes that fail in every way; senders that lose no transaction and send none twice."""

import asyncio
import secrets
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientTimeout, web
from web3 import AsyncWeb3

from tests.edges.fault_proxy import FaultProxy, faulty
from validator.edges import chain as chain_module
from validator.edges import nodes, rpc_node
from validator.edges.chain import Chain, TransactionSender
from validator.edges.devnet import embedded_node, open_chain
from validator.edges.keys import LocalSigner, SecretBytes, dev_mnemonic_signer
from validator.errors import BadInput, ChainUnreachable, Fatal, NodeFault, Reverted, Transient
from validator.types import BlockNumber

PAYEE = LocalSigner(SecretBytes(b"\2" * 32)).address
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(**answers: Any) -> Handler:
    """A node that knows its chain id and answers one more method, with a result or an `error` object."""

    async def answer(request: web.Request) -> web.Response:
        call = await request.json()
        result = answers.get(call["method"], "0x7a69")
        body = result if isinstance(result, dict) and "error" in result else {"result": result}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"]} | body)

    return answer


def always(**options: Any) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(**options)

    return answer


async def hang(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


@pytest.fixture
async def flaky() -> AsyncIterator[tuple[FaultProxy, Chain]]:
    async with embedded_node() as upstream, faulty(upstream) as (proxy, url):
        chain = await Chain.connect(url)
        yield proxy, chain
        await chain.aclose()


@pytest.mark.parametrize("url", ["", "localhost:8545", "ws://127.0.0.1:1", "ftp://host", "http://", "http://h:port"])
async def test_what_is_no_http_url_is_bad_input(url: str) -> None:
    with pytest.raises(BadInput):
        await Chain.connect(url)


async def test_a_closed_port_is_an_unreachable_chain() -> None:
    async with serving(always()) as url:
        pass
    with pytest.raises(ChainUnreachable, match=f"no answer from {url}"):
        await Chain.connect(url)


@pytest.mark.parametrize(
    "handler",
    [
        always(text="<html>hello</html>"),
        always(body=b"\xff\xfe"),
        always(text="[]"),
        always(text="7"),
        always(text="{}"),
        always(text='{"error": "no"}'),
        always(status=404),
        always(status=403),
        always(status=302, headers={"Location": "http://127.0.0.1:9/"}),
        answering(eth_chainId=None),
        answering(eth_chainId="seven"),
        answering(eth_chainId={"error": {"code": -32601, "message": "method not found"}}),
    ],
)
async def test_what_does_not_answer_like_a_node_is_bad_input(handler: Handler) -> None:
    async with serving(handler) as url:
        with pytest.raises(BadInput, match=f"what answers at {url} is not an Ethereum node"):
            await Chain.connect(url)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_node_is_nobodys_fault(status: int) -> None:
    async with serving(always(status=status)) as url:
        with pytest.raises(Transient, match=f"HTTP status {status}"):
            await Chain.connect(url)


async def test_a_node_that_never_answers_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_node, "REQUEST_TIMEOUT", ClientTimeout(total=0.05))
    async with serving(hang) as url:
        with pytest.raises(ChainUnreachable):
            await Chain.connect(url)


@pytest.mark.parametrize("handler", [always(status=500), always(status=403), always(text="no"), hang])
async def test_an_access_key_in_the_url_is_never_shown(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """H5."""
    monkeypatch.setattr(rpc_node, "REQUEST_TIMEOUT", ClientTimeout(total=0.2))
    key = secrets.token_hex(8)
    async with serving(handler) as url:
        keyed_url = url.replace("//", f"//user:{key}@") + f"/v3/{key}?token={key}"
        with pytest.raises((Transient, BadInput)) as error:
            await Chain.connect(keyed_url)
    with pytest.raises(ChainUnreachable) as unreachable:
        await Chain.connect(keyed_url)
    shown = traceback.format_exception(error.value) + traceback.format_exception(unreachable.value)
    assert key not in "".join(shown)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": -32005, "message": "limit exceeded"}, Transient),
        ({"code": -32603, "message": "internal error"}, Transient),
        ({"code": -32000, "message": "insufficient funds"}, Fatal),
        ({"code": -32601, "message": "method not found"}, Fatal),
    ],
)
async def test_errors_of_the_node_are_sorted(error: dict[str, Any], kind: type[Exception]) -> None:
    async with serving(answering(eth_getCode={"error": error})) as url:
        chain = await Chain.connect(url)
        with pytest.raises(kind, match=str(error["message"])) as raised:
            await chain.code_at(PAYEE)
        assert not isinstance(raised.value, Reverted)
        await chain.aclose()


@pytest.mark.parametrize("block", [{}, [], 7, {"number": "one", "hash": "0x", "timestamp": "0x1"}])
async def test_a_malformed_answer_is_the_nodes_fault_and_stops_nothing(block: object) -> None:
    async with serving(answering(eth_getBlockByNumber=block)) as url:
        chain = await Chain.connect(url)
        with pytest.raises(NodeFault, match="malformed answer to eth_getBlockByNumber"):
            await chain.head()
        await chain.aclose()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": 3, "data": "0x08c379a0" + f"{32:064x}{5:064x}" + b"w: no".hex().ljust(64, "0")}, "w: no"),
        ({"code": 3, "data": "0x4e487b71" + f"{0x11:064x}"}, "panic 0x11"),
        ({"code": 3, "data": "0xdeadbeef"}, "revert data 0xdeadbeef"),
        ({"code": 3, "data": "0x08c379a0ff"}, "revert data 0x08c379a0ff"),
        ({"code": 3, "data": "0x"}, "no reason given"),
        ({"code": 3, "data": "0xabc"}, "revert data 0xabc"),
        ({"code": 3, "data": {"hash": "0x"}}, "revert data {'hash': '0x'}"),
        ({"code": 3}, "no reason given"),
        ({"code": -32000}, "no reason given"),
    ],
)
async def test_a_revert_is_told_with_the_contracts_words(error: dict[str, Any], reason: str) -> None:
    answer = {"error": {"message": "execution reverted"} | error}
    async with serving(answering(eth_call=answer)) as url:
        chain = await Chain.connect(url)
        with pytest.raises(Reverted) as raised:
            await chain.call(PAYEE, b"")
        assert raised.value.reason == reason
        await chain.aclose()


async def test_a_block_that_is_not_there_yet_may_come() -> None:
    async with serving(answering(eth_getBlockByNumber=None)) as url:
        chain = await Chain.connect(url)
        with pytest.raises(Transient, match="0x5"):
            await chain.block(BlockNumber(5))
        await chain.aclose()


async def test_a_read_is_repeated_after_a_lost_connection(flaky: tuple[FaultProxy, Chain]) -> None:
    node, chain = flaky
    node.lose_request.add("eth_getBalance")
    node.seen.clear()
    with pytest.raises(ChainUnreachable):
        await chain.balance_wei(PAYEE)
    assert node.seen.count("eth_getBalance") == nodes.READ_ATTEMPTS


async def test_a_transaction_is_broadcast_once_and_found_although_the_answer_was_lost(
    flaky: tuple[FaultProxy, Chain],
) -> None:
    node, chain = flaky
    sender = TransactionSender(chain, dev_mnemonic_signer(0))
    node.lose_answer.add("eth_sendRawTransaction")
    receipt = await sender.send(PAYEE, value_wei=5)
    assert node.seen.count("eth_sendRawTransaction") == 1
    assert await chain.balance_wei(PAYEE) == 5
    node.lose_answer.clear()
    assert (await sender.send(PAYEE, value_wei=5)).block_number == receipt.block_number + 1


async def test_a_transaction_that_never_arrived_leaves_its_nonce_free(flaky: tuple[FaultProxy, Chain]) -> None:
    node, chain = flaky
    sender = TransactionSender(chain, dev_mnemonic_signer(0))
    node.lose_request.add("eth_sendRawTransaction")
    with pytest.raises(ChainUnreachable):
        await sender.send(PAYEE, value_wei=5)
    node.lose_request.clear()
    await sender.send(PAYEE, value_wei=7)
    assert await chain.balance_wei(PAYEE) == 7


async def test_one_sender_counts_the_nonces_of_all_that_it_sends_at_once(flaky: tuple[FaultProxy, Chain]) -> None:
    _, chain = flaky
    sender = TransactionSender(chain, dev_mnemonic_signer(0))
    await asyncio.gather(*(sender.send(PAYEE, value_wei=1) for _ in range(15)))
    assert await chain.balance_wei(PAYEE) == 15


async def test_signed_bytes_are_resumed_and_take_effect_once(flaky: tuple[FaultProxy, Chain]) -> None:
    node, chain = flaky
    sender = TransactionSender(chain, dev_mnemonic_signer(0))
    signed = await sender.sign(PAYEE, value_wei=5)
    node.lose_request.add("eth_sendRawTransaction")
    with pytest.raises(ChainUnreachable):
        await sender.resume(signed.raw)
    node.lose_request.clear()
    restarted = TransactionSender(chain, dev_mnemonic_signer(0))
    first = await restarted.resume(signed.raw)
    assert await restarted.resume(signed.raw) == first
    assert await chain.balance_wei(PAYEE) == 5


async def test_a_transaction_that_is_never_mined_is_nobodys_fault(
    flaky: tuple[FaultProxy, Chain], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_module, "RECEIPT_TIMEOUT_S", -1.0)
    answers = {
        "eth_estimateGas": "0x5208",
        "eth_getBlockByNumber": {"number": "0x1", "hash": "0x", "timestamp": "0x1", "baseFeePerGas": "0x7"},
        "eth_maxPriorityFeePerGas": "0x1",
        "eth_getTransactionCount": "0x0",
        "eth_sendRawTransaction": "0x",
        "eth_getTransactionReceipt": None,
    }
    async with serving(answering(**answers)) as url:
        chain = await Chain.connect(url)
        with pytest.raises(Transient, match="was not mined within"):
            await TransactionSender(chain, dev_mnemonic_signer(0)).send(PAYEE)
        await chain.aclose()


async def test_more_gas_than_the_ceiling_is_never_bought() -> None:
    async with serving(answering(eth_estimateGas=hex(chain_module.GAS_CEILING + 1))) as url:
        chain = await Chain.connect(url)
        with pytest.raises(Fatal, match="over the ceiling"):
            await TransactionSender(chain, dev_mnemonic_signer(0)).send(PAYEE)
        await chain.aclose()


async def test_a_node_is_a_web3_provider() -> None:
    async with open_chain("embedded") as url:
        chain, node = await Chain.connect(url), rpc_node.Node(url, "0")
        try:
            web3 = AsyncWeb3(node)
            assert await web3.eth.chain_id == chain.chain_id
            assert (await web3.eth.get_block("latest"))["hash"] == (await chain.head()).hash
        finally:
            await node.aclose()
            await chain.aclose()
