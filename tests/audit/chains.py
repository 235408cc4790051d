"""Chains to audit: the shipped contract on the fast EVM, every transaction a block, served over real HTTP.

Blocks are sparse: between two transactions there may be any number of empty ones.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from eth_abi.abi import encode
from eth_utils.abi import collapse_if_tuple

from contracts import load_artifact
from tests.contracts.evm import Log as RawLog
from tests.contracts.evm import PyRevm
from tests.edges.loopback import serving
from validator.audit.history import Dated, TaskHistory
from validator.edges.chain import Log
from validator.edges.contract import ContractEvent, decode_log
from validator.protocol.commitment import RowHashes, Terms, keccak
from validator.types import Address, BlockNumber, Hash32, TaskId

ABI = {entry["name"]: entry for entry in load_artifact().abi if entry["type"] == "event"}
FIRST_BLOCK = 5
Lie = Callable[[list[Dated]], list[Dated]]


class RecordedChain(PyRevm):
    """`gap`: how many blocks a transaction is behind the one before."""

    def __init__(self, gap: int = 1) -> None:
        super().__init__()
        self.gap = gap
        self.logs: list[tuple[int, Log]] = []
        """Each with the time of its block."""
        self.head, self.deployed_at, self._sent = FIRST_BLOCK, FIRST_BLOCK, 0

    def transact(self, sender: str, to: str, data: bytes, value_wei: int) -> list[RawLog]:
        found = super().transact(sender, to, data, value_wei)
        self.head += self.gap
        self._sent += 1
        for index, raw in enumerate(found):
            log = Log(
                address=Address(to),
                topics=tuple(Hash32(topic) for topic in raw.topics),
                data=raw.data,
                block_number=BlockNumber(self.head),
                block_hash=block_hash(self.head),
                tx_hash=keccak(b"transaction %d" % self._sent),
                log_index=index,
            )
            self.logs.append((self.now, log))
        return found

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        kept = self.head, self._sent, list(self.logs)
        with super().rolled_back():
            yield
        self.head, self._sent, self.logs = kept

    @property
    def events(self) -> list[Dated]:
        return [Dated(event, at_s) for at_s, log in self.logs if (event := decode_log(log)) is not None]

    def history(self, task_id: TaskId) -> TaskHistory:
        return TaskHistory(task_id, [each for each in self.events if getattr(each.event, "task_id", None) == task_id])


def block_hash(number: int, branch: int = 0) -> Hash32:
    return keccak(b"block %d/%d" % (number, branch))


def encode_event(event: ContractEvent) -> Log:
    """The log that stands for an event, where its own stood."""
    inputs = ABI[type(event).__name__]["inputs"]
    values = {entry["name"]: _raw(getattr(event, entry["name"])) for entry in inputs}
    topics = [encode([entry["type"]], [values[entry["name"]]]) for entry in inputs if entry["indexed"]]
    plain = [entry for entry in inputs if not entry["indexed"]]
    data = encode([collapse_if_tuple(entry) for entry in plain], [values[entry["name"]] for entry in plain])
    return replace(event.log, topics=(event.log.topics[0], *map(Hash32, topics)), data=data)


def _raw(value: Any) -> Any:
    if isinstance(value, Terms):
        return value.as_tuple()
    if isinstance(value, RowHashes):
        return value.prompt_hash, value.head_hash, value.tail_hash
    return [_raw(each) for each in value] if isinstance(value, tuple) else value


@dataclass
class PublicNode:
    """A node that serves a recorded chain, with the limits and the lies of a test.

    `busy_every`: every so-manieth request is refused by `refusal`. `is_pruned`: it has the state of no block.
    """

    chain: RecordedChain
    contract: str
    lie: Lie = lambda events: events
    code: bytes | None = None
    max_range: int | None = None
    busy_every: int = 0
    refusal: Callable[[], web.Response] = lambda: web.Response(status=429)
    is_pruned: bool = False
    branch_from: int | None = None
    """From this block on, the chain has other blocks."""
    asked: list[str] = field(default_factory=list)
    """Methods."""
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Of blocks whose logs were asked for."""

    def prepare(self) -> None:
        """Make up what is told of the chain as it is now."""
        self._told = [(each.at_s, encode_event(each.event)) for each in self.lie(self.chain.events)]
        self._told.sort(key=lambda told: (told[1].block_number, told[1].log_index))
        self._blocks = [log.block_number for _at_s, log in self._told]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        self.prepare()
        async with serving(self._handle) as url:
            yield url

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = json.loads(await request.read())
        self.asked.append(call["method"])
        if self.busy_every and len(self.asked) % self.busy_every == 0:
            return self.refusal()
        return web.json_response(self.answer(call))

    def answer(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON-RPC response; a LookupError of a method is its error object."""
        head = {"jsonrpc": "2.0", "id": call["id"]}
        try:
            return head | {"result": getattr(self, call["method"])(*call["params"])}
        except LookupError as error:
            return head | {"error": error.args[0]}

    def eth_chainId(self) -> str:  # noqa: N802
        return hex(self.chain.chain_id)

    def eth_getBlockByNumber(self, tag: str, _is_full: bool) -> Any:  # noqa: N802
        number = self._number(tag)
        count = bisect_right(self._blocks, number)
        return {
            "number": hex(number),
            "hash": "0x" + self._block_hash(number).hex(),
            "timestamp": hex(self._told[count - 1][0] if count else 0),
        }

    def eth_getLogs(self, query: dict[str, Any]) -> Any:  # noqa: N802
        first, last = self._number(query["fromBlock"]), self._number(query["toBlock"])
        self.ranges.append((first, last))
        if self.max_range is not None and last - first >= self.max_range:
            raise LookupError({"code": -32600, "message": f"query exceeds max block range {self.max_range}"})
        told = self._told[bisect_left(self._blocks, first) : bisect_right(self._blocks, last)]
        return [self._describe(log) for _at_s, log in told]

    def eth_getCode(self, _address: str, tag: str) -> str:  # noqa: N802
        if tag != "latest":
            self._require_state()
            if self._number(tag) < self.chain.deployed_at:
                return "0x"
        return "0x" + (self.code or trimmed(self.chain.code(self.contract))).hex()

    def eth_call(self, call: dict[str, Any], _tag: str) -> str:
        self._require_state()
        return "0x" + self.chain.read(call["to"], bytes.fromhex(call["data"][2:])).hex()

    def eth_getBalance(self, address: str, _tag: str) -> str:  # noqa: N802
        self._require_state()
        return hex(self.chain.balance(address))

    def _require_state(self) -> None:
        if self.is_pruned:
            raise LookupError({"code": -32000, "message": "required historical state unavailable (reexec=128)"})

    def _number(self, tag: str) -> int:
        return self.chain.head if tag in ("latest", "finalized") else int(tag, 16)

    def _block_hash(self, number: int) -> Hash32:
        return block_hash(number, int(self.branch_from is not None and number >= self.branch_from))

    def _describe(self, log: Log) -> dict[str, Any]:
        return {
            "address": log.address,
            "topics": ["0x" + topic.hex() for topic in log.topics],
            "data": "0x" + log.data.hex(),
            "blockNumber": hex(log.block_number),
            "blockHash": "0x" + self._block_hash(log.block_number).hex(),
            "transactionHash": "0x" + log.tx_hash.hex(),
            "logIndex": hex(log.log_index),
        }


def trimmed(code: bytes) -> bytes:
    """revm puts 33 zeros behind code."""
    return code[:-33]


def change(kind: type[ContractEvent], change_: Callable[[Any], Any], which: int = 0) -> Lie:
    """A lie about one event of a kind: what `change_` makes of it, or nothing for None."""

    def lie(events: list[Dated]) -> list[Dated]:
        places = [place for place, each in enumerate(events) if isinstance(each.event, kind)]
        changed = change_(events[places[which]].event)
        told = events[: places[which]] + ([] if changed is None else [replace(events[places[which]], event=changed)])
        return told + events[places[which] + 1 :]

    return lie


def only(events: Sequence[Dated], kind: type[ContractEvent]) -> list[Any]:
    return [each.event for each in events if isinstance(each.event, kind)]
