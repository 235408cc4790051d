"""The transaction manager: everything that one key sends, from an effect's wish to a block that stays.

Rules kept: one writer for each key; signed bytes are in the journal before they leave (P3), and leave again unchanged
after a crash or a reorganisation (P4, C1, C3); a nonce is never given to another effect, and every attempt for it
counts until one is final; only what was never signed may be forgotten (R8). Whether a block is final is asked of the
chain's own hashes: the receipt's block must be the one at that height, looked up again.

A transaction is Sent, Mined, Final. Cancelling is one more attempt with the same nonce, to ourselves and without
effect: whichever is mined decides. What was mined and failed has used its nonce up, as a cancellation has.
The module is long because these rules hold only together.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from validator.config import FeeLimits
from validator.edges.broadcast_errors import Answer, classify
from validator.edges.chain import Block, Chain, Fees, Receipt
from validator.edges.deadline_alarms import Deadline
from validator.edges.keys import Signer
from validator.edges.nonce_journal import Attempt, Inclusion, NonceJournal, Outgoing
from validator.edges.refusals import explain
from validator.errors import Cancelled, DeadlinePassed, Fatal, QueueFull, Reverted, TouchstoneError, Transient
from validator.telemetry import (
    GAS_SPENT_WEI,
    OLDEST_TRANSACTION_SECONDS,
    TRANSACTION_ANSWERS,
    TRANSACTION_ATTEMPTS,
    TRANSACTIONS_CAPPED,
    TRANSACTIONS_IN_FLIGHT,
    TRANSACTIONS_REORGED,
    TRANSACTIONS_REPLACED,
)
from validator.types import Address, EffectKey, Hash32, UnixSeconds, Wei

MAX_IN_FLIGHT = 16
"""Sent and not mined: beyond this, nodes throw a sender's transactions out of their pools."""
MAX_QUEUED = 250
"""Intents that wait for their turn; from half of them on, no new task should be begun."""
POLL_S = 0.02, 1.0
"""First and longest pause between two looks at the chain."""
FOREIGN_LOOKS = 3
"""A node may show a used nonce before the receipt of what has used it."""
NOTHING_GAS = 100_000
"""For a transfer to ourselves: 21,000, and what rollups add for their data."""

log = structlog.get_logger(__name__)

for _answer in ("accepted", *Answer):
    TRANSACTION_ANSWERS.labels(_answer)


@dataclass(frozen=True, slots=True, eq=False)
class _Intent:
    """What an effect wants sent, and where it waits for the outcome; useless to it after its deadline."""

    key: EffectKey
    to: Address
    data: bytes
    value_wei: Wei
    deadline: Deadline | None
    outcome: "asyncio.Future[Receipt]"

    def fulfil(self, outcome: Receipt | TouchstoneError) -> None:
        if self.outcome.done():
            return
        if isinstance(outcome, TouchstoneError):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)


@dataclass(slots=True, eq=False)
class _Flight:
    """One nonce on its way. `began_s`, `offered_s` (the last fee) and `sent_s` are the loop's time."""

    nonce: int
    key: EffectKey
    attempts: list[Attempt]
    deadline: Deadline | None = None
    waiting: list[_Intent] = field(default_factory=list)
    mined: Inclusion | None = None
    recorded: Inclusion | None = None
    answer: Answer | None = None
    is_capped: bool = False
    foreign_looks: int = 0
    began_s: float = field(default_factory=lambda: _now_s())
    offered_s: float = field(default_factory=lambda: _now_s())
    sent_s: float = 0.0

    @property
    def last(self) -> Attempt:
        return self.attempts[-1]


@dataclass(frozen=True, slots=True)
class EffectSender:
    """The Sender of one effect."""

    manager: "TransactionManager"
    key: EffectKey
    deadline_s: UnixSeconds | None

    async def send(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> Receipt:
        """The receipt, once it is final; called again for the same effect, the outcome of what was sent first.

        Reverted if the contract refuses, seen before sending or in a final block. Cancelled if the deadline passed
        before it was mined.
        """
        if to is None:
            raise Fatal("an effect deploys no contract")
        return await self.manager.submit(self.key, to, data, Wei(value_wei), self.deadline_s)


class TransactionManager:
    """Everything that `signer` sends on `chain`. Make one per key, and `run` it.

    `gas_limits` gives each function's selector its fixed gas limit, the same whatever a node estimates (R7).
    `finality_depth` is the profile's; `stop` is the journal's protective stop.
    """

    def __init__(
        self,
        chain: Chain,
        signer: Signer,
        journal: NonceJournal,
        *,
        stop: Callable[[str], None],
        gas_limits: Mapping[bytes, int],
        fee_limits: FeeLimits,
        finality_depth: int | None,
    ) -> None:
        self._chain = chain
        self._signer = signer
        self._journal = journal
        self._stop = stop
        self._gas_limits = gas_limits
        self._fee_limits = fee_limits
        self._finality_depth = finality_depth
        self._queue: deque[_Intent] = deque()
        self._flights: dict[int, _Flight] = {}
        self._unsigned: dict[EffectKey, int] = {}
        self._next_nonce = 0
        self._mined_count = 0
        self._seen: Hash32 | None = None
        self._woken = asyncio.Event()

    @property
    def is_busy(self) -> bool:
        """Whether so much waits that no new task should be begun; what has begun may still be sent."""
        return len(self._queue) >= MAX_QUEUED // 2

    def sender(self, key: EffectKey, deadline_s: UnixSeconds | None = None) -> EffectSender:
        """The way for one effect to send; `deadline_s` is the last second of chain time at which it is of use."""
        return EffectSender(self, key, deadline_s)

    async def submit(
        self, key: EffectKey, to: Address, data: bytes, value_wei: Wei, deadline_s: UnixSeconds | None
    ) -> Receipt:
        """Queue an intent, in order of arrival, and wait; see `EffectSender.send`. QueueFull beyond MAX_QUEUED."""
        if len(self._queue) >= MAX_QUEUED:
            raise QueueFull(f"{MAX_QUEUED} transactions wait to be sent")
        deadline = None if deadline_s is None else Deadline(key, deadline_s)
        outcome: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._queue.append(_Intent(key, to, data, value_wei, deadline, outcome))
        self._woken.set()
        return await outcome

    async def run(self) -> None:
        """Work for ever; cancel to stop. Fatal, with the journal stopped, if somebody else uses the key (P7, P8)."""
        pause_s, longest_pause_s = POLL_S
        is_started = False
        while True:
            try:
                if not is_started:
                    await self._start()
                    is_started = True
                has_news = await self._turn()
            except Transient as error:
                log.warning("transactions wait for the chain", error=str(error))
                has_news = False
            self._measure()
            pause_s = POLL_S[0] if has_news else min(2 * pause_s, longest_pause_s)
            await self._pause(None if is_started and not self._queue and not self._flights else pause_s)

    async def _pause(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()

    async def _start(self) -> None:
        """Take up what a former process left, before anything new: first whether the key is ours alone."""
        known = self._journal.next_nonce()
        # Whoever has sent nothing yet takes over the account as it is.
        self._next_nonce = known or await self._chain.confirmed_nonce(self._signer.address)
        self._mined_count = await self._count_mined()
        for left in self._journal.unfinished():
            if left.attempts:
                self._flights[left.nonce] = _Flight(
                    left.nonce, left.effect_key, list(left.attempts), mined=left.inclusion, recorded=left.inclusion
                )
            else:
                self._unsigned[left.effect_key] = left.nonce
        for flight in self._flights.values():
            if flight.mined is None:
                await self._broadcast(flight, flight.last)

    async def _turn(self) -> bool:
        """Look, push what does not move, and send what waits; whether anything has changed.

        What was sent is followed whether or not anything new can be signed (H7).
        """
        before = len(self._flights), len(self._queue)
        if self._flights:
            await self._look()
        while self._queue and sum(flight.mined is None for flight in self._flights.values()) < MAX_IN_FLIGHT:
            await self._admit(self._queue[0])
            self._queue.popleft()
        return before != (len(self._flights), len(self._queue))

    # --- sending

    async def _admit(self, intent: _Intent) -> None:
        """Begin an intent, or join it to what was begun for its effect."""
        if intent.outcome.done():
            return  # Nobody waits for it any more, and nothing was signed.
        live = self._journal.live(intent.key)
        if live is not None and live.attempts:
            await self._join(intent, live)
            return
        if intent.deadline is not None:
            intent.deadline.look((await self._chain.head()).timestamp_s)
            if await self._is_late(intent.deadline):
                intent.fulfil(Cancelled(f"{intent.key} was not sent by its deadline"))
                return
        gas_limit = self._gas_limits.get(intent.data[:4])
        if gas_limit is None:
            raise Fatal(f"no gas limit is fixed for the function 0x{intent.data[:4].hex()}")
        refusal = await self._try_out(intent, gas_limit)
        if refusal is not None:
            intent.fulfil(refusal)
            return
        fees = await self._chain.fees()
        mined_count = await self._count_mined()
        nonce = self._journal.reserve_nonce(intent.key, max(mined_count, self._next_nonce))
        self._next_nonce = max(self._next_nonce, nonce + 1)
        self._unsigned[intent.key] = nonce
        await self._fill_gaps(nonce, fees)
        cap_wei = self._cap_wei(gas_limit)
        max_fee_wei = min(fees.max_fee_wei, cap_wei)
        flight = _Flight(nonce, intent.key, [], intent.deadline, [intent])
        await self._sign(
            flight,
            intent.to,
            intent.data,
            intent.value_wei,
            gas_limit,
            max_fee_wei,
            min(fees.priority_fee_wei, cap_wei),
        )
        del self._unsigned[intent.key]
        self._flights[nonce] = flight
        await self._broadcast(flight, flight.last)

    async def _try_out(self, intent: _Intent, gas_limit: int) -> Reverted | Transient | None:
        """What the contract has against an intent, before it is signed; None if it would do it."""
        call = (self._signer.address, intent.to, intent.data, intent.value_wei, gas_limit)
        try:
            await self._chain.preflight(*call)
        except Reverted as refusal:
            if isinstance(explain(refusal), DeadlinePassed):
                return refusal  # The next block's time is against it, and that does not go back.
            try:
                await self._chain.preflight(*call, tag="latest")
            except Reverted:
                return refusal
            return Transient(f"{intent.key} waits for a transaction that is not mined: {refusal.reason}")
        return None

    async def _is_late(self, deadline: Deadline) -> bool:
        """Asked of a second node only where the first says so: nothing is given up on one node's word."""
        head = await self._chain.head()
        return head.timestamp_s > deadline.until_s and await self._chain.is_past(deadline.until_s)

    async def _join(self, intent: _Intent, live: Outgoing) -> None:
        flight = self._flights.get(live.nonce)
        if flight is not None:
            flight.waiting.append(intent)
            flight.deadline = intent.deadline
        elif live.inclusion is not None:
            try:
                intent.fulfil(await self._chain.receipt(live.inclusion.tx_hash))
            except Transient as error:
                intent.fulfil(error)

    async def _fill_gaps(self, below: int, fees: Fees) -> None:
        """A crash between reserving and signing leaves a nonce that nothing later could pass."""
        for key, nonce in list(self._unsigned.items()):
            if nonce < below:
                flight = _Flight(nonce, key, [])
                await self._sign_nothing(flight, fees.max_fee_wei, fees.priority_fee_wei)
                del self._unsigned[key]
                self._flights[nonce] = flight
                await self._broadcast(flight, flight.last)

    def _does_nothing(self, attempt: Attempt) -> bool:
        return attempt.to == self._signer.address and not attempt.data

    async def _sign_nothing(self, flight: _Flight, max_fee_wei: int, priority_fee_wei: int) -> None:
        cap_wei = self._cap_wei(NOTHING_GAS)
        await self._sign(
            flight, self._signer.address, b"", 0, NOTHING_GAS, min(max_fee_wei, cap_wei), min(priority_fee_wei, cap_wei)
        )

    async def _sign(
        self,
        flight: _Flight,
        to: Address | None,
        data: bytes,
        value_wei: int,
        gas_limit: int,
        max_fee_wei: int,
        priority_fee_wei: int,
    ) -> None:
        """One more attempt, written down before it can leave."""
        raw = await self._signer.sign_transaction(
            {
                "type": 2,
                "chainId": self._chain.chain_id,
                "nonce": flight.nonce,
                "maxFeePerGas": max_fee_wei,
                "maxPriorityFeePerGas": min(priority_fee_wei, max_fee_wei),
                "gas": gas_limit,
                "value": value_wei,
                "data": data,
                "to": to,
            }
        )
        flight.attempts.append(self._journal.record_attempt(flight.key, raw))
        flight.offered_s = _now_s()
        TRANSACTION_ATTEMPTS.inc()

    async def _broadcast(self, flight: _Flight, attempt: Attempt) -> None:
        """Hand an attempt to the node; nothing that comes of it changes whose the nonce is."""
        flight.sent_s = _now_s()
        self._seen = None
        tx_hash = f"0x{attempt.tx_hash.hex()}"
        try:
            words = await self._chain.broadcast(attempt.raw)
        except (Transient, Fatal) as error:
            # R1, R5: it may have arrived although nobody said so; it is looked for and sent again.
            log.warning("no answer to a transaction", effect=flight.key, tx=tx_hash, error=str(error))
            flight.answer = Answer.UNKNOWN
            TRANSACTION_ANSWERS.labels(Answer.UNKNOWN).inc()
            return
        flight.answer = None if words is None else classify(words)
        TRANSACTION_ANSWERS.labels(flight.answer or "accepted").inc()
        if flight.answer in (None, Answer.ALREADY_KNOWN, Answer.NONCE_TOO_LOW):
            log.info("transaction sent", effect=flight.key, nonce=flight.nonce, tx=tx_hash)
        else:
            log.warning("transaction not taken", effect=flight.key, nonce=flight.nonce, tx=tx_hash, error=words)

    # --- following

    async def _look(self) -> None:
        """Where every transaction stands, whenever the head is another; then push those that do not move."""
        head = await self._chain.head()
        if head.hash != self._seen:
            self._seen = head.hash
            try:
                await self._follow_all()
            except Transient as error:
                self._seen = None
                log.warning("transactions cannot be followed", error=str(error))
        for flight in sorted(self._flights.values(), key=lambda flight: flight.nonce):
            if flight.mined is None:
                await self._push(flight, head)
        for intent in self._queue:
            if intent.deadline is not None:
                intent.deadline.look(head.timestamp_s)

    async def _follow_all(self) -> None:
        self._mined_count = await self._count_mined()
        final_number = await self._find_final_number()
        for flight in sorted(self._flights.values(), key=lambda flight: flight.nonce):
            await self._follow(flight, final_number)

    async def _find_final_number(self) -> int:
        """-1 while it is not known: what is on its way is pushed on all the same."""
        try:
            return (await self._chain.finalized(self._finality_depth)).number
        except Transient as error:
            self._seen = None
            log.warning("nothing becomes final", error=str(error))
            return -1

    async def _follow(self, flight: _Flight, final_number: int) -> None:
        receipt = await self._find_receipt(flight)
        if receipt is None:
            if flight.mined is not None:
                await self._send_again(flight, flight.mined)
            elif flight.nonce < self._mined_count:
                await self._suspect(flight)
            return
        flight.mined, flight.foreign_looks = receipt, 0
        attempt = next(attempt for attempt in flight.attempts if attempt.tx_hash == receipt.tx_hash)
        is_nothing = self._does_nothing(attempt)
        is_done = receipt.is_success and not is_nothing
        is_final = receipt.block_number <= final_number
        if not is_final:
            self._record_mined(flight, receipt if is_done else None)
            return
        if await self._chain.final_receipt(receipt.tx_hash) != receipt:
            raise Transient(f"nodes give different receipts of 0x{receipt.tx_hash.hex()}")
        if is_done:
            self._journal.mark_final(flight.nonce, receipt)
            outcome: Receipt | TouchstoneError = receipt
        else:
            outcome = (
                Cancelled(f"{flight.key} was not mined by its deadline")
                if is_nothing
                else await self._chain.explain_failure(receipt)
            )
            self._record_mined(flight, None)
            self._journal.mark_replaced(flight.nonce)
        del self._flights[flight.nonce]
        GAS_SPENT_WEI.inc(receipt.cost_wei)
        log.info(
            "transaction final",
            effect=flight.key,
            nonce=flight.nonce,
            tx=f"0x{receipt.tx_hash.hex()}",
            block=receipt.block_number,
            cost_wei=receipt.cost_wei,
            outcome="done" if isinstance(outcome, Receipt) else str(outcome),
        )
        for intent in flight.waiting:
            if is_nothing:
                self._queue.append(intent)  # It is too late, or only a gap was filled: looked at anew.
            else:
                intent.fulfil(outcome)

    def _record_mined(self, flight: _Flight, receipt: Receipt | None) -> None:
        """In the journal only what the effect wanted counts as mined."""
        if receipt is None:
            if flight.recorded is not None:
                self._journal.mark_unmined(flight.nonce)
        elif flight.recorded is None or flight.recorded.block_hash != receipt.block_hash:
            self._journal.mark_mined(flight.nonce, receipt)
        flight.recorded = receipt

    async def _find_receipt(self, flight: _Flight) -> Receipt | None:
        """Of whichever attempt is in a block of the chain as it is now; a receipt of another block is stale (C1)."""
        if flight.nonce >= self._mined_count:
            return None
        for attempt in reversed(flight.attempts):
            receipt = await self._chain.find_receipt(attempt.tx_hash)
            if receipt is not None and (await self._chain.block(receipt.block_number)).hash == receipt.block_hash:
                return receipt
        return None

    async def _send_again(self, flight: _Flight, vanished: Inclusion) -> None:
        """Its block is gone: the same bytes once more (C1, C3)."""
        log.warning("transaction reorganised away", effect=flight.key, nonce=flight.nonce, block=vanished.block_number)
        TRANSACTIONS_REORGED.inc()
        flight.mined = None
        flight.offered_s = _now_s()
        self._record_mined(flight, None)
        was_mined = (attempt for attempt in flight.attempts if attempt.tx_hash == vanished.tx_hash)
        await self._broadcast(flight, next(was_mined, flight.last))

    async def _suspect(self, flight: _Flight) -> None:
        """The nonce is used and no receipt is ours: the node is behind with its receipts, or the key is not ours."""
        self._seen = None
        if await self._chain.nonce(self._signer.address, self._finality_depth) <= flight.nonce:
            return
        for attempt in flight.attempts:
            if await self._chain.final_receipt(attempt.tx_hash) is not None:
                return
        flight.foreign_looks += 1
        if flight.foreign_looks < FOREIGN_LOOKS:
            return
        self._record_mined(flight, None)
        self._journal.mark_replaced(flight.nonce)  # Before the stop, so that clearing it lets the effect go on.
        if flight.nonce >= self._journal.accepted_below():
            self._stop_for_good(f"nonce {flight.nonce} was used by a transaction that is not in this journal")
        log.warning("a nonce was used by others", effect=flight.key, nonce=flight.nonce)
        del self._flights[flight.nonce]
        self._queue.extend(flight.waiting)

    async def _count_mined(self) -> int:
        """As one node says; where that is more than was ever sent, as two nodes say, and that is the end."""
        count = await self._chain.nonce(self._signer.address)
        if count > self._next_nonce:
            count = await self._chain.confirmed_nonce(self._signer.address)
        if count > self._next_nonce:
            self._stop_for_good(
                f"the chain has {count} transactions of {self._signer.address}, "
                f"this journal knows of {self._next_nonce}"
            )
        return count

    def _stop_for_good(self, finding: str) -> None:
        reason = f"{finding}: another program uses the key, or the journal is an old copy"
        self._stop(reason)
        raise Fatal(f"{reason}; nothing more is sent")

    # --- pushing

    async def _push(self, flight: _Flight, head: Block) -> None:
        """Cancel what is too late, offer more for what waits too long, send again what may be lost."""
        now_s = _now_s()
        is_nothing = self._does_nothing(flight.last)
        is_late = False
        if flight.deadline is not None and not is_nothing:
            flight.deadline.look(head.timestamp_s)
            is_late = await self._is_late(flight.deadline)
        is_resend_due = now_s - flight.sent_s >= self._fee_limits.resend_after_s
        is_bump_due = (
            # Of several, only the first can be mined next.
            flight.nonce == self._mined_count
            and flight.answer not in (Answer.INSUFFICIENT_FUNDS, Answer.FEE_CAP)
            and (
                now_s - flight.offered_s >= self._fee_limits.bump_after_s
                or (flight.answer is Answer.UNDERPRICED and is_resend_due)
            )
        )
        if (is_late and (is_resend_due or not flight.is_capped)) or is_bump_due:
            is_resend_due |= await self._replace(flight, is_nothing=is_nothing or is_late)
        if is_resend_due:
            await self._broadcast(flight, flight.last)

    async def _replace(self, flight: _Flight, *, is_nothing: bool) -> bool:
        """Sign an attempt that pools take instead of the last; False if the cap does not allow it (C11)."""
        fees, last = await self._chain.fees(), flight.last
        max_fee_wei, priority_fee_wei = _raise(last.max_fee_per_gas_wei), _raise(last.max_priority_fee_per_gas_wei)
        cap_wei = self._cap_wei(NOTHING_GAS if is_nothing else last.gas_limit)
        if max_fee_wei > cap_wei:
            if not flight.is_capped:
                TRANSACTIONS_CAPPED.inc()
                log.error(
                    "the fee of a transaction is at its cap", effect=flight.key, nonce=flight.nonce, cap_wei=cap_wei
                )
            flight.is_capped, flight.offered_s = True, _now_s()
            return False
        max_fee_wei = min(max(max_fee_wei, fees.max_fee_wei), cap_wei)
        priority_fee_wei = max(priority_fee_wei, min(fees.priority_fee_wei, max_fee_wei))
        if is_nothing:
            await self._sign_nothing(flight, max_fee_wei, priority_fee_wei)
        else:
            await self._sign(flight, last.to, last.data, last.value_wei, last.gas_limit, max_fee_wei, priority_fee_wei)
        flight.is_capped = False
        TRANSACTIONS_REPLACED.inc()
        log.info(
            "transaction replaced",
            effect=flight.key,
            nonce=flight.nonce,
            by="nothing" if is_nothing else "itself",
            max_fee_per_gas_wei=max_fee_wei,
        )
        return True

    def _cap_wei(self, gas_limit: int) -> int:
        limits = self._fee_limits
        return min(limits.max_fee_per_gas_wei, limits.max_fee_per_action_wei // gas_limit)

    def _measure(self) -> None:
        TRANSACTIONS_IN_FLIGHT.set(len(self._flights))
        began_s = min((flight.began_s for flight in self._flights.values()), default=None)
        OLDEST_TRANSACTION_SECONDS.set(0 if began_s is None else _now_s() - began_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _raise(fee_wei: int) -> int:
    """At least an eighth more: geth wants a tenth, others 12.5 %."""
    return fee_wei + max(1, -(-fee_wei // 8))
