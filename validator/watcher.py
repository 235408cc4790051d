"""From the chain to the driver: events of final blocks, and the time.

Rule kept: only final blocks count. Chain time is the timestamp of the newest final block; in the `dev` profile, where
blocks come only with transactions, it is the wall clock if that is ahead.
"""

import asyncio
import time

import structlog

from validator.driver import Driver
from validator.edges import contract as onchain
from validator.edges.chain import Chain
from validator.errors import Fatal, Transient
from validator.protocol import events as facts
from validator.types import BlockNumber, Hash32, UnixSeconds

POLL_S = 0.2
OUTAGE_POLL_S, OUTAGE_LIMIT_S = 2.0, 300

log = structlog.get_logger(__name__)


class ChainWatcher:
    """Feeds one driver with what happens on chain to the tasks that it knows, from block `start` on."""

    def __init__(
        self,
        chain: Chain,
        contract: onchain.Touchstone,
        driver: Driver,
        *,
        start: BlockNumber,
        finality_depth: int | None,
    ) -> None:
        self._chain = chain
        self._contract = contract
        self._driver = driver
        self._next = start
        self._finality_depth = finality_depth

    async def run(self) -> None:
        """Poll for ever; cancel to stop. Fatal if the node has not answered for OUTAGE_LIMIT_S."""
        last_seen_s = time.monotonic()
        while True:
            try:
                await self._look()
                last_seen_s = time.monotonic()
            except Transient as error:
                log.warning("the chain cannot be read", error=str(error))
                if time.monotonic() - last_seen_s > OUTAGE_LIMIT_S:
                    raise Fatal(f"the chain has not been readable for {OUTAGE_LIMIT_S} s: {error}") from error
                await asyncio.sleep(OUTAGE_POLL_S)
            await asyncio.sleep(POLL_S)

    async def _look(self) -> None:
        final = await self._chain.finalized(self._finality_depth)
        if final.number >= self._next:
            await self._deliver(BlockNumber(final.number))
        clock_s = time.time() if self._finality_depth is not None else 0
        self._driver.tell_time(UnixSeconds(max(final.timestamp_s, int(clock_s))))

    async def _deliver(self, last: BlockNumber) -> None:
        happened = await self._contract.events(self._next, last)
        numbers = {event.log.block_number for event in happened}
        times_s = {number: (await self._chain.block(number)).timestamp_s for number in numbers}
        closing = {event.log.tx_hash for event in happened if isinstance(event, onchain.TaskClosed)}
        for event in happened:
            fact = _translate(event, times_s[event.log.block_number], closing)
            if fact is not None and fact.task_id in self._driver.states:
                self._driver.submit(fact)
        self._next = BlockNumber(last + 1)


def _translate(event: onchain.ContractEvent, at_s: UnixSeconds, closing: set[Hash32]) -> facts.Event | None:
    """The fact behind a contract event, or None if no task's state depends on it."""
    tx_hash = event.log.tx_hash
    match event:
        case onchain.TaskOpened(task_id=task_id):
            return facts.TaskOpened(task_id, tx_hash, at_s)
        case onchain.TaskAccepted(task_id=task_id):
            return facts.TaskAccepted(task_id, tx_hash, at_s)
        case onchain.ModelSubmitted(task_id=task_id, model_hash=model_hash):
            return facts.ModelSubmitted(task_id, tx_hash, at_s, model_hash)
        case onchain.Challenged(task_id=task_id):
            return facts.TaskChallenged(task_id, tx_hash, at_s)
        case onchain.Answered(task_id=task_id, replies=replies):
            return facts.ChallengeAnswered(task_id, tx_hash, at_s, replies)
        case onchain.TaskSettled(task_id=task_id, hits=hits):
            return facts.TaskSettled(task_id, tx_hash, at_s, hits, is_slash_pending=tx_hash not in closing)
        case onchain.TaskClosed(task_id=task_id, outcome=outcome):
            return facts.TaskClosed(task_id, tx_hash, at_s, outcome.name.lower())
    return None
