"""From the chain to the driver: events of final blocks, and the time.

Rules kept: only final blocks count, and final does not go back: a lower number is ignored (R2), another hash where
everything was recorded stops the validator for good (C2). Events are hints (C12): each is handed over when the task is
where it can come, and what the contract's storage says beyond them is looked for again. The cursor moves when all
before it is journalled, so a restart hears nothing too little. An outage of the nodes ends nothing here: it is tried
again for ever, and /readyz tells.

Chain time is the timestamp of the newest final block; in the `dev` profile, where blocks come only with transactions,
it is the wall clock if that is ahead. No other clock of this machine is read (P13).
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from validator.driver import Driver
from validator.edges import contract as onchain
from validator.edges.chain import Block, Chain
from validator.errors import Fatal, Transient, first_error
from validator.journal import Journal
from validator.journal.tables import Cursor
from validator.lost_events import is_behind, is_due, is_up_to_date
from validator.miner_directory import MinerDirectory
from validator.protocol import events as facts
from validator.protocol.state import Phase
from validator.telemetry import CHAIN_EVENTS_MISSED, CHAIN_FINAL_BLOCK
from validator.types import BlockNumber, Hash32, TaskId, UnixSeconds

DEV_POLL_S, POLL_S = 0.2, 4.0
"""Pause between two looks: a development chain is this machine's own, and real ones make a block in 12 s."""
OUTAGE_PAUSE_S = 0.5, 15.0
"""The first and the longest, drawn between half of it and all of it."""
HEADS_EVERY_S = 15.0
AUDIT_EVERY_S = 60.0
AUDITS_PER_LOOK = 32
"""Tasks whose storage is read in one look."""
RANGE_BLOCKS = 1_000
"""Handed over, or searched for what is missing, at once."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class WatcherProgress:
    """How far the watcher has come; -1 and 0 before the first look. `head_seen_at_s` is the loop's time."""

    head_number: int = -1
    head_seen_at_s: float = 0.0
    final_number: int = -1
    chain_time_s: int = 0


class HeadPolled(Protocol):
    """Who wants to know that the chain was looked at, and whether it had a newer head."""

    def __call__(self, *, is_new: bool) -> None: ...


def ignore_polls(*, is_new: bool) -> None:
    """Nobody wants to know."""


class ChainWatcher:
    """Feeds one driver with what happens on chain to the tasks that it knows, and `miners` with who registers.

    From block `start` on, which is where the contract begins, or from where the journal's cursor stands.
    `head_polled` is called after every look, whatever came of it.
    """

    def __init__(
        self,
        chain: Chain,
        contract: onchain.Touchstone,
        driver: Driver,
        journal: Journal,
        *,
        start: BlockNumber,
        finality_depth: int | None,
        miners: MinerDirectory | None = None,
        head_polled: HeadPolled = ignore_polls,
    ) -> None:
        self._chain = chain
        self._contract = contract
        self._driver = driver
        self._journal = journal
        self._start = start
        self._finality_depth = finality_depth
        self._miners = miners or MinerDirectory()
        self._head_polled = head_polled
        self._cursor = journal.cursor()
        self._to_audit: deque[TaskId] = deque()
        self._audited_at_s: float | None = None
        self.progress = WatcherProgress()

    async def run(self) -> None:
        """Look for ever; cancel to stop. Fatal, with the journal stopped, if the chain takes back what was final."""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self._watch(), name="chain")
                parts.create_task(self._compare_heads(), name="heads")
                parts.create_task(self._miners.scan(self._contract, self._start, self.delivered_number), name="miners")
        except BaseExceptionGroup as group:  # boundary: nothing is swallowed, the first error goes on alone
            raise first_error(group) from None

    @property
    def delivered_number(self) -> BlockNumber:
        """Up to this block, the driver knows all that happened."""
        return BlockNumber(self._next - 1)

    @property
    def _next(self) -> BlockNumber:
        return self._start if self._cursor is None else BlockNumber(self._cursor.block_number + 1)

    async def _watch(self) -> None:
        pause_s, longest_pause_s = OUTAGE_PAUSE_S
        while True:
            head_before = self.progress.head_number
            try:
                await self._look()
            except Transient as error:
                log.warning("the chain cannot be read", error=str(error))
                wait_s = random.uniform(0.5, 1) * pause_s
                pause_s = min(2 * pause_s, longest_pause_s)
            else:
                wait_s = POLL_S if self._finality_depth is None else DEV_POLL_S
                pause_s = OUTAGE_PAUSE_S[0]
            self._head_polled(is_new=self.progress.head_number > head_before)
            await asyncio.sleep(wait_s)

    async def _compare_heads(self) -> None:
        while True:
            await self._chain.compare_heads()
            await asyncio.sleep(HEADS_EVERY_S)

    async def _look(self) -> None:
        head = await self._chain.head()
        if head.number > self.progress.head_number:
            self.progress.head_number = head.number
            self.progress.head_seen_at_s = asyncio.get_running_loop().time()
        final = await self._chain.finalized(self._finality_depth)
        if final.number < self.progress.final_number:
            log.warning("a lower block is called final", number=final.number, known=self.progress.final_number)
            return
        await self._check_nothing_was_taken_back(final)
        self.progress.final_number = final.number
        CHAIN_FINAL_BLOCK.set(final.number)
        await self._deliver(final)
        self._tell_time(final)
        await self._audit()

    def _tell_time(self, final: Block) -> None:
        clock_s = int(time.time()) if self._finality_depth is not None else 0
        now_s = max(final.timestamp_s, clock_s, self.progress.chain_time_s)
        self.progress.chain_time_s = now_s
        self._driver.tell_time(UnixSeconds(now_s))

    async def _check_nothing_was_taken_back(self, final: Block) -> None:
        cursor = self._cursor
        if cursor is None or final.number < cursor.block_number:
            return
        is_there = final.number == cursor.block_number
        block = final if is_there else await self._chain.final_block(cursor.block_number)
        if block.hash != cursor.block_hash:
            reason = (
                f"the chain has taken back block {cursor.block_number}, which it had called final: it was "
                f"0x{cursor.block_hash.hex()} and is 0x{block.hash.hex()}"
            )
            self._journal.stop(reason)
            raise Fatal(f"{reason}; nothing more is sent")

    # --- events

    async def _deliver(self, final: Block) -> None:
        while self._next <= final.number:
            end = BlockNumber(min(self._next + RANGE_BLOCKS - 1, final.number))
            last = final if end == final.number else await self._chain.final_block(end)
            happened = await self._contract.events(self._next, end)
            for event in happened:
                if isinstance(event, onchain.Registered):
                    self._miners.add(event.miner)
            await self._hand_over(await self._translate(happened))
            self._move_cursor(Cursor(end, last.hash))

    def _move_cursor(self, cursor: Cursor) -> None:
        self._journal.move_cursor(cursor)
        self._cursor = cursor

    async def _hand_over(self, happened: Sequence[facts.Event]) -> int:
        """Submit what is due, task by task in the order of the chain; how many events that were.

        Where one is missing in between, what comes after it has to wait: the task is looked at again.
        """
        waiting: dict[TaskId, deque[facts.Event]] = {}
        for fact in happened:
            waiting.setdefault(fact.task_id, deque()).append(fact)
        count = 0
        while waiting:
            for task_id, queue in list(waiting.items()):
                state = self._driver.states[task_id]
                while queue and is_behind(state, queue[0]):
                    queue.popleft()
                if queue and is_due(state, queue[0]):
                    self._driver.submit(queue.popleft())
                    count += 1
                    continue
                if queue:
                    self._to_audit.append(task_id)
                del waiting[task_id]
            await self._driver.drained()
        return count

    async def _translate(self, happened: Sequence[onchain.ContractEvent]) -> list[facts.Event]:
        """The facts behind contract events, of the tasks that are ours."""
        ours = [event for event in happened if getattr(event, "task_id", None) in self._driver.states]
        numbers = {event.log.block_number for event in ours}
        times_s = {number: (await self._chain.final_block(number)).timestamp_s for number in numbers}
        closing = {event.log.tx_hash for event in ours if isinstance(event, onchain.TaskClosed)}
        for event in ours:
            is_open = isinstance(event, onchain.TaskSettled) and event.log.tx_hash not in closing
            if is_open and await self._has_closed(event.log.tx_hash):
                closing.add(event.log.tx_hash)
        translated = (_translate(event, times_s[event.log.block_number], closing) for event in ours)
        return [fact for fact in translated if fact is not None]

    async def _has_closed(self, tx_hash: Hash32) -> bool:
        """Asked of the receipt, for whether a `settle` is the end depends on an event that may have been lost (C12)."""
        receipt = await self._chain.final_receipt(tx_hash)
        if receipt is None:
            raise Transient(f"there is no receipt of 0x{tx_hash.hex()}, of which there are events")
        return any(isinstance(onchain.decode_log(entry), onchain.TaskClosed) for entry in receipt.logs)

    # --- what events did not tell

    async def _audit(self) -> None:
        """Compare the contract's storage with what is known, for all tasks now and then, and for some at once."""
        last = BlockNumber(self._next - 1)
        if last < self._start:
            return  # The contract itself is not final yet.
        now_s = asyncio.get_running_loop().time()
        if self._audited_at_s is None or now_s - self._audited_at_s >= AUDIT_EVERY_S:
            self._audited_at_s = now_s
            waiting = set(self._to_audit)
            running = (state.task_id for state in self._driver.states.values() if state.phase is not Phase.CLOSED)
            self._to_audit.extend(task_id for task_id in running if task_id not in waiting)
        for _ in range(min(len(self._to_audit), AUDITS_PER_LOOK)):
            task_id = self._to_audit.popleft()
            if self._driver.states[task_id].phase is not Phase.CLOSED:
                await self._audit_task(task_id, last)

    async def _audit_task(self, task_id: TaskId, last: BlockNumber) -> None:
        try:
            status = (await self._contract.task_state(task_id, at=last)).status
            if is_up_to_date(self._driver.states[task_id], status):
                return
            missed = await self._hand_over(await self._search(task_id, last))
        except Transient as error:
            log.warning("a task cannot be compared with the chain", task=f"0x{task_id.hex()}", error=str(error))
            return
        CHAIN_EVENTS_MISSED.inc(missed)
        log.warning("events were missed", task=f"0x{task_id.hex()}", status=status.name, found=missed)

    async def _search(self, task_id: TaskId, last: BlockNumber) -> list[facts.Event]:
        """The task's events, back to one that is known or due, or to the contract's beginning."""
        blocks = RANGE_BLOCKS
        while True:
            first = BlockNumber(max(self._start, last - blocks + 1))
            found = await self._translate(await self._contract.events(first, last, task_id=task_id))
            state = self._driver.states[task_id]
            if first == self._start or (found and (is_behind(state, found[0]) or is_due(state, found[0]))):
                return found
            blocks *= 2


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
