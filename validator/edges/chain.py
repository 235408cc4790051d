"""An EVM chain behind the JSON-RPC URLs of its nodes, and a sender for whoever can sign anew after a failure.

Rules kept: nobody who reads here notices how many nodes there are. What money depends on (final blocks and what is in
them, what the contract says or would refuse) counts if two of them say so; the rest is asked of the healthiest
(`nodes.py`, and `rpc_node.py` for each of them). A transaction is never sent blindly twice. Reading and sending stay in
one module, though it is long, because the simulated miners need both and nothing else of a chain.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import rlp
from eth_utils.address import to_canonical_address, to_checksum_address
from pydantic import Secret

from validator.config import DEV_CHAIN_IDS
from validator.edges.keys import Signer
from validator.edges.nodes import Nodes
from validator.edges.rpc_node import NO_REASON, AnswerTooLarge, Node, read_bytes, read_int, write_hex
from validator.errors import BadInput, Fatal, NodeFault, Reverted, Transient, WithoutReason
from validator.protocol.commitment import keccak
from validator.types import Address, BlockNumber, Hash32, UnixSeconds, Wei

T = TypeVar("T")

MAX_LOG_RANGE_BLOCKS = 1_000
GAS_CEILING = 16_000_000
"""Below the 2**24 that EIP-7825 allows one transaction."""

RECEIPT_TIMEOUT_S = 180.0
RECEIPT_POLL_S = 0.02, 1.0
"""First and longest pause between two looks for a receipt."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header; `base_fee_wei` is 0 where the chain had none yet (EIP-1559)."""

    number: BlockNumber
    hash: Hash32
    timestamp_s: UnixSeconds
    base_fee_wei: Wei


@dataclass(frozen=True, slots=True)
class Log:
    """One raw event of a contract, where it stands in the chain included."""

    address: Address
    topics: tuple[Hash32, ...]
    data: bytes
    block_number: BlockNumber
    block_hash: Hash32
    tx_hash: Hash32
    log_index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A mined transaction. Senders return those that took effect, and raise Reverted for the others."""

    tx_hash: Hash32
    block_number: BlockNumber
    block_hash: Hash32
    gas_used: int
    effective_gas_price_wei: Wei
    contract_address: Address | None
    is_success: bool
    logs: tuple[Log, ...]

    @property
    def cost_wei(self) -> Wei:
        """What the sender paid for gas."""
        return Wei(self.gas_used * self.effective_gas_price_wei)


@dataclass(frozen=True, slots=True)
class UnsentTransaction:
    """Ready to leave, and not sent. `creates` is where it would put a new contract, None if it makes none."""

    raw: bytes
    nonce: int
    gas_limit: int
    max_fee_per_gas_wei: Wei
    value_wei: Wei
    creates: Address | None

    @property
    def tx_hash(self) -> Hash32:
        return keccak(self.raw)

    @property
    def max_cost_wei(self) -> Wei:
        """All that it can take from its sender, so what a node wants to see in the account."""
        return Wei(self.gas_limit * self.max_fee_per_gas_wei + self.value_wei)


@dataclass(frozen=True, slots=True)
class Fees:
    """What the next block asks for a unit of gas, and what is to be given on top of it (EIP-1559)."""

    base_fee_wei: Wei
    priority_fee_wei: Wei

    @property
    def max_fee_wei(self) -> Wei:
        """Enough for six blocks in a row that are full."""
        return Wei(2 * self.base_fee_wei + self.priority_fee_wei)


class Chain:
    """Reads from a chain. Every method may raise ChainUnreachable, Transient or Fatal, and `call` Reverted."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self.chain_id = nodes.chain_id

    @classmethod
    async def connect(cls, urls: str | Sequence[str]) -> "Chain":
        """Open the node at a URL, or several nodes of one chain, and ask each for its chain id.

        BadInput if one is no HTTP URL or no Ethereum node, or they are on different chains; ChainUnreachable if none
        answers.
        """
        return cls(await Nodes.connect([urls] if isinstance(urls, str) else urls))

    async def aclose(self) -> None:
        """Close the connections to all nodes."""
        await self._nodes.aclose()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """For whoever shows how they are."""
        return self._nodes.all

    async def ask(self, parse: Callable[[Any], T], method: str, *params: Any) -> T:
        """One JSON-RPC request, to one node, and its result as `parse` reads it."""
        return await self._nodes.ask(parse, method, *params)

    async def compare_heads(self) -> None:
        """Find out which nodes stand still (R10)."""
        await self._nodes.compare_heads()

    @property
    def is_dev_chain(self) -> bool:
        return self.chain_id in DEV_CHAIN_IDS

    async def head(self) -> Block:
        """The newest block; it may yet be reorganised away."""
        return await self._block("latest")

    async def is_past(self, time_s: UnixSeconds) -> bool:
        """Whether the chain's newest block is later than that second, by the word of two nodes."""
        return await self._nodes.reached(_timestamp, "eth_getBlockByNumber", "latest", False) > time_s

    async def finalized(self, depth: int | None) -> Block:
        """The newest block that is taken for final, the same one by the word of two nodes.

        The nodes' own `finalized` tag where `depth` is None, else the block `depth` below the head (`dev` profile).
        """
        tag = "finalized" if depth is None else "latest"
        if len(self.nodes) == 1 and not depth:
            return await self._block(tag)
        number = await self._nodes.reached(_number, "eth_getBlockByNumber", tag, False)
        return await self.final_block(BlockNumber(max(0, number - (depth or 0))))

    async def block(self, number: BlockNumber) -> Block:
        return await self._block(hex(number))

    async def final_block(self, number: BlockNumber) -> Block:
        """A block that cannot change any more, by the word of two nodes."""
        return _existing(await self._nodes.agree(_optional(_parse_block), *_block_query(hex(number))), hex(number))

    async def logs(
        self,
        address: Address,
        from_block: BlockNumber,
        to_block: BlockNumber,
        topics: Sequence[Hash32 | None] = (),
    ) -> list[Log]:
        """Every log of a contract from one block to another, both included, by the word of two nodes, in chain order.

        `topics` narrows it to the logs that have these topics where one is given.
        """
        logs = []
        for start in range(from_block, to_block + 1, MAX_LOG_RANGE_BLOCKS):
            end = min(start + MAX_LOG_RANGE_BLOCKS - 1, to_block)
            logs += await self._logs_of_range(address, BlockNumber(start), BlockNumber(end), topics)
        return logs

    async def _logs_of_range(
        self, address: Address, start: BlockNumber, end: BlockNumber, topics: Sequence[Hash32 | None]
    ) -> list[Log]:
        query = {
            "address": address,
            "fromBlock": hex(start),
            "toBlock": hex(end),
            "topics": [topic and write_hex(topic) for topic in topics],
        }
        try:
            found = await self._nodes.agree(_parse_logs, "eth_getLogs", query)
        except AnswerTooLarge:
            if start == end:
                raise
            middle = BlockNumber((start + end) // 2)
            first = await self._logs_of_range(address, start, middle, topics)
            return first + await self._logs_of_range(address, BlockNumber(middle + 1), end, topics)
        for log in found:
            if log.address.lower() != address.lower() or not start <= log.block_number <= end:
                raise NodeFault(
                    f"a node gives a log of {log.address} in block {log.block_number}, and nobody asked for it"
                )
        return found

    async def call(
        self, to: Address, data: bytes, sender: Address | None = None, *, at: BlockNumber | None = None
    ) -> bytes:
        """What a contract function returns on the newest block, or on that of a number; Reverted if it refuses.

        By the word of two nodes.
        """
        transaction = {"to": to, "data": write_hex(data)} | ({"from": sender} if sender else {})
        return await self._nodes.agree(read_bytes, "eth_call", transaction, "latest" if at is None else hex(at))

    async def balance_wei(self, address: Address) -> Wei:
        return Wei(await self.ask(read_int, "eth_getBalance", address, "latest"))

    async def nonce(self, address: Address, depth: int | None = 0) -> int:
        """How many transactions of `address` are mined; up to the block of `finalized(depth)` where that is not 0."""
        if depth == 0:
            return await self.ask(read_int, "eth_getTransactionCount", address, "latest")
        tag = hex((await self.finalized(depth)).number)
        return await self._nodes.agree(read_int, "eth_getTransactionCount", address, tag)

    async def confirmed_nonce(self, address: Address) -> int:
        """How many transactions of `address` are mined, by the word of two nodes."""
        return await self._nodes.reached(read_int, "eth_getTransactionCount", address, "latest")

    async def code_at(self, address: Address) -> bytes:
        """The code of the contract at `address`, empty where there is none, by the word of two nodes."""
        return await self._nodes.agree(read_bytes, "eth_getCode", address, "latest")

    async def fees(self) -> Fees:
        """What a transaction needs now."""
        base_fee_wei = (await self.head()).base_fee_wei
        return Fees(base_fee_wei, Wei(await self.ask(read_int, "eth_maxPriorityFeePerGas")))

    async def preflight(
        self, sender: Address, to: Address, data: bytes, value_wei: int, gas_limit: int, *, tag: str = "pending"
    ) -> None:
        """Reverted if the contract would refuse this transaction, by the word of two nodes; one that would not will do.

        `tag` is "latest", or "pending" for after all that waits to be mined.
        """
        call = {"from": sender, "to": to, "data": write_hex(data), "value": hex(value_wei), "gas": hex(gas_limit)}
        await self._nodes.refused(read_bytes, "eth_call", call, tag)

    async def broadcast(self, raw: bytes) -> str | None:
        """Hand signed bytes to every node: None if one took them, else the words of one that did not.

        Whatever is said or raised, the bytes may be on their way.
        """
        return await self._nodes.broadcast(raw)

    async def find_receipt(self, tx_hash: Hash32) -> Receipt | None:
        """The receipt of a mined transaction, None if the node does not know it (any more)."""
        return await self.ask(_optional(_parse_receipt), "eth_getTransactionReceipt", write_hex(tx_hash))

    async def final_receipt(self, tx_hash: Hash32) -> Receipt | None:
        """As `find_receipt`, of what is in a final block or nowhere, by the word of two nodes."""
        receipt = await self._nodes.agree(_optional(_parse_receipt), "eth_getTransactionReceipt", write_hex(tx_hash))
        if receipt is not None and (await self.final_block(receipt.block_number)).hash != receipt.block_hash:
            raise Transient(f"the receipt of {write_hex(tx_hash)} is from a block that is not in the chain")
        return receipt

    async def receipt(self, tx_hash: Hash32) -> Receipt:
        """As `find_receipt`, but Transient if there is none."""
        receipt = await self.find_receipt(tx_hash)
        if receipt is None:
            raise Transient(f"there is no transaction {write_hex(tx_hash)}")
        return receipt

    async def creation(self, tx_hash: Hash32) -> tuple[Address | None, bytes]:
        """Where a mined transaction put a new contract, None if it made none, and its data; Transient if unknown."""
        receipt = await self.receipt(tx_hash)
        call = await self.ask(_parse_call, "eth_getTransactionByHash", write_hex(tx_hash))
        return receipt.contract_address, read_bytes(call["data"])

    async def find_call(self, tx_hash: Hash32) -> dict[str, str] | None:
        """What a transaction that the node knows calls, or None."""
        return await self.ask(_optional(_parse_call), "eth_getTransactionByHash", write_hex(tx_hash))

    async def explain_failure(self, failed: Receipt) -> Reverted:
        """Receipts carry no reason, so the transaction is replayed on the state that it found."""
        try:
            call = await self.find_call(failed.tx_hash)
            await self.ask(read_bytes, "eth_call", call, hex(failed.block_number - 1))
        except Reverted as error:
            return error
        except (Fatal, Transient) as error:
            return WithoutReason(f"{NO_REASON}; on replay: {error}")
        return WithoutReason(NO_REASON)

    async def _block(self, which: str) -> Block:
        return _existing(await self.ask(_optional(_parse_block), *_block_query(which)), which)


@asynccontextmanager
async def configured_chain(rpc_urls: Iterable[Secret[str]], chain_id: int) -> AsyncIterator[Chain]:
    """The chain of a configuration, closed at the end; BadInput as `Chain.connect`, and if it is another chain."""
    chain = await Chain.connect([url.get_secret_value() for url in rpc_urls])
    try:
        if chain.chain_id != chain_id:
            raise BadInput(f"network.chain_id is {chain_id}, the nodes are on chain {chain.chain_id}")
        yield chain
    finally:
        await chain.aclose()


class Sender(Protocol):
    """Whoever can make a call take effect: a TransactionSender, or the transaction manager on behalf of an effect."""

    async def send(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> Receipt: ...


@dataclass(slots=True)
class _Nonces:
    """The next free nonce of one key, and the turn to use it."""

    turn: asyncio.Lock
    next: int = 0


class TransactionSender:
    """Sends the transactions of one key. Make one per key: it alone counts the key's nonces.

    It forgets everything with its process: what must not be lost goes through `transactions.py`.
    """

    def __init__(self, chain: Chain, signer: Signer) -> None:
        self.chain = chain
        self._signer = signer
        self._nonces = _Nonces(asyncio.Lock())

    @property
    def address(self) -> Address:
        return self._signer.address

    async def send(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> Receipt:
        """Estimate, sign, broadcast, and wait for the receipt; `to` is None for a new contract.

        Reverted if the contract refuses, before sending where the estimate shows it already. Transient if the node
        does not answer or the receipt does not come in time: the transaction may still be mined, and `resume` takes
        it up again.
        """
        async with self._nonces.turn:
            signed = await self.sign(to, data, value_wei)
            await self._broadcast(signed.raw)
            self._nonces.next = signed.nonce + 1
        return await self._wait_for_receipt(signed.tx_hash)

    async def sign(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> UnsentTransaction:
        """Estimate and sign, for the next free nonce, which is not taken by it; `resume` sends the bytes."""
        transaction = await self._fill(to, data, value_wei)
        nonce = transaction["nonce"]
        return UnsentTransaction(
            raw=await self._signer.sign_transaction(transaction),
            nonce=nonce,
            gas_limit=transaction["gas"],
            max_fee_per_gas_wei=Wei(transaction["maxFeePerGas"]),
            value_wei=Wei(value_wei),
            creates=None if to else _created_address(self.address, nonce),
        )

    async def resume(self, raw: bytes) -> Receipt:
        """Send the same signed bytes once more, which can take effect once only, and wait for the receipt."""
        await self._broadcast(raw)
        return await self._wait_for_receipt(keccak(raw))

    async def _fill(self, to: Address | None, data: bytes, value_wei: int) -> dict[str, Any]:
        call = {"from": self.address, "data": write_hex(data), "value": hex(value_wei)} | ({"to": to} if to else {})
        estimate = await self.chain.ask(read_int, "eth_estimateGas", call, "pending")
        if estimate > GAS_CEILING:
            raise Fatal(f"a transaction of {estimate} gas is over the ceiling of {GAS_CEILING}")
        fees = await self.chain.fees()
        mined = await self.chain.nonce(self.address)
        return {
            "type": 2,
            "chainId": self.chain.chain_id,
            "nonce": max(self._nonces.next, mined),
            "maxFeePerGas": fees.max_fee_wei,
            "maxPriorityFeePerGas": fees.priority_fee_wei,
            "gas": min(estimate * 5 // 4, GAS_CEILING),
            "value": value_wei,
            "data": data,
        } | ({"to": to} if to else {})

    async def _broadcast(self, raw: bytes) -> None:
        try:
            await self.chain.ask(read_bytes, "eth_sendRawTransaction", write_hex(raw))
        except (Transient, Fatal):
            # The node may have it although its answer was lost or refuses a second copy. If not, the nonce is free.
            if await self.chain.find_call(keccak(raw)) is None:
                raise

    async def _wait_for_receipt(self, tx_hash: Hash32) -> Receipt:
        pause_s, longest_pause_s = RECEIPT_POLL_S
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RECEIPT_TIMEOUT_S
        while (receipt := await self.chain.find_receipt(tx_hash)) is None:
            if loop.time() > deadline:
                raise Transient(f"transaction {write_hex(tx_hash)} was not mined within {RECEIPT_TIMEOUT_S:.0f} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_pause_s)
        if not receipt.is_success:
            raise await self.chain.explain_failure(receipt)
        return receipt


def _created_address(sender: Address, nonce: int) -> Address:
    """Of the contract that a transaction without a recipient makes (Yellow Paper, equation 84)."""
    return Address(to_checksum_address(keccak(rlp.encode([to_canonical_address(sender), nonce]))[12:]))


def _block_query(which: str) -> tuple[str, str, bool]:
    return "eth_getBlockByNumber", which, False


def _existing(block: Block | None, which: str) -> Block:
    if block is None:
        raise Transient(f"there is no block {which} yet")
    return block


def _number(block: Mapping[str, Any]) -> int:
    return read_int(block["number"])


def _timestamp(block: Mapping[str, Any]) -> int:
    return read_int(block["timestamp"])


def _parse_block(block: Mapping[str, Any]) -> Block:
    return Block(
        number=BlockNumber(read_int(block["number"])),
        hash=Hash32(read_bytes(block["hash"])),
        timestamp_s=UnixSeconds(read_int(block["timestamp"])),
        base_fee_wei=Wei(read_int(block.get("baseFeePerGas") or "0x0")),
    )


def _parse_logs(logs: list[Mapping[str, Any]]) -> list[Log]:
    return [_parse_log(log) for log in logs]


def _parse_log(log: Mapping[str, Any]) -> Log:
    return Log(
        address=Address(to_checksum_address(log["address"])),
        topics=tuple(Hash32(read_bytes(topic)) for topic in log["topics"]),
        data=read_bytes(log["data"]),
        block_number=BlockNumber(read_int(log["blockNumber"])),
        block_hash=Hash32(read_bytes(log["blockHash"])),
        tx_hash=Hash32(read_bytes(log["transactionHash"])),
        log_index=read_int(log["logIndex"]),
    )


def _parse_receipt(receipt: Mapping[str, Any]) -> Receipt:
    created = receipt.get("contractAddress")
    return Receipt(
        tx_hash=Hash32(read_bytes(receipt["transactionHash"])),
        block_number=BlockNumber(read_int(receipt["blockNumber"])),
        block_hash=Hash32(read_bytes(receipt["blockHash"])),
        gas_used=read_int(receipt["gasUsed"]),
        effective_gas_price_wei=Wei(read_int(receipt["effectiveGasPrice"])),
        contract_address=Address(to_checksum_address(created)) if created else None,
        is_success=read_int(receipt["status"]) == 1,
        logs=tuple(_parse_logs(receipt["logs"])),
    )


def _parse_call(transaction: Mapping[str, Any]) -> dict[str, str]:
    call = {"from": transaction["from"], "data": transaction["input"]}
    call |= {key: transaction[key] for key in ("to", "value", "gas") if transaction[key] is not None}
    return call


def _optional(parse: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda result: None if result is None else parse(result)
