"""The audit of one contract: stretch by stretch, each event into the books, each task that it touches checked again."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from validator.audit.books import Books
from validator.audit.chain_reader import ChainReader, Stretch
from validator.audit.docket import Docket, Subject
from validator.audit.findings import Party, Proof
from validator.audit.history import Dated, TaskHistory
from validator.audit.report import BundleStatus
from validator.audit.store import AuditStore
from validator.audit.task_report import NOT_ASKED, report_task
from validator.edges.bundles import BundleSources
from validator.edges.chain import Block
from validator.edges.contract import TaskSettled
from validator.errors import BadInput, Transient
from validator.evidence.fields import to_hex
from validator.types import Address, TaskId

BUNDLES_AT_ONCE, ACCOUNTS_AT_ONCE = 4, 8
PUBLISHING_S = 600
"""Chain time that a validator has for opening a bundle once its settlement is final."""
LATE_S = 3_600
"""Chain time for which a bundle that is missing is looked for again while the audit follows the chain."""
UNSEEN = (BundleStatus.NOT_ASKED, BundleStatus.MISSING, BundleStatus.UNREACHABLE)


class Audit:
    """`read` brings it up to the newest final block; everything that it finds is in the store."""

    def __init__(
        self,
        subject: Subject,
        reader: ChainReader,
        store: AuditStore,
        bundles: BundleSources | None,
        from_block: int,
        on_progress: Callable[[int, int], None] = lambda _block, _last: None,
    ) -> None:
        self._subject = subject
        self._reader = reader
        self._store = store
        self._bundles = bundles
        self._from_block = from_block
        self._on_progress = on_progress
        self._now_s = 0
        """The time of the newest final block."""

    async def read(self) -> Block:
        """Up to the newest final block, which it gives; Transient if the chain changes under it."""
        last = await self._reader.final_block()
        if self._from_block > last.number:
            raise BadInput(f"the last final block is {last.number}: --from-block {self._from_block} is behind it")
        first = await self._find_start(last)
        self._now_s = last.timestamp_s
        books = Books(self._subject, self._store, self._history_of, self._store.get("books"))
        if first <= last.number:
            async for stretch in self._reader.stretches(first, last.number):
                await self._take(stretch, books)
                self._on_progress(stretch.end.number, last.number)
        if self._subject.is_whole:
            await self._compare_balances(books, last)
        self._store.commit()
        return last

    async def look_again(self, since_s: int = 0) -> None:
        """For bundles of tasks that were settled since then, where none has been seen."""
        if self._bundles is not None:
            self._now_s = (await self._reader.final_block()).timestamp_s
            await self._report(self._store.without_bundle(UNSEEN, since_s))
            self._store.commit()

    async def _find_start(self, last: Block) -> int:
        """Behind what was read; at the beginning again if the chain has another block there now."""
        read = self._store.get("last")
        if read is None:
            return self._from_block
        if read["block"] > last.number:
            message = f"the node is at block {last.number}, and {read['block']} was read: it is behind"
            raise Transient(f"{message}, or on another chain, which needs another --store")
        if to_hex((await self._reader.block(read["block"])).hash) == read["hash"]:
            return int(read["block"]) + 1
        self._store.reset()
        return self._from_block

    async def _take(self, stretch: Stretch, books: Books) -> None:
        """One stretch, and with it all that follows from it, or nothing."""
        touched: dict[TaskId, None] = {}
        named = [(_task_id(dated), dated) for dated in stretch.events]
        self._store.add_events((task_id, dated) for task_id, dated in named if task_id is not None)
        for task_id, dated in named:
            self._store.add_findings(books.apply(dated))
            if task_id is not None:
                touched[task_id] = None
        docket = Docket(self._subject)
        for log in stretch.undecodable:
            message = "a log of the contract is none of its events"
            docket.contradict(Party.CONTRACT, None, "log", message, Proof.of_log("log", log))
        self._store.add_findings(docket.findings)
        await self._report(list(touched))
        self._store.put("books", books.state())
        self._store.put("last", {"block": stretch.end.number, "hash": to_hex(stretch.end.hash)})
        self._store.commit()

    async def _report(self, task_ids: Sequence[TaskId]) -> None:
        for start in range(0, len(task_ids), BUNDLES_AT_ONCE):
            histories = list(map(self._history_of, task_ids[start : start + BUNDLES_AT_ONCE]))
            evidence = await asyncio.gather(*map(self._find_evidence, histories))
            for history, found in zip(histories, evidence, strict=True):
                self._put(history, found)
        if task_ids:
            self._store.put("changes", (self._store.get("changes") or 0) + 1)

    def _put(self, history: TaskHistory, found: object) -> None:
        if history.opened is None:
            self._put_unopened(history)
            return
        settled_at_s = next((dated.at_s for dated in history.events if isinstance(dated.event, TaskSettled)), None)
        is_due = settled_at_s is not None and settled_at_s + PUBLISHING_S <= self._now_s
        report = report_task(self._subject, history, self._store, found, is_bundle_due=is_due)
        self._store.put_task(report, history.task_id, history.opened.log.block_number, settled_at_s)

    def _put_unopened(self, history: TaskHistory) -> None:
        """Events of a task that nobody opened: it has no terms, so that is all that can be said."""
        if self._subject.is_whole and not self._store.findings_of(history.task_id):
            docket = Docket(self._subject, history.task_id)
            first = history.events[0].event
            proof = Proof.of_log(type(first).__name__, first.log)
            docket.contradict(Party.CONTRACT, None, "order", "there are events of a task that was never opened", proof)
            self._store.add_findings(docket.findings)

    async def _find_evidence(self, history: TaskHistory) -> object:
        settled = history.settled
        if self._bundles is None or settled is None:
            return NOT_ASKED
        try:
            return await self._bundles.find(settled.bundle_hash)
        except Transient as error:
            return error

    def _history_of(self, task_id: TaskId) -> TaskHistory:
        return self._store.history(task_id, self._subject.address)

    async def _compare_balances(self, books: Books, last: Block) -> None:
        """The contract's own figures, where the node still has them, against those that its events add up to."""
        state, compared = books.state(), self._store.get("compared")
        if state == compared:
            return
        found: dict[str, Any] = self._store.get("balances") or {}
        known = compared["accounts"] if compared else {}
        changed = [Address(address) for address, fields in state["accounts"].items() if known.get(address) != fields]
        for start in range(0, len(changed), ACCOUNTS_AT_ONCE):
            asked = changed[start : start + ACCOUNTS_AT_ONCE]
            credits_wei = await asyncio.gather(*(self._reader.credit_wei(each, last.number) for each in asked))
            if None in credits_wei:
                break
            for address, credit_wei in zip(asked, credits_wei, strict=True):
                wrong = credit_wei != books.accounts[address].credit
                message = f"{address} has a credit of {credit_wei} wei, and its events add up to "
                self._hold(found, address, "credit", f"{message}{books.accounts[address].credit}" if wrong else None)
        held_wei = await self._reader.balance_wei(last.number)
        is_short = held_wei is not None and held_wei < books.held_wei
        message = f"the contract holds {held_wei} wei, and owes {books.held_wei}"
        self._hold(found, self._subject.address, "solvency", message if is_short else None)
        self._store.put("balances", found)
        self._store.put("compared", state)

    def _hold(self, found: dict[str, Any], address: Address, check: str, message: str | None) -> None:
        """Keep what is wrong with a balance, in place of what was."""
        found.pop(f"{check} {address}", None)
        if message is not None:
            docket = Docket(self._subject)
            docket.contradict(Party.CONTRACT, None, check, message)
            found[f"{check} {address}"] = docket.findings[0].model_dump(mode="json")


def _task_id(dated: Dated) -> TaskId | None:
    task_id: TaskId | None = getattr(dated.event, "task_id", None)
    return task_id
