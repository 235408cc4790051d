"""One EVM node behind a JSON-RPC URL: reads, raw sends, and a sender for whoever can sign anew after a failure.

Rules kept: the only importer of web3's client, so every foreign exception ends here as ChainUnreachable, Transient,
Fatal or Reverted; a transaction is never sent blindly twice; a URL, which may hold an access key, is never printed
beyond its host. Requests go through web3's HTTP provider as plain JSON-RPC: without web3's middleware nothing resolves
names, follows CCIP links or fills in fields on its own. Reading and sending stay in one module, though it is long,
because they share that one translation.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientResponseError, ClientTimeout
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from web3 import AsyncHTTPProvider
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import RPCEndpoint
from web3.utils import get_create_address

from validator.errors import BadInput, ChainUnreachable, Fatal, Reverted, Transient, WithoutReason
from validator.protocol.commitment import keccak
from validator.types import Address, BlockNumber, Hash32, UnixSeconds, Wei

T = TypeVar("T")

DEV_CHAIN_IDS = frozenset({31337, 1337, 131277322940537})
"""Anvil and Hardhat, geth --dev, eth-tester: the only chains on which the `dev` profile is allowed."""

REQUEST_TIMEOUT = ClientTimeout(total=30, sock_connect=5)
READ_ATTEMPTS = 3
READ_BACKOFF_S = 0.125
READ_METHODS = (
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
)
"""What may be repeated after a lost connection. `eth_sendRawTransaction` may not: its first answer is the true one."""

MAX_LOG_RANGE_BLOCKS = 1_000
GAS_CEILING = 16_000_000
"""Below the 2**24 that EIP-7825 allows one transaction."""

RECEIPT_TIMEOUT_S = 180.0
RECEIPT_POLL_S = 0.02, 1.0
"""First and longest pause between two looks for a receipt."""

RATE_LIMITED_STATUS = 429
EXECUTION_REVERTED = 3
LIMIT_EXCEEDED, RESOURCE_UNAVAILABLE, INTERNAL_ERROR = -32005, -32002, -32603
"""JSON-RPC error codes: geth's for reverts, EIP-1474 for those that may pass."""

NO_REASON = "no reason given"
ERROR_SELECTOR = bytes.fromhex("08c379a0")
PANIC_SELECTOR = bytes.fromhex("4e487b71")
"""Of `Error(string)` and `Panic(uint256)`, the two standard revert payloads."""


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


class _JsonRpc:
    """Requests to one node, and the translation of everything foreign that may come of them."""

    def __init__(self, provider: AsyncHTTPProvider, node: str) -> None:
        self._provider = provider
        self._node = node

    async def aclose(self) -> None:
        """Close the connections to the node."""
        await self._provider.disconnect()

    async def ask(self, parse: Callable[[Any], T], method: str, *params: Any) -> T:
        """One JSON-RPC request and its result as `parse` reads it; where foreign exceptions are translated."""
        result = await self._request(method, params)
        try:
            return parse(result)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Fatal(f"{self._node} gave a malformed answer to {method}") from error

    async def _request(self, method: str, params: tuple[Any, ...]) -> Any:
        match await self._exchange(method, params):
            case {"error": {"code": int(code), "message": str(message)} as error_object}:
                raise self._translate(code, message, error_object.get("data"))
            case {"result": result}:
                return result
        raise Fatal(f"{self._node} does not speak JSON-RPC")

    async def _exchange(self, method: str, params: tuple[Any, ...]) -> Mapping[str, Any]:
        # `from None`: aiohttp's messages quote the whole URL, and with it a provider's access key.
        try:
            return await self._provider.make_request(RPCEndpoint(method), params)
        except ClientResponseError as error:
            if error.status == RATE_LIMITED_STATUS or error.status >= 500:
                raise Transient(f"{self._node} is busy: HTTP status {error.status}") from None
            raise Fatal(f"{self._node} refuses requests: HTTP status {error.status}") from None
        except (ClientError, TimeoutError, OSError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ChainUnreachable(f"no answer from {self._node}: {reason}") from None
        except (JSONDecodeError, UnicodeDecodeError):
            raise Fatal(f"{self._node} does not speak JSON-RPC") from None

    def _translate(self, code: int, message: str, data: Any) -> Fatal | Transient:
        # geth gives a revert without data the general code -32000, so there its fixed message must do.
        if code == EXECUTION_REVERTED or message == "execution reverted":
            return _reverted(data)
        text = f"{self._node}: {message} (JSON-RPC error {code})"
        is_passing = code in (LIMIT_EXCEEDED, RESOURCE_UNAVAILABLE, INTERNAL_ERROR)
        return Transient(text) if is_passing else Fatal(text)


class Chain(_JsonRpc):
    """Reads from one node. Every method may raise ChainUnreachable, Transient or Fatal, and `call` Reverted."""

    def __init__(self, provider: AsyncHTTPProvider, node: str, chain_id: int) -> None:
        super().__init__(provider, node)
        self.chain_id = chain_id

    @classmethod
    async def connect(cls, url: str) -> "Chain":
        """Open the node at `url` and ask it for its chain id.

        BadInput if this is no HTTP URL or no Ethereum node, ChainUnreachable if nothing answers.
        """
        node = _describe_node(url)
        retry = ExceptionRetryConfiguration(
            errors=(ClientError, TimeoutError, OSError),
            retries=READ_ATTEMPTS,
            backoff_factor=READ_BACKOFF_S,
            method_allowlist=READ_METHODS,
        )
        options = {"timeout": REQUEST_TIMEOUT, "allow_redirects": False}
        provider = AsyncHTTPProvider(url, request_kwargs=options, exception_retry_configuration=retry)
        try:
            chain_id = await _JsonRpc(provider, node).ask(_int, "eth_chainId")
        except Fatal:
            await provider.disconnect()
            raise BadInput(f"what answers at {node} is not an Ethereum node") from None
        except Transient:
            await provider.disconnect()
            raise
        return cls(provider, node, chain_id)

    @property
    def is_dev_chain(self) -> bool:
        return self.chain_id in DEV_CHAIN_IDS

    async def head(self) -> Block:
        """The newest block; it may yet be reorganised away."""
        return await self._block("latest")

    async def finalized(self, depth: int | None) -> Block:
        """The newest block that is taken for final.

        The node's own `finalized` tag where `depth` is None, else the block `depth` below the head (`dev` profile).
        """
        if depth is None:
            return await self._block("finalized")
        return await self.block(BlockNumber(max(0, (await self.head()).number - depth)))

    async def block(self, number: BlockNumber) -> Block:
        return await self._block(hex(number))

    async def logs(self, address: Address, from_block: BlockNumber, to_block: BlockNumber) -> list[Log]:
        """Every log of a contract from one block to another, both included, in the order of the chain."""
        logs = []
        for start in range(from_block, to_block + 1, MAX_LOG_RANGE_BLOCKS):
            end = min(start + MAX_LOG_RANGE_BLOCKS - 1, to_block)
            query = {"address": address, "fromBlock": hex(start), "toBlock": hex(end)}
            logs += await self.ask(_parse_logs, "eth_getLogs", query)
        return logs

    async def call(self, to: Address, data: bytes, sender: Address | None = None) -> bytes:
        """What a contract function returns on the newest block; Reverted if it refuses."""
        transaction = {"to": to, "data": _hex(data)} | ({"from": sender} if sender else {})
        return await self.ask(_bytes, "eth_call", transaction, "latest")

    async def balance_wei(self, address: Address) -> Wei:
        return Wei(await self.ask(_int, "eth_getBalance", address, "latest"))

    async def nonce(self, address: Address, depth: int | None = 0) -> int:
        """How many transactions of `address` are mined, up to the block that `finalized(depth)` would give."""
        tag = "latest" if depth == 0 else hex((await self.finalized(depth)).number)
        return await self.ask(_int, "eth_getTransactionCount", address, tag)

    async def code_at(self, address: Address) -> bytes:
        """The code of the contract at `address`, empty where there is none."""
        return await self.ask(_bytes, "eth_getCode", address, "latest")

    async def fees(self) -> Fees:
        """What a transaction needs now."""
        base_fee_wei = (await self.head()).base_fee_wei
        return Fees(base_fee_wei, Wei(await self.ask(_int, "eth_maxPriorityFeePerGas")))

    async def preflight(self, sender: Address, to: Address, data: bytes, value_wei: int, gas_limit: int) -> None:
        """Reverted if the contract would refuse this transaction after all that waits to be mined."""
        call = {"from": sender, "to": to, "data": _hex(data), "value": hex(value_wei), "gas": hex(gas_limit)}
        await self.ask(_bytes, "eth_call", call, "pending")

    async def broadcast(self, raw: bytes) -> str | None:
        """Hand signed bytes to the node: None if it took them, else its own words.

        Whatever is said or raised, the bytes may be on their way.
        """
        match await self._exchange("eth_sendRawTransaction", (_hex(raw),)):
            case {"error": {"message": str(message)}}:
                return message
            case {"result": _}:
                return None
        raise Fatal(f"{self._node} does not speak JSON-RPC")

    async def find_receipt(self, tx_hash: Hash32) -> Receipt | None:
        """The receipt of a mined transaction, None if the node does not know it (any more)."""
        return await self.ask(_optional(_parse_receipt), "eth_getTransactionReceipt", _hex(tx_hash))

    async def receipt(self, tx_hash: Hash32) -> Receipt:
        """As `find_receipt`, but Transient if there is none."""
        receipt = await self.find_receipt(tx_hash)
        if receipt is None:
            raise Transient(f"{self._node} has no transaction {_hex(tx_hash)}")
        return receipt

    async def creation(self, tx_hash: Hash32) -> tuple[Address | None, bytes]:
        """Where a mined transaction put a new contract, None if it made none, and its data; Transient if unknown."""
        receipt = await self.receipt(tx_hash)
        call = await self.ask(_parse_call, "eth_getTransactionByHash", _hex(tx_hash))
        return receipt.contract_address, _bytes(call["data"])

    async def find_call(self, tx_hash: Hash32) -> dict[str, str] | None:
        """What a transaction that the node knows calls, or None."""
        return await self.ask(_optional(_parse_call), "eth_getTransactionByHash", _hex(tx_hash))

    async def explain_failure(self, failed: Receipt) -> Reverted:
        """Receipts carry no reason, so the transaction is replayed on the state that it found."""
        try:
            call = await self.find_call(failed.tx_hash)
            await self.ask(_bytes, "eth_call", call, hex(failed.block_number - 1))
        except Reverted as error:
            return error
        except (Fatal, Transient) as error:
            return WithoutReason(f"{NO_REASON}; on replay: {error}")
        return WithoutReason(NO_REASON)

    async def _block(self, which: str) -> Block:
        block = await self.ask(_optional(_parse_block), "eth_getBlockByNumber", which, False)
        if block is None:
            raise Transient(f"{self._node} does not have block {which} yet")
        return block


class TransactionSigner(Protocol):
    """What a sender needs of a key; `keys.Signer` is one."""

    @property
    def address(self) -> Address: ...

    def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes: ...


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

    def __init__(self, chain: Chain, signer: TransactionSigner) -> None:
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
        created = get_create_address(self.address, nonce)  # type: ignore[arg-type]  # its HexAddress is a str too
        return UnsentTransaction(
            raw=self._signer.sign_transaction(transaction),
            nonce=nonce,
            gas_limit=transaction["gas"],
            max_fee_per_gas_wei=Wei(transaction["maxFeePerGas"]),
            value_wei=Wei(value_wei),
            creates=None if to else Address(created),
        )

    async def resume(self, raw: bytes) -> Receipt:
        """Send the same signed bytes once more, which can take effect once only, and wait for the receipt."""
        await self._broadcast(raw)
        return await self._wait_for_receipt(keccak(raw))

    async def _fill(self, to: Address | None, data: bytes, value_wei: int) -> dict[str, Any]:
        call = {"from": self.address, "data": _hex(data), "value": hex(value_wei)} | ({"to": to} if to else {})
        estimate = await self.chain.ask(_int, "eth_estimateGas", call, "pending")
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
            await self.chain.ask(_bytes, "eth_sendRawTransaction", _hex(raw))
        except (Transient, Fatal):
            # The node may have it although its answer was lost or refuses a second copy. If not, the nonce is free.
            if await self.chain.find_call(keccak(raw)) is None:
                raise

    async def _wait_for_receipt(self, tx_hash: Hash32) -> Receipt:
        pause_s, longest_pause_s = RECEIPT_POLL_S
        deadline = time.monotonic() + RECEIPT_TIMEOUT_S
        while (receipt := await self.chain.find_receipt(tx_hash)) is None:
            if time.monotonic() > deadline:
                raise Transient(f"transaction {_hex(tx_hash)} was not mined within {RECEIPT_TIMEOUT_S:.0f} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_pause_s)
        if not receipt.is_success:
            raise await self.chain.explain_failure(receipt)
        return receipt


def _describe_node(url: str) -> str:
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
        payload = _bytes(data)
        if payload.startswith(ERROR_SELECTOR):
            return Reverted(str(abi_decode(["string"], payload[4:])[0]))
        if payload.startswith(PANIC_SELECTOR):
            return Reverted(f"panic {abi_decode(['uint256'], payload[4:])[0]:#04x}")
    except (AttributeError, DecodingError, TypeError, ValueError):
        pass
    return Reverted(f"revert data {data}") if data and data != "0x" else WithoutReason(NO_REASON)


def _parse_block(block: Mapping[str, Any]) -> Block:
    return Block(
        number=BlockNumber(_int(block["number"])),
        hash=Hash32(_bytes(block["hash"])),
        timestamp_s=UnixSeconds(_int(block["timestamp"])),
        base_fee_wei=Wei(_int(block.get("baseFeePerGas") or "0x0")),
    )


def _parse_logs(logs: list[Mapping[str, Any]]) -> list[Log]:
    return [_parse_log(log) for log in logs]


def _parse_log(log: Mapping[str, Any]) -> Log:
    return Log(
        address=Address(to_checksum_address(log["address"])),
        topics=tuple(Hash32(_bytes(topic)) for topic in log["topics"]),
        data=_bytes(log["data"]),
        block_number=BlockNumber(_int(log["blockNumber"])),
        block_hash=Hash32(_bytes(log["blockHash"])),
        tx_hash=Hash32(_bytes(log["transactionHash"])),
        log_index=_int(log["logIndex"]),
    )


def _parse_receipt(receipt: Mapping[str, Any]) -> Receipt:
    created = receipt.get("contractAddress")
    return Receipt(
        tx_hash=Hash32(_bytes(receipt["transactionHash"])),
        block_number=BlockNumber(_int(receipt["blockNumber"])),
        block_hash=Hash32(_bytes(receipt["blockHash"])),
        gas_used=_int(receipt["gasUsed"]),
        effective_gas_price_wei=Wei(_int(receipt["effectiveGasPrice"])),
        contract_address=Address(to_checksum_address(created)) if created else None,
        is_success=_int(receipt["status"]) == 1,
        logs=tuple(_parse_logs(receipt["logs"])),
    )


def _parse_call(transaction: Mapping[str, Any]) -> dict[str, str]:
    call = {"from": transaction["from"], "data": transaction["input"]}
    call |= {key: transaction[key] for key in ("to", "value", "gas") if transaction[key] is not None}
    return call


def _optional(parse: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda result: None if result is None else parse(result)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def _int(text: str) -> int:
    return int(text, 16)
