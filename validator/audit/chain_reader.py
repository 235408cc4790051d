"""Events from any public node: limits, refusals and pauses are waited out, and nothing is asked of an old state.

Rule kept: only `eth_chainId`, `eth_getBlockByNumber`, `eth_getLogs` and, for the newest blocks alone, `eth_getCode`,
`eth_call` and `eth_getBalance` are asked; a node that has forgotten its past states serves an audit as well as any.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from eth_abi.exceptions import DecodingError

from validator.audit.history import Dated
from validator.edges.chain import MAX_LOG_RANGE_BLOCKS, Block, Chain, Log
from validator.edges.contract import ContractEvent, Touchstone, decode_log
from validator.errors import Fatal, NodeFault, Reverted, Transient
from validator.types import Address, BlockNumber, Wei

T = TypeVar("T")

PATIENCE_S = 600.0
"""For which a node may refuse everything before the audit gives up."""
PAUSES_S = 0.5, 30.0
"""The first pause after a refusal, and the longest; each is twice the one before."""
MAX_LOG_INDEX, MAX_TIMESTAMP_S = 1 << 32, 1 << 40
GROWTH = 8
"""By one in so many of its blocks a range grows after an answer, and by half it shrinks after a refusal."""
AT_ONCE = 8
"""Blocks that are asked for at a time."""
BUSY_WORDS = ("rate", "limit", "too many", "capacity", "exceed", "timeout", "timed out", "try again", "busy")
"""In the refusals of public nodes, whatever code these have."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What happened up to and in the block `end`; `undecodable` are logs that are none of the contract's events."""

    end: Block
    events: list[Dated]
    undecodable: list[Log]


class ChainReader:
    """One contract on one chain; `finality_depth` as in a profile, None for the nodes' own `finalized` tag."""

    def __init__(self, chain: Chain, contract: Address, finality_depth: int | None) -> None:
        self.chain = chain
        self.contract = Touchstone(chain, contract)
        self._depth = finality_depth
        self._span = MAX_LOG_RANGE_BLOCKS
        """Blocks that are asked for at a time: less where a node answers no more."""

    async def final_block(self) -> Block:
        """The newest block that is final; what is behind it may yet be reorganised away."""
        return await self._patiently(lambda: self.chain.finalized(self._depth))

    async def block(self, number: int) -> Block:
        return await self._patiently(lambda: self.chain.final_block(BlockNumber(number)))

    async def code(self) -> bytes:
        """Of the contract, now."""
        return await self._patiently(lambda: self.chain.code_at(self.contract.address))

    async def has_code_before(self, number: int) -> bool | None:
        """Whether the contract was there before a block; None where the node has forgotten that state."""
        if number == 0:
            return False
        try:
            return bool(await self.chain.ask(_is_code, "eth_getCode", self.contract.address, hex(number - 1)))
        except (Fatal, Transient):
            return None

    async def credit_wei(self, account: Address, at: int) -> Wei | None:
        """An account's credit as the contract keeps it, after a block; None where the node has forgotten that state."""
        try:
            return await self.contract.credits_wei(account, at=BlockNumber(at))
        except (Fatal, Transient):
            return None

    async def balance_wei(self, at: int) -> Wei | None:
        """What the contract holds after a block; None where the node has forgotten that state."""
        try:
            return Wei(
                await self.chain.ask(lambda text: int(text, 16), "eth_getBalance", self.contract.address, hex(at))
            )
        except (Fatal, Transient):
            return None

    async def stretches(self, first: int, last: int) -> AsyncIterator[Stretch]:
        """All events from one block to another, in ranges of blocks that the node is willing to answer."""
        while first <= last:
            end = await self.block(min(first + self._span - 1, last))
            logs = await self._logs(first, end.number)
            if logs is None:
                continue  # The range was too long: the next one is shorter.
            yield await self._date(end, logs)
            first = end.number + 1

    async def _logs(self, first: int, last: int) -> list[Log] | None:
        """None where fewer blocks have to be asked for."""
        try:
            logs = await self._patiently(
                lambda: self.chain.logs(self.contract.address, BlockNumber(first), BlockNumber(last)),
                # "Too many blocks" and "too many requests" have the same codes and words at many nodes.
                attempts=2 if first < last else None,
            )
        except (Fatal, Transient):
            if first == last:
                raise
            self._span = (last - first + 1) // 2
            return None
        self._span = min(self._span + self._span // GROWTH + 1, MAX_LOG_RANGE_BLOCKS)
        return logs

    async def _date(self, end: Block, logs: list[Log]) -> Stretch:
        blocks = {end.number: end}
        missing = sorted({log.block_number for log in logs} - blocks.keys())
        for start in range(0, len(missing), AT_ONCE):
            for block in await asyncio.gather(*map(self.block, missing[start : start + AT_ONCE])):
                blocks[block.number] = block
        places = [(log.block_number, log.log_index) for log in logs]
        if places != sorted(set(places)) or any(index >= MAX_LOG_INDEX for _block, index in places):
            raise NodeFault("a node gives logs out of their order")
        if any(block.timestamp_s >= MAX_TIMESTAMP_S for block in blocks.values()):
            raise NodeFault("a node gives a time that no block has")
        stretch = Stretch(end, [], [])
        for log in logs:
            block = blocks[log.block_number]
            if log.block_hash != block.hash:
                raise NodeFault(f"the chain has changed at block {block.number}, which was called final")
            try:
                event = _decode(log)
            except ValueError:
                stretch.undecodable.append(log)
            else:
                stretch.events.append(Dated(event, block.timestamp_s))
        return stretch

    async def _patiently(self, ask: Callable[[], Awaitable[T]], attempts: int | None = None) -> T:
        """Ask again while the node is busy: so often, or for as long as patience lasts."""
        loop = asyncio.get_running_loop()
        patient_until_s, pause_s = loop.time() + PATIENCE_S, PAUSES_S[0]
        for attempt in itertools.count(1):
            try:
                return await ask()
            except (Fatal, Transient) as error:
                if not _is_busy(error) or attempt == attempts or loop.time() > patient_until_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSES_S[1])
        raise AssertionError("counting has no end")


def _is_busy(error: Fatal | Transient) -> bool:
    if isinstance(error, Reverted):
        return False
    return isinstance(error, Transient) or any(word in str(error).lower() for word in BUSY_WORDS)


def _decode(log: Log) -> ContractEvent:
    """ValueError for what this contract never emits."""
    if any(len(topic) != 32 for topic in log.topics):
        raise ValueError("no topic has another length")
    try:
        event = decode_log(log)
    except (DecodingError, OverflowError, StopIteration, TypeError) as error:
        raise ValueError(str(error)) from error
    if event is None:
        raise ValueError("no event of the contract")
    return event


def _is_code(text: str) -> bool:
    return len(bytes.fromhex(text.removeprefix("0x"))) > 0
