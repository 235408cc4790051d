"""The node of these tests against real ones: the same script gives the same answers on all three.

What is compared is what the product reads: values, receipts, logs, refusals, and what a node's words about a
transaction mean. Not compared: gas, hashes of blocks, times, and the words of eth-tester, which is no node.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.daemon.memory_node import GWEI, MemoryNode
from tests.daemon.memory_rpc import open_chain
from tests.daemon.virtual_time import Clock
from tests.support import require_or_skip
from validator.config import DEV
from validator.edges.broadcast_errors import Answer, classify
from validator.edges.chain import Chain, Log, Receipt
from validator.edges.contract import Network, Touchstone, encode_deployment
from validator.edges.devnet import ACCOUNTS, BALANCE_ETHER, anvil_node, embedded_node
from validator.edges.keys import derive_signer, dev_mnemonic_signer
from validator.errors import BadInput, TouchstoneError
from validator.protocol.commitment import keccak
from validator.types import Address, BlockNumber, Hash32, TaskId, Wei

DEPLOYER, PAYER, MINER = (dev_mnemonic_signer(i) for i in range(3))
POOR = derive_signer(bytes(32), "poor")
NO_HASH = Hash32(b"\7" * 32)
FUNDS_WEI = BALANCE_ETHER * 10**18
Mine = Callable[[], Awaitable[None]]


class Desk:
    """One node, and calls of the contract that are signed alike on each: a Sender, too."""

    def __init__(self, chain: Chain, mine: Mine) -> None:
        self.chain = chain
        self.mine = mine
        self.signer = DEPLOYER
        self.told: list[tuple[str, Any]] = []

    async def sign(self, to: Address | None, data: bytes = b"", value_wei: int = 0, **changes: int) -> bytes:
        return await self.signer.sign_transaction(
            {
                "type": 2,
                "chainId": self.chain.chain_id,
                "nonce": await self.chain.nonce(self.signer.address),
                "maxFeePerGas": 10 * GWEI,
                "maxPriorityFeePerGas": GWEI,
                "gas": 5_000_000,
                "value": value_wei,
                "data": data,
            }
            | changes
            | ({"to": to} if to else {})
        )

    async def send(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> Receipt:
        """The receipt, of a failure too."""
        raw = await self.sign(to, data, value_wei)
        assert await self.chain.broadcast(raw) is None
        await self.mine()
        while (receipt := await self.chain.find_receipt(keccak(raw))) is None:  # noqa: ASYNC110  anvil mines beside it
            await asyncio.sleep(0.01)
        assert receipt.tx_hash == keccak(raw)
        return receipt

    async def tell(self, what: str, answer: Awaitable[Any]) -> None:
        """Write down what comes of it: errors as their class, refusals of the contract with their reason."""
        try:
            result = await answer
        except TouchstoneError as error:
            result = type(error).__name__, getattr(error, "reason", None)
        self.told.append((what, _plain(result)))


def _plain(value: Any) -> Any:
    match value:
        case Receipt():
            return value.is_success, value.block_number, value.contract_address, [_plain(log) for log in value.logs]
        case Log():
            return value.address, value.topics, value.data, value.block_number, value.log_index
        case list():
            return [_plain(item) for item in value]
        case {"from": _}:
            return {key: text.lower() for key, text in value.items()}
    return value


async def ask_everything(desk: Desk) -> list[tuple[str, Any]]:
    """Whatever the product asks of a node, at least once with an answer and once without."""
    chain, tell = desk.chain, desk.tell
    deployment = encode_deployment(Network.of_profile(DEV, DEPLOYER.address))
    created = await desk.send(None, deployment)
    await tell("deployment", _now(created))
    assert created.contract_address is not None
    contract = await Touchstone.at(chain, created.contract_address)
    await tell("creation", chain.creation(created.tx_hash))
    await tell("code", chain.code_at(contract.address))
    await tell("no code", chain.code_at(POOR.address))

    desk.signer = PAYER
    await tell("deposit", contract.deposit(desk, Wei(10**18)))
    await tell("credits", contract.credits_wei(PAYER.address))
    desk.signer = MINER
    await tell("another deposit", contract.deposit(desk, Wei(10**18)))
    await tell("stake", contract.stake(desk, Wei(5 * 10**17)))
    await tell("register", contract.register(desk, POOR.address, "https://miner.example", NO_HASH))
    await tell("miner", contract.miner(MINER.address))
    await tell("nobody", contract.miner(POOR.address))
    await tell("no task", contract.task_state(TaskId(NO_HASH)))

    data = await contract_call(contract, "withdraw", Wei(10**19))
    await tell("preflight refused", chain.preflight(MINER.address, contract.address, data, 0, 100_000))
    await tell("call refused", chain.call(contract.address, data, MINER.address))
    failed = await desk.send(contract.address, data)
    await tell("failed", _now(failed))
    await tell("why it failed", _now((await chain.explain_failure(failed)).reason))
    await tell("no such function", chain.call(contract.address, b"\1\2\3\4"))
    await tell("not payable", chain.preflight(MINER.address, contract.address, data, 1, 100_000))
    await tell("nobody there", chain.call(POOR.address, b"\1\2\3\4"))
    await tell("less than a transaction", chain.preflight(MINER.address, contract.address, data, 0, 20_000))
    await tell("more than there is", chain.preflight(POOR.address, contract.address, data, 10**18, 100_000))

    await tell("nonce", chain.nonce(MINER.address))
    await tell("nonce a while ago", chain.nonce(MINER.address, 3))
    await tell("nonce of nobody", chain.nonce(POOR.address))
    await tell("balance of nobody", chain.balance_wei(POOR.address))
    await tell("no receipt", chain.find_receipt(NO_HASH))
    await tell("no transaction", chain.find_call(NO_HASH))
    await tell("transaction", chain.find_call(failed.tx_hash))
    head = await chain.head()
    await tell("head", _now(head.number))
    await tell("a block of the future", chain.block(BlockNumber(head.number + 9)))
    await tell("finalized", _now((await chain.finalized(2)).number))
    await tell("logs", chain.logs(contract.address, BlockNumber(0), head.number))
    await tell("logs of a range", chain.logs(contract.address, BlockNumber(2), BlockNumber(3)))
    topic = (await chain.logs(contract.address, BlockNumber(2), BlockNumber(2)))[0].topics[0]
    await tell("logs of a topic", chain.logs(contract.address, BlockNumber(0), head.number, [topic]))
    await tell("logs of nobody", chain.logs(POOR.address, BlockNumber(0), head.number))

    return desk.told


async def send_everything(desk: Desk) -> list[tuple[str, Any]]:
    """What becomes of transactions that a pool does not just take; nothing is mined but at the desk's wish."""
    chain, tell = desk.chain, desk.tell
    first, second = await desk.sign(POOR.address, value_wei=1), await desk.sign(POOR.address, value_wei=1, nonce=1)
    await tell("behind a gap", _class_of(desk, second))
    await tell("first", _class_of(desk, first))
    await tell("pending", _is_pending(chain, first))
    await tell("again", _class_of(desk, first))
    await tell("for less", _class_of(desk, await desk.sign(POOR.address, maxFeePerGas=9 * GWEI)))
    dearer = {"maxFeePerGas": 12 * GWEI, "maxPriorityFeePerGas": 2 * GWEI}
    instead = await desk.sign(POOR.address, value_wei=3, **dearer)
    await tell("in its place", _class_of(desk, instead))
    await tell("replaced", chain.find_call(keccak(first)))
    await tell("not mined", chain.find_receipt(keccak(instead)))
    await tell("nonce meanwhile", chain.nonce(DEPLOYER.address))
    balance_wei = await chain.balance_wei(DEPLOYER.address)
    await tell("tried behind them", chain.preflight(DEPLOYER.address, POOR.address, b"", 1, 50_000))
    await tell("took nothing", _now(await chain.balance_wei(DEPLOYER.address) == balance_wei))
    await desk.mine()
    for raw in (first, instead, second):
        receipt = await chain.find_receipt(keccak(raw))
        await tell("mined", _now(receipt and (receipt.is_success, receipt.block_number)))
    await tell("paid", chain.balance_wei(POOR.address))
    await tell("nonce", chain.nonce(DEPLOYER.address))
    await tell("once more", _class_of(desk, second))
    await tell("used nonce", _class_of(desk, await desk.sign(POOR.address, nonce=0)))
    await tell("other chain", _class_of(desk, await desk.sign(POOR.address, chainId=5)))
    await tell("no transaction", _class_of(desk, second[:-9]))
    desk.signer = POOR
    await tell("no funds", _class_of(desk, await desk.sign(PAYER.address, value_wei=1)))
    return desk.told


async def reorganise(desk: Desk, fork: Callable[[int], Awaitable[None]]) -> list[tuple[str, Any]]:
    """What two blocks that are gone take with them."""
    chain, tell = desk.chain, desk.tell
    kept, lost = [await desk.sign(POOR.address, value_wei=5, nonce=nonce) for nonce in (0, 1)]
    for raw in (kept, lost):
        await chain.broadcast(raw)
        await desk.mine()
    await desk.mine()
    before = await chain.receipt(keccak(lost))
    await fork(2)
    await tell("kept", _now((await chain.receipt(keccak(kept))).is_success))
    await tell("lost", chain.find_receipt(keccak(lost)))
    await tell("another block", _now((await chain.block(before.block_number)).hash == before.block_hash))
    await tell("paid", chain.balance_wei(POOR.address))
    await tell("nonce", chain.nonce(DEPLOYER.address))
    await tell("sent again", _class_of(desk, lost))
    await desk.mine()
    await tell("mined again", _now((await chain.receipt(keccak(lost))).is_success))
    await tell("paid again", chain.balance_wei(POOR.address))
    return desk.told


async def contract_call(contract: Touchstone, function: str, amount: Wei) -> bytes:
    """The data of a call, from the product's own encoder."""
    sent: list[bytes] = []

    class Catch:
        async def send(self, _to: Address | None, data: bytes = b"", _value_wei: int = 0) -> Any:
            sent.append(data)

    await getattr(contract, function)(Catch(), amount)
    return sent[0]


async def _now(value: Any) -> Any:
    return value


async def _class_of(desk: Desk, raw: bytes) -> Answer | None:
    words = await desk.chain.broadcast(raw)
    return None if words is None else classify(words)


async def _is_pending(chain: Chain, raw: bytes) -> bool:
    return await chain.find_call(keccak(raw)) is not None and await chain.find_receipt(keccak(raw)) is None


@asynccontextmanager
async def in_memory(chain_id: int) -> AsyncIterator[tuple[Desk, MemoryNode]]:
    balances_wei = {dev_mnemonic_signer(i).address: FUNDS_WEI for i in range(ACCOUNTS)}
    node = MemoryNode(Clock(), balances_wei, chain_id=chain_id)
    chain = await open_chain(node)

    async def mine() -> None:
        node.mine()

    try:
        yield Desk(chain, mine), node
    finally:
        await chain.aclose()


@asynccontextmanager
async def at_a_real_one(kind: str, *options: str) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(embedded_node() if kind == "embedded" else anvil_node(*options))
        except BadInput as error:
            require_or_skip(str(error))
        chain = await Chain.connect(url)
        stack.push_async_callback(chain.aclose)

        async def mine() -> None:
            if options:
                await chain.ask(str, "evm_mine")

        yield Desk(chain, mine)


@pytest.mark.parametrize("kind", ["embedded", "anvil"])
async def test_it_answers_as_a_real_node(kind: str) -> None:
    async with at_a_real_one(kind) as desk:
        expected = await ask_everything(desk)
    async with in_memory(desk.chain.chain_id) as (desk, _node):
        assert await ask_everything(desk) == expected


async def test_its_pool_takes_and_refuses_as_a_real_one() -> None:
    async with at_a_real_one("anvil", "--no-mining") as desk:
        expected = await send_everything(desk)
    async with in_memory(desk.chain.chain_id) as (desk, _node):
        assert await send_everything(desk) == expected


async def test_its_reorganisations_take_away_what_real_ones_do() -> None:
    async with at_a_real_one("anvil", "--no-mining") as desk:
        chain = desk.chain

        async def fork_anvil(depth: int) -> None:
            await chain.ask(str, "anvil_reorg", depth, [])

        expected = await reorganise(desk, fork_anvil)
    async with in_memory(chain.chain_id) as (desk, node):

        async def fork(depth: int) -> None:
            node.reorganise(depth, keeps_transactions=False)

        assert await reorganise(desk, fork) == expected
