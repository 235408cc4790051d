"""Every account's credit and stake, kept from events alone, to the wei; and what may happen only once.

Rule kept: money enters by deposits, leaves by withdrawals and burns, and is otherwise only moved (protocol, invariant
1), so a balance that goes below zero means that an event was invented, altered or withheld.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import singledispatchmethod
from typing import Any, Protocol, TypeAlias

from validator.audit.checks.payout import split_of
from validator.audit.docket import Docket, Subject
from validator.audit.findings import Finding, Party, Proof
from validator.audit.history import Dated, TaskHistory
from validator.edges.contract import (
    Answered,
    ContractEvent,
    Deposited,
    EvidenceKeyRotated,
    OrderCancelled,
    OrderConsumed,
    Registered,
    Staked,
    Sunset,
    TaskAccepted,
    TaskClosed,
    TaskOpened,
    TaskStatus,
    Unstaked,
    UnstakeRequested,
    Withdrawn,
)
from validator.protocol.commitment import Terms
from validator.types import Address, TaskId


@dataclass
class Account:
    """Wei, but for the counters. `locked` is part of `stake`; `next_nonce` is None until a first task is seen."""

    credit: int = 0
    stake: int = 0
    locked: int = 0
    unstaking: int = 0
    ready_at_s: int = 0
    epoch: int = 0
    running: int = 0
    evidence_key: str = ""
    next_nonce: int | None = None


Actor: TypeAlias = tuple[Party, Address | None]
CODE: Actor = (Party.CONTRACT, None)
MINER = Party.MINER


class Uses(Protocol):
    """What has been used before, and for what."""

    def note(self, kind: str, keys: Sequence[bytes], purpose: bytes) -> bytes | None:
        """Note a use of all keys; the purpose for which one of them was used first, if that was another."""


class History(Protocol):
    def __call__(self, task_id: TaskId, /) -> TaskHistory:
        """What is known of a task so far."""


@dataclass
class _Running:
    """A task whose money is not all back yet."""

    terms: Terms | None
    is_answered: bool


class Books:
    """`apply` takes every event of the contract once, in the order of the chain."""

    def __init__(
        self, subject: Subject, uses: Uses, history_of: History, state: Mapping[str, Any] | None = None
    ) -> None:
        state = state or {"accounts": {}, "escrow_wei": 0, "is_sunset": False}
        self.accounts = {Address(address): Account(**fields) for address, fields in state["accounts"].items()}
        self.escrow_wei = int(state["escrow_wei"])
        """Rewards, fees and validators' bonds of tasks that are running."""
        self._is_sunset = bool(state["is_sunset"])
        self._subject = subject
        self._uses = uses
        self._history_of = history_of
        self._running: dict[TaskId, _Running] = {}
        self._docket = Docket(subject)

    def state(self) -> dict[str, Any]:
        """For the store, as JSON."""
        accounts = {address: asdict(account) for address, account in self.accounts.items()}
        return {"accounts": accounts, "escrow_wei": self.escrow_wei, "is_sunset": self._is_sunset}

    @property
    def held_wei(self) -> int:
        """What the contract must hold for all of them together."""
        return self.escrow_wei + sum(each.credit + each.stake + each.unstaking for each in self.accounts.values())

    def apply(self, dated: Dated) -> list[Finding]:
        """Enter an event; what is wrong with it as a matter of accounts."""
        self._docket = Docket(self._subject, getattr(dated.event, "task_id", None))
        self._enter(dated.event, dated.at_s)
        return self._docket.findings

    @singledispatchmethod
    def _enter(self, event: ContractEvent, at_s: int) -> None:
        """Events that move nothing."""

    # --- accounts

    @_enter.register
    def _(self, event: Registered, _at_s: int) -> None:
        account = self._account(event.miner)
        is_next = event.epoch == account.epoch + 1 and account.running == 0
        self._expect(is_next, (MINER, event.miner), "registration", "a wrong epoch, or while a task is running", event)
        account.epoch, account.evidence_key = event.epoch, event.evidence_key

    @_enter.register
    def _(self, event: EvidenceKeyRotated, _at_s: int) -> None:
        account = self._account(event.miner)
        is_free = account.epoch > 0 and account.running == 0
        self._expect(is_free, (MINER, event.miner), "registration", "a key changes while a task is running", event)
        account.evidence_key = event.evidence_key

    @_enter.register
    def _(self, event: Deposited, _at_s: int) -> None:
        self._account(event.account).credit += event.amount

    @_enter.register
    def _(self, event: Withdrawn, _at_s: int) -> None:
        self._take(event.account, event.amount, event)

    @_enter.register
    def _(self, event: Staked, _at_s: int) -> None:
        self._take(event.account, event.amount, event)
        self._account(event.account).stake += event.amount

    @_enter.register
    def _(self, event: UnstakeRequested, at_s: int) -> None:
        account, network = self._account(event.account), self._subject.network
        account.stake -= event.amount
        account.unstaking += event.amount
        account.ready_at_s = event.ready_at
        is_free = account.stake >= account.locked
        self._expect(is_free, CODE, "stake", "stake leaves that is bound or not there", event)
        is_delayed = network is None or event.ready_at == at_s + network.unstake_delay_seconds
        self._expect(is_delayed, CODE, "stake", "stake leaves before or after its delay", event)

    @_enter.register
    def _(self, event: Unstaked, at_s: int) -> None:
        account = self._account(event.account)
        is_due = event.amount == account.unstaking > 0 and at_s >= account.ready_at_s
        self._expect(is_due, CODE, "stake", "stake comes back too early, or not as much as was asked for", event)
        account.unstaking = 0
        account.credit += event.amount

    @_enter.register
    def _(self, _event: Sunset, _at_s: int) -> None:
        self._is_sunset = True

    # --- tasks

    @_enter.register
    def _(self, event: TaskOpened, _at_s: int) -> None:
        terms = event.terms
        self._running[event.task_id] = _Running(terms, is_answered=False)
        self._take(terms.payer, terms.reward + terms.fee, event)
        self._take(terms.validator, terms.validator_bond, event)
        self.escrow_wei += terms.reward + terms.fee + terms.validator_bond
        opener, validator = (Party.VALIDATOR, terms.validator), self._account(terms.validator)
        if validator.next_nonce is None:
            validator.next_nonce = 0 if self._subject.is_whole else event.validator_nonce
        message = f"the task has the validator's nonce {event.validator_nonce}, and {validator.next_nonce} was the next"
        self._expect(event.validator_nonce == validator.next_nonce, opener, "nonce", message, event)
        validator.next_nonce = event.validator_nonce + 1
        is_epoch = terms.miner_epoch == self._account(terms.miner).epoch
        self._expect(is_epoch, opener, "registration", "the terms name another epoch than the miner's", event)
        self._expect(not self._is_sunset, opener, "sunset", "a task was opened after the sunset", event)
        self._use("commitment", terms.validator.encode() + terms.commitment, event, terms.validator)

    @_enter.register
    def _(self, event: OrderConsumed, _at_s: int) -> None:
        terms = self._task(event.task_id).terms
        self._use("order", _order_key(event.payer, event.nonce), event, terms.validator if terms else None)

    @_enter.register
    def _(self, event: OrderCancelled, _at_s: int) -> None:
        self._use("order", _order_key(event.payer, event.nonce), event, event.payer)

    @_enter.register
    def _(self, event: TaskAccepted, _at_s: int) -> None:
        terms = self._task(event.task_id).terms
        if terms is None:
            return
        account, miner = self._account(terms.miner), (MINER, terms.miner)
        account.locked += terms.miner_bond + terms.availability_bond
        account.running += 1
        self._expect(account.locked <= account.stake, miner, "stake", "the miner's bonds are over its stake", event)
        is_registered = event.evidence_key == account.evidence_key
        self._expect(is_registered, miner, "evidence key", "not the key that the miner registered", event)

    @_enter.register
    def _(self, event: Answered, _at_s: int) -> None:
        task = self._task(event.task_id)
        task.is_answered = True
        if task.terms is not None:
            self._account(task.terms.miner).credit += task.terms.answer_fee
            self.escrow_wei -= task.terms.answer_fee

    @_enter.register
    def _(self, event: TaskClosed, _at_s: int) -> None:
        task = self._task(event.task_id)
        self._running.pop(event.task_id)
        terms, is_answered = task.terms, task.is_answered
        if terms is None:
            return
        self._account(terms.payer).credit += event.to_payer
        self._account(terms.validator).credit += event.to_validator
        self._account(terms.miner).credit += event.to_miner
        self.escrow_wei -= terms.reward + terms.fee + terms.validator_bond - (terms.answer_fee if is_answered else 0)
        if event.outcome is not TaskStatus.OPEN_LAPSED:
            miner = self._account(terms.miner)
            miner.locked -= terms.miner_bond + terms.availability_bond
            miner.stake -= split_of(terms, event.outcome, is_answered=is_answered).stake_burned
            miner.running -= 1

    # --- what they share

    def _task(self, task_id: TaskId) -> _Running:
        if task_id not in self._running:
            history = self._history_of(task_id)
            terms = history.opened.terms if history.opened else None
            self._running[task_id] = _Running(terms, history.find(Answered) is not None)
        return self._running[task_id]

    def _account(self, address: Address) -> Account:
        return self.accounts.setdefault(address, Account())

    def _take(self, address: Address, amount_wei: int, event: ContractEvent) -> None:
        account = self._account(address)
        account.credit -= amount_wei
        message = f"{address} spends {-account.credit} wei more than it has"
        self._expect(account.credit >= 0, CODE, "credit", message, event)

    def _expect(self, is_right: bool, actor: Actor, check: str, message: str, event: ContractEvent) -> None:
        """What the past says must hold, where all of the past is known."""
        if not is_right and self._subject.is_whole:
            self._docket.contradict(*actor, check, message, Proof.of_log(type(event).__name__, event.log))

    def _use(self, kind: str, key: bytes, event: ContractEvent, by: Address | None) -> None:
        # A cancelled Order belongs to no task: its own place in the chain is what it was used for.
        purpose = getattr(event, "task_id", None) or event.log.tx_hash + event.log.log_index.to_bytes(4, "big")
        if self._uses.note(kind, [key], purpose) is not None:
            proof = Proof.of_log(type(event).__name__, event.log)
            self._docket.contradict(Party.VALIDATOR, by, kind, f"the {kind} was used up before", proof)


def _order_key(payer: Address, nonce: int) -> bytes:
    return payer.encode() + nonce.to_bytes(32, "big")
