"""The memory node's JSON-RPC, and the way of one client to it.

It stands where the HTTP exchange of `validator/edges/rpc_node.py` stands, and all above that runs as it is; what nodes
of other makes answer to the same script, test_conformance.py compares.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from eth_utils.address import to_checksum_address

from tests.daemon.memory_blocks import MinedBlock, Outcome
from tests.daemon.memory_node import BLOCK_GAS_LIMIT, GWEI, MemoryNode, RpcError
from validator.edges.chain import Chain
from validator.edges.nodes import Nodes
from validator.edges.rpc_node import Node, write_hex
from validator.types import Address

METHOD_NOT_FOUND = -32601
NOBODY = "0x" + "00" * 20


Honest: TypeAlias = Callable[[Sequence[Any]], dict[str, Any]]


class Wire:
    """What lies between one client and the world; here nothing happens to what is on its way."""

    def before(self, what: str, content: Any) -> None:
        """A request has not arrived: what is raised here loses it."""

    def after(self, what: str, content: Any) -> None:
        """What was asked is done: what is raised here loses the answer."""

    def answer(self, _method: str, params: Sequence[Any], honest: Honest) -> dict[str, Any]:
        """What comes back for a call to the node, of which `honest` knows the truth."""
        return honest(params)


class MemoryRpcNode(Node):
    """One client's way to the node."""

    def __init__(self, node: MemoryNode, wire: Wire) -> None:
        super().__init__("http://127.0.0.1", "0")
        self._methods = _Methods(node)
        self._wire = wire

    async def _post(self, call: Mapping[str, Any]) -> Mapping[str, Any]:
        await asyncio.sleep(0)
        method, params = call["method"], call["params"]
        self._wire.before(method, params)
        answer = self._wire.answer(method, params, partial(self._answer, method))
        self._wire.after(method, params)
        return {"jsonrpc": "2.0", "id": call["id"]} | answer

    def _answer(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        handler = getattr(self._methods, method, None)
        try:
            if handler is None:
                raise RpcError(f"the method {method} does not exist/is not available", METHOD_NOT_FOUND)
            return {"result": handler(*params)}
        except RpcError as error:
            return {"error": error.body}


async def open_chain(node: MemoryNode, wire: Wire | None = None) -> Chain:
    """The node as a client sees it."""
    rpc_node = MemoryRpcNode(node, wire or Wire())
    return Chain(Nodes([rpc_node], await rpc_node.introduce()))


class _Methods:
    """Named as clients name them; RpcError is the answer where there is no result."""

    def __init__(self, node: MemoryNode) -> None:
        self._node = node

    def eth_chainId(self) -> str:  # noqa: N802
        return hex(self._node.chain_id)

    def eth_blockNumber(self) -> str:  # noqa: N802
        return hex(self._node.head.number)

    def eth_maxPriorityFeePerGas(self) -> str:  # noqa: N802
        return hex(GWEI)

    def eth_getBlockByNumber(self, tag: str, _is_full: bool) -> dict[str, Any] | None:  # noqa: N802
        number = self._find_block(tag)
        if number is None:
            return None
        block = self._node.blocks[number]
        return {
            "number": hex(number),
            "hash": write_hex(block.hash),
            "timestamp": hex(block.timestamp_s),
            "baseFeePerGas": hex(block.base_fee_wei),
        }

    def eth_call(self, call: Mapping[str, Any], tag: str) -> str:
        return write_hex(self._execute(call, tag)[0])

    def eth_estimateGas(self, call: Mapping[str, Any], tag: str) -> str:  # noqa: N802
        return hex(self._execute(call, tag)[1])

    def eth_getBalance(self, address: str, tag: str) -> str:  # noqa: N802
        return hex(self._node.state_at(self._block(tag)).balance_wei(Address(to_checksum_address(address))))

    def eth_getCode(self, address: str, tag: str) -> str:  # noqa: N802
        return write_hex(self._node.state_at(self._block(tag)).code(Address(to_checksum_address(address))))

    def eth_getTransactionCount(self, address: str, tag: str) -> str:  # noqa: N802
        sender = Address(to_checksum_address(address))
        if tag == "pending":
            return hex(self._node.next_nonce(sender))
        return hex(sum(outcome.transaction.sender == sender for _, outcome in self._node.outcomes(self._block(tag))))

    def eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        return write_hex(self._node.send(bytes.fromhex(raw[2:])))

    def eth_getTransactionReceipt(self, tx_hash: str) -> dict[str, Any] | None:  # noqa: N802
        for block, outcome in self._node.outcomes():
            if write_hex(outcome.transaction.hash) == tx_hash:
                return {
                    "transactionHash": tx_hash,
                    "blockNumber": hex(block.number),
                    "blockHash": write_hex(block.hash),
                    "status": hex(outcome.is_success),
                    "gasUsed": hex(outcome.gas_used),
                    "effectiveGasPrice": hex(outcome.price_wei),
                    "contractAddress": outcome.created,
                    "logs": list(_logs_of(block, outcome)),
                }
        return None

    def eth_getTransactionByHash(self, tx_hash: str) -> dict[str, Any] | None:  # noqa: N802
        mined = (outcome.transaction for _block, outcome in self._node.outcomes())
        known = {write_hex(transaction.hash): transaction for transaction in (*mined, *self._node.pool.values())}
        if (transaction := known.get(tx_hash)) is None:
            return None
        signed = transaction.signed
        return {
            "hash": tx_hash,
            "from": transaction.sender,
            "to": signed.to,
            "nonce": hex(signed.nonce),
            "value": hex(signed.value_wei),
            "gas": hex(signed.gas_limit),
            "input": write_hex(signed.data),
            "maxFeePerGas": hex(signed.max_fee_per_gas_wei),
            "maxPriorityFeePerGas": hex(signed.max_priority_fee_per_gas_wei),
        }

    def eth_getLogs(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:  # noqa: N802
        first, last = self._block(query["fromBlock"]), self._block(query["toBlock"])
        return [
            log
            for block in self._node.blocks[first : last + 1]
            for outcome in block.outcomes
            for log in _logs_of(block, outcome)
            if log["address"] == query["address"] and _matches(log["topics"], query.get("topics", []))
        ]

    def _find_block(self, tag: str) -> int | None:
        match tag:
            case "latest" | "pending":
                return self._node.head.number
            case "finalized":
                return self._node.final.number
        number = int(tag, 16)
        return number if number <= self._node.head.number else None

    def _block(self, tag: str) -> int:
        number = self._find_block(tag)
        if number is None:
            raise RpcError("header not found")
        return number

    def _execute(self, call: Mapping[str, Any], tag: str) -> tuple[bytes, int]:
        return self._node.execute(
            self._block(tag),
            sender=Address(to_checksum_address(call.get("from", NOBODY))),
            to=call.get("to"),
            data=bytes.fromhex(call["data"][2:]),
            value_wei=int(call.get("value", "0x0"), 16),
            gas_limit=int(call.get("gas", hex(BLOCK_GAS_LIMIT)), 16),
            behind_pool=tag == "pending",
        )


def _logs_of(block: MinedBlock, outcome: Outcome) -> Iterator[dict[str, Any]]:
    place = block.outcomes.index(outcome)
    first = sum(len(before.logs) for before in block.outcomes[:place])
    for index, log in enumerate(outcome.logs, first):
        yield {
            "address": log.address,
            "topics": [write_hex(topic) for topic in log.topics],
            "data": write_hex(log.data),
            "blockNumber": hex(block.number),
            "blockHash": write_hex(block.hash),
            "transactionHash": write_hex(outcome.transaction.hash),
            "logIndex": hex(index),
            "removed": False,
        }


def _matches(topics: Sequence[str], wanted: Sequence[str | None]) -> bool:
    return len(wanted) <= len(topics) and all(
        choice is None or topic == choice for topic, choice in zip(topics, wanted, strict=False)
    )
