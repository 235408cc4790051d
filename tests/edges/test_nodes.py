"""One chain through nodes that lie, flap or fail: what money depends on counts when two of them say so."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from tests.edges.conftest import NO_FLOORS
from tests.edges.fault_proxy import FaultProxy, faulty
from tests.edges.loopback import always, always_json, serving
from validator.edges import nodes, rpc_node
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Registered, Touchstone
from validator.edges.devnet import embedded_node
from validator.edges.keys import LocalSigner, SecretBytes, dev_mnemonic_signer
from validator.errors import BadInput, ChainUnreachable, NodeFault, Reverted, Transient
from validator.types import BlockNumber, Hash32

PAYEE = LocalSigner(SecretBytes(b"\2" * 32)).address
ABSENT = "http://127.0.0.1:1"


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"touchstone_{name}", labels) or 0.0


@dataclass
class World:
    """One chain behind two nodes that can be made to fail, and a third view that cannot."""

    truth: Chain
    a: FaultProxy
    b: FaultProxy
    urls: list[str]
    chain: Chain


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(nodes, "DISAGREEMENT_PAUSES_S", (0.01,))
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(embedded_node())
        a, url_a = await stack.enter_async_context(faulty(upstream))
        b, url_b = await stack.enter_async_context(faulty(upstream))
        truth, chain = await Chain.connect(upstream), await Chain.connect([url_a, url_b])
        stack.push_async_callback(truth.aclose)
        stack.push_async_callback(chain.aclose)
        yield World(truth, a, b, [url_a, url_b], chain)


async def pay(chain: Chain, count: int = 1) -> Hash32:
    sender = TransactionSender(chain, dev_mnemonic_signer(0))
    for _ in range(count):
        receipt = await sender.send(PAYEE, value_wei=5)
    return receipt.tx_hash


async def test_several_nodes_read_like_one(world: World) -> None:
    """Nobody above notices how many there are."""
    contract = await Touchstone.deploy(TransactionSender(world.truth, dev_mnemonic_signer(9)), NO_FLOORS)
    miner = TransactionSender(world.truth, dev_mnemonic_signer(1))
    await contract.register(miner, PAYEE, "https://miner.example", Hash32(bytes(32)))
    tx_hash = await pay(world.truth)
    seen = Touchstone(world.chain, contract.address)
    (registered,) = await seen.events(BlockNumber(0), BlockNumber(3), kind=Registered)
    assert isinstance(registered, Registered)
    assert registered.miner == miner.address
    final = await world.chain.finalized(0)
    assert final == await world.truth.head() == await world.chain.final_block(final.number)
    assert (await world.chain.finalized(1)).number == final.number - 1
    assert await world.chain.final_receipt(tx_hash) == await world.truth.receipt(tx_hash)
    assert await seen.miner(miner.address) == await contract.miner(miner.address)
    assert await seen.immutables() == await contract.immutables()
    assert await world.chain.nonce(miner.address, 0) == await world.chain.nonce(miner.address, None) == 1


Read = Callable[[Chain, Hash32], Awaitable[Any]]


async def final_block(chain: Chain, _tx_hash: Hash32) -> Any:
    return await chain.finalized(0)


async def receipt(chain: Chain, tx_hash: Hash32) -> Any:
    return await chain.final_receipt(tx_hash)


async def logs(chain: Chain, _tx_hash: Hash32) -> Any:
    return await chain.logs(PAYEE, BlockNumber(0), BlockNumber(2))


async def code(chain: Chain, _tx_hash: Hash32) -> Any:
    return await chain.code_at(PAYEE)


async def call(chain: Chain, _tx_hash: Hash32) -> Any:
    return await chain.call(PAYEE, b"")


HASH = "0x" + "ab" * 32
A_LOG = {
    "address": PAYEE,
    "topics": [HASH],
    "data": "0x",
    "blockNumber": "0x1",
    "blockHash": HASH,
    "transactionHash": HASH,
    "logIndex": "0x0",
}


@pytest.mark.parametrize("liar", ["a", "b"])
@pytest.mark.parametrize(
    ("read", "method", "lie"),
    [
        *[(final_block, "eth_getBlockByNumber", {field: HASH}) for field in ("hash",)],
        *[(final_block, "eth_getBlockByNumber", {field: "0x1"}) for field in ("timestamp", "baseFeePerGas")],
        *[(receipt, "eth_getTransactionReceipt", {field: HASH}) for field in ("transactionHash", "blockHash")],
        *[
            (receipt, "eth_getTransactionReceipt", {field: "0x0"})
            for field in ("status", "blockNumber", "gasUsed", "effectiveGasPrice")
        ],
        (receipt, "eth_getTransactionReceipt", {"contractAddress": PAYEE}),
        (receipt, "eth_getTransactionReceipt", {"logs": [A_LOG]}),
        (receipt, "eth_getTransactionReceipt", None),
        (logs, "eth_getLogs", [A_LOG]),
        (code, "eth_getCode", "0x60"),
        (call, "eth_call", "0x01"),
    ],
)
async def test_a_lie_of_one_node_is_believed_by_nobody(
    world: World, read: Read, method: str, lie: Any, liar: str
) -> None:
    """R3, each field that money depends on; and the truth is believed again."""
    tx_hash = await pay(world.truth, 2)
    truth = await read(world.chain, tx_hash)
    counted = metric("rpc_disagreements_total")
    proxy: FaultProxy = getattr(world, liar)
    proxy.falsify[method] = lambda said: said | lie if isinstance(said, dict) and isinstance(lie, dict) else lie
    with pytest.raises(Transient, match=f"nodes {world.urls[0]} and {world.urls[1]} disagree about {method}"):
        await read(world.chain, tx_hash)
    assert metric("rpc_disagreements_total") == counted + 1
    proxy.falsify.clear()
    assert await read(world.chain, tx_hash) == truth


async def test_two_of_three_outvote_the_third(world: World) -> None:
    """R3."""
    chain = await Chain.connect([world.urls[0], world.urls[1], world.urls[0] + "/third"])
    tx_hash = await pay(world.truth)
    world.b.falsify["eth_getTransactionReceipt"] = lambda _: None
    assert await chain.final_receipt(tx_hash) == await world.truth.receipt(tx_hash)
    await chain.aclose()


async def test_final_is_what_both_nodes_have(world: World) -> None:
    """R2, R10: the lower of the two, as long as both have the same block there."""
    await pay(world.truth, 3)
    world.b.frozen_at = 1
    assert (await world.chain.finalized(0)).number == 1
    assert (await world.chain.head()).number == 3
    world.b.frozen_at = None
    assert (await world.chain.finalized(0)).number == 3


async def test_nobody_is_too_late_or_a_stranger_by_the_word_of_one_node(world: World) -> None:
    """R3, P7: neither is a transaction given up nor the validator stopped for what one node says."""
    now = (await world.truth.head()).timestamp_s
    payer = dev_mnemonic_signer(0).address
    world.a.falsify["eth_getBlockByNumber"] = lambda block: block | {"timestamp": hex(now + 9_999)}
    world.a.falsify["eth_getTransactionCount"] = lambda _: "0x99"
    assert (await world.chain.head()).timestamp_s == now + 9_999
    assert not await world.chain.is_past(now)
    assert await world.chain.nonce(payer) == 0x99
    assert await world.chain.confirmed_nonce(payer) == 0


@pytest.mark.parametrize("refusing", [{"a"}, {"b"}, {"a", "b"}])
async def test_a_contract_refuses_if_no_node_says_otherwise(world: World, refusing: set[str]) -> None:
    """R3: one node alone can keep nothing from being sent."""
    for name in refusing:
        getattr(world, name).errors["eth_call"] = ["execution reverted"] * 9
    attempt = world.chain.preflight(PAYEE, PAYEE, b"", 0, 50_000)
    if len(refusing) == 1:
        await attempt
    else:
        with pytest.raises(Reverted):
            await attempt


async def test_while_one_of_two_nodes_is_away_reads_go_on_and_nothing_that_moves_money_is_believed(
    world: World,
) -> None:
    """R3, R5."""
    tx_hash = await pay(world.truth)
    failovers = metric("rpc_failovers_total")
    world.a.is_dead = True
    assert await world.chain.balance_wei(PAYEE) == 5
    assert metric("rpc_failovers_total") > failovers
    assert metric("rpc_node_healthy", node="0") == 0
    with pytest.raises(Transient, match="1 of 2 nodes answer eth_getTransactionReceipt, and 2 must"):
        await world.chain.final_receipt(tx_hash)
    world.a.is_dead = False
    await asyncio.sleep(max(0, world.chain.nodes[0].rests_until_s - asyncio.get_running_loop().time()))
    assert await world.chain.final_receipt(tx_hash) == await world.truth.receipt(tx_hash)
    assert metric("rpc_node_healthy", node="0") == 1


async def test_a_node_that_is_asked_too_much_is_left_alone(world: World) -> None:
    """R5, complaint 12: after a 429 the other node is asked, and this one not again for a while."""
    world.a.statuses["eth_getBalance"] = [429] * 5
    failed = metric("rpc_requests_total", node="0", method="eth_getBalance", outcome="busy")
    for _ in range(5):
        assert await world.chain.balance_wei(PAYEE) == 0
    assert world.a.seen.count("eth_getBalance") == 1
    assert world.b.seen.count("eth_getBalance") == 5
    assert metric("rpc_requests_total", node="0", method="eth_getBalance", outcome="busy") == failed + 1


async def test_rests_grow_up_to_a_quarter_of_a_minute_and_differ(world: World) -> None:
    """R5."""
    node = world.chain.nodes[0]
    loop = asyncio.get_running_loop()
    world.a.is_dead = True
    rests = []
    for _ in range(12):
        with pytest.raises(ChainUnreachable):
            await node.ask(str, "eth_getBalance", PAYEE, "latest")
        rests.append(node.rests_until_s - loop.time())
    full = [min(rpc_node.FIRST_REST_S * 2**failures, rpc_node.LONGEST_REST_S) for failures in range(12)]
    assert all(0.4 * longest < rest <= longest for rest, longest in zip(rests, full, strict=True))
    assert len(set(rests[-4:])) == 4


async def test_signed_bytes_go_to_every_node(world: World) -> None:
    """R11: one that swallows ours keeps nothing from the chain, nor does one that does not answer."""
    signed = await TransactionSender(world.truth, dev_mnemonic_signer(0)).sign(PAYEE, value_wei=5)
    for fault in ("swallow", "hang", "refuse"):
        world.a.swallow = {"eth_sendRawTransaction"} if fault == "swallow" else set()
        world.a.hang = {"eth_sendRawTransaction"} if fault == "hang" else set()
        world.a.errors["eth_sendRawTransaction"] = ["we do not like you"] if fault == "refuse" else []
        words = await world.chain.broadcast(signed.raw)
        assert words is None or fault != "swallow", words
        assert world.b.broadcasts[-1] == signed.raw
    assert await world.truth.find_receipt(signed.tx_hash) is not None
    assert await world.truth.balance_wei(PAYEE) == 5


async def test_what_all_nodes_refuse_is_refused_in_the_words_of_one(world: World) -> None:
    world.a.errors["eth_sendRawTransaction"] = ["nonce too low"]
    world.b.lose_request.add("eth_sendRawTransaction")
    assert await world.chain.broadcast(b"\2raw") == "nonce too low"


async def test_a_node_whose_head_stands_still_is_out_of_sync(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R10: and it is asked last."""
    monkeypatch.setattr(nodes, "STALE_AFTER_S", 0.05)
    world.a.frozen_at = 0
    await world.chain.compare_heads()
    await asyncio.sleep(0.1)
    await pay(world.truth)
    await world.chain.compare_heads()
    assert [node.is_out_of_sync for node in world.chain.nodes] == [True, False]
    before = len(world.a.seen)
    assert (await world.chain.head()).number == 1
    assert len(world.a.seen) == before
    world.a.frozen_at = None
    await world.chain.compare_heads()
    assert not any(node.is_out_of_sync for node in world.chain.nodes)


async def test_a_node_that_came_back_as_another_chain_is_not_believed(world: World) -> None:
    """R3: the chain id is asked after every reconnection, not only at the start."""
    world.a.is_dead = True
    with pytest.raises(Transient):
        await world.chain.final_block(BlockNumber(0))
    world.a.is_dead = False
    world.a.falsify["eth_chainId"] = lambda _: "0x1"
    node = world.chain.nodes[0]
    await asyncio.sleep(max(0, node.rests_until_s - asyncio.get_running_loop().time()))
    with pytest.raises(NodeFault, match="is on chain 1 now"):
        await node.ask(str, "eth_getBalance", PAYEE, "latest")
    assert await world.chain.balance_wei(PAYEE) == 0
    world.a.falsify.clear()
    await asyncio.sleep(max(0, node.rests_until_s - asyncio.get_running_loop().time()))
    await node.ask(str, "eth_getBalance", PAYEE, "latest")


async def test_nodes_of_different_chains_are_bad_input(world: World) -> None:
    """R3, O1."""
    async with serving(always_json({"jsonrpc": "2.0", "id": 1, "result": "0x1"})) as other:
        with pytest.raises(BadInput, match=f"different chains: {world.urls[0]} on .* and {other} on 1"):
            await Chain.connect([world.urls[0], other])


@pytest.mark.parametrize("urls", [[], ["http://127.0.0.1:1", "http://127.0.0.1:1"], ["http://127.0.0.1:1", "nowhere"]])
async def test_what_is_no_list_of_nodes_is_bad_input(urls: list[str]) -> None:
    with pytest.raises(BadInput):
        await Chain.connect(urls)


async def test_one_node_that_is_away_at_the_start_keeps_nobody_from_starting(world: World) -> None:
    """Complaint 4."""
    chain = await Chain.connect([ABSENT, world.urls[0]])
    assert chain.chain_id == world.truth.chain_id
    assert (await chain.head()).number == 0
    await chain.aclose()
    with pytest.raises(ChainUnreachable):
        await Chain.connect([ABSENT])


NESTED = "[" * 100_000
BODIES = {
    "nested": f'{{"jsonrpc":"2.0","id":1,"result":{NESTED}',
    "an integer of 5,000 digits": f'{{"jsonrpc":"2.0","id":1,"result":{"9" * 5_000}}}',
    "a quantity of 5,000 digits": f'{{"jsonrpc":"2.0","id":1,"result":"0x{"9" * 5_000}"}}',
    "NaN": '{"jsonrpc":"2.0","id":1,"result":NaN}',
    "a key twice": '{"jsonrpc":"2.0","id":1,"result":"0x1","result":"0x2"}',
    "a lone surrogate": '{"jsonrpc":"2.0","id":1,"result":"\\ud800"}',
    "cut off": '{"jsonrpc":"2.0","id":1,"res',
    "a page of HTML": "<html>502</html>",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_what_no_node_should_answer_is_that_nodes_fault(world: World, body: str) -> None:
    """R6: nothing is believed, nothing stops, and the other node is asked."""
    world.a.bodies["eth_getBalance"] = body.encode()
    assert await world.chain.balance_wei(PAYEE) == 0
    with pytest.raises(NodeFault):
        await world.chain.nodes[0].ask(rpc_node.read_int, "eth_getBalance", PAYEE, "latest")


async def test_an_endless_answer_is_cut_off(world: World) -> None:
    """R6: before it is parsed, and while it comes."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        method = (await request.json())["method"]
        if method == "eth_chainId":
            return web.json_response({"jsonrpc": "2.0", "id": 1, "result": hex(world.truth.chain_id)})
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 1 << 30:
            await response.write(b"[" * (1 << 16))
            sent += 1 << 16
        return response

    async with serving(endless) as url:
        chain = await Chain.connect(url)
        with pytest.raises(NodeFault, match="longer than 8388608 bytes"):
            await chain.head()
        await chain.aclose()
    assert sent < 4 * rpc_node.MAX_ANSWER_BYTES, "and what is in the buffers on the way"


async def test_logs_that_are_too_many_are_asked_for_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: and nobody is stuck behind them for ever."""
    monkeypatch.setattr(rpc_node, "MAX_ANSWER_BYTES", 4_000)
    contract = await Touchstone.deploy(TransactionSender(world.truth, dev_mnemonic_signer(9)), NO_FLOORS)
    payer = TransactionSender(world.truth, dev_mnemonic_signer(0))
    for _ in range(12):
        await contract.deposit(payer, 1)  # type: ignore[arg-type]
    seen = await Touchstone(world.chain, contract.address).events(BlockNumber(0), BlockNumber(13))
    assert [event.log.block_number for event in seen] == list(range(2, 14))
    assert world.a.seen.count("eth_getLogs") > 2


@pytest.mark.parametrize("field", ["address", "blockNumber"])
async def test_logs_that_nobody_asked_for_are_refused_even_from_the_only_node(world: World, field: str) -> None:
    """R3."""
    chain = await Chain.connect(world.urls[0])
    lie = {"address": "0x" + "11" * 20, "blockNumber": "0x9"}[field]
    world.a.falsify["eth_getLogs"] = lambda _: [A_LOG | {"blockNumber": "0x0", field: lie}]
    with pytest.raises(NodeFault, match="nobody asked for it"):
        await chain.logs(PAYEE, BlockNumber(0), BlockNumber(0))
    await chain.aclose()


async def test_a_contract_that_says_look_elsewhere_is_not_followed(world: World) -> None:
    """R4: EIP-3668's OffchainLookup is a refusal like any other, and the canary stays alone."""
    visited: list[str] = []

    async def canary(request: web.Request) -> web.Response:
        visited.append(str(request.url))
        return web.json_response({"data": "0x"})

    async with serving(canary) as url:
        place = url.encode().ljust(64, b"\0")
        words = [int(PAYEE, 16), 5 * 32, 9 * 32, 0, 9 * 32, 1, 32, len(url)]
        data = "0x556f1830" + b"".join(word.to_bytes(32) for word in words).hex() + place.hex() + bytes(32).hex()
        lookup = {"code": 3, "message": "execution reverted", "data": data}
        world.a.bodies["eth_call"] = json.dumps({"jsonrpc": "2.0", "id": 1, "error": lookup}).encode()
        world.b.bodies["eth_call"] = world.a.bodies["eth_call"]
        with pytest.raises(Reverted, match="0x556f1830"):
            await world.chain.call(PAYEE, b"")
    assert visited == []


async def test_a_node_that_dribbles_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """R5: slow-loris."""
    monkeypatch.setattr(rpc_node, "REQUEST_TIMEOUT", rpc_node.ClientTimeout(total=0.3, sock_read=0.2))
    chain = await Chain.connect(world.urls)
    world.a.hang.add("eth_getBalance")
    assert await chain.balance_wei(PAYEE) == 0
    await chain.aclose()


@pytest.mark.parametrize("words", rpc_node.PASSING_WORDS)
async def test_a_node_that_has_not_heard_of_a_block_yet_may_hear_of_it(world: World, words: str) -> None:
    """R2: behind a load balancer each answer is another machine's."""
    world.a.errors["eth_getLogs"] = world.b.errors["eth_getLogs"] = [words.capitalize()]
    assert await world.chain.logs(PAYEE, BlockNumber(0), BlockNumber(0)) == []


async def test_a_redirection_is_not_followed() -> None:
    """R4."""
    async with (
        serving(always_json({"result": "0x1"})) as elsewhere,
        serving(always(status=307, headers={"Location": elsewhere})) as url,
    ):
        with pytest.raises(BadInput, match="not an Ethereum node"):
            await Chain.connect(url)
