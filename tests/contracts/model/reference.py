"""What the contract must do, written once more in plain Python from protocol.md, to be compared with the bytecode.

Nothing here comes from `contracts` or `validator`: state is dictionaries of frozen values instead of packed words, a
call that is refused restores all of them, hashes and signatures are those of the protocol's second implementation.
A call gives the events that it must log, as (name, arguments in the ABI's order), or raises `Refused` with the reason.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from coincurve import PublicKey

from tests.unit.protocol.second_implementation import (
    OFFER,
    ORDER,
    TRANSCRIPT,
    WEIGHTS_VERDICT,
    array,
    eip712,
    k,
    tag,
    words,
)

OPEN, ACCEPTED, SUBMITTED, CHALLENGED, ANSWERED, JUDGING, SLASH_PENDING = range(1, 8)
OPEN_LAPSED, MINER_LAPSED, VALIDATOR_LAPSED, PAID, REFUNDED, SLASHED, DISPUTED = range(8, 15)
ZERO, NOBODY = bytes(32), "0x" + "00" * 20
MAX_WEI = 2**96 - 1
YEAR_S = 366 * 86_400
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
BY_DEFAULT = {
    OPEN: OPEN_LAPSED,
    ACCEPTED: MINER_LAPSED,
    SUBMITTED: VALIDATOR_LAPSED,
    CHALLENGED: MINER_LAPSED,
    ANSWERED: VALIDATOR_LAPSED,
    JUDGING: REFUNDED,
    SLASH_PENDING: SLASHED,
}
"""How a state ends whose deadline passes: the last column of the protocol's table of states."""

Row = tuple[bytes, bytes, bytes]
Event = tuple[str, tuple[Any, ...]]


class Refused(Exception):
    """The call changes nothing; the argument is the contract's reason, empty where only the ABI decoder refuses."""


class Terms(NamedTuple):
    payer: str
    validator: str
    miner: str
    miner_epoch: int
    reward: int
    fee: int
    miner_bond: int
    availability_bond: int
    validator_bond: int
    answer_fee: int
    scheme: bytes
    w: int
    n: int
    k_pay: int
    k_slash: int
    slashing: bool
    max_tokens: int
    dataset_root: bytes
    commitment: bytes
    spec_hash: bytes
    weights: int
    min_coverage_bps: int
    committee_hash: bytes
    quorum: int
    accept_seconds: int
    train_seconds: int
    submitted_seconds: int
    challenged_seconds: int
    answered_seconds: int
    judging_seconds: int
    dispute_seconds: int


class Order(NamedTuple):
    validator: str
    max_reward: int
    max_fee: int
    spec_hash: bytes
    source_data_hash: bytes
    min_n: int
    min_k_pay: int
    nonce: int
    expiry: int


@dataclass(frozen=True)
class Account:
    credit: int = 0
    stake: int = 0
    locked: int = 0
    epoch: int = 0
    running: int = 0
    evidence_key: str = NOBODY
    url: str = ""
    tls_key_hash: bytes = ZERO
    unstaking: int = 0
    unstake_ready_at: int = 0
    next_nonce: int = 0


@dataclass(frozen=True)
class Task:
    """`marks` are the leaves that were disclosed or settled; `replies` those that were answered on chain."""

    state: int
    deadline: int
    evidence_key: str = NOBODY
    hits: int = 0
    model_hash: bytes = ZERO
    marks: tuple[bytes, ...] = ()
    replies: tuple[bytes, ...] | None = None


@dataclass
class World:
    """Everything that a refused call must leave as it was."""

    accounts: dict[str, Account] = field(default_factory=dict)
    tasks: dict[bytes, Task] = field(default_factory=dict)
    commitments: set[tuple[str, bytes]] = field(default_factory=set)
    orders: set[tuple[str, int]] = field(default_factory=set)
    is_sunset: bool = False
    balance: int = 0
    burned: int = 0

    def copy(self) -> "World":
        kept = (self.accounts.copy(), self.tasks.copy(), self.commitments.copy(), self.orders.copy())
        return World(*kept, self.is_sunset, self.balance, self.burned)


def need(is_so: bool, reason: str) -> None:
    if not is_so:
        raise Refused(reason)


def fits(items: Sequence[Any], most: int) -> None:
    """The ABI decoder's bound on a dynamic argument."""
    need(len(items) <= most, "")


def row_leaf(row: Row) -> bytes:
    return k(tag("ROW") + b"".join(row))


def count_hits(rows: Sequence[Row], replies: Sequence[bytes]) -> int:
    """A hit is a reply with the row's own head; the zero reply is none, whatever the head."""
    return sum(row[1] == reply != ZERO for row, reply in zip(rows, replies, strict=True))


def is_in_tree(root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool:
    node = k(leaf)
    for sibling in proof:
        node = k(min(node, sibling) + max(node, sibling))
    return node == root


def ascending(items: Sequence[bytes], reason: str) -> None:
    need(all(a < b for a, b in zip((ZERO, *items), items, strict=False)), reason)


def recover(digest: bytes, signature: bytes) -> str:
    """Plain secp256k1 recovery (SEC 1, 4.1.6) of the one encoding that counts; Refused for any other."""
    need(len(signature) == 65, "signature: not 65 bytes")
    need(int.from_bytes(signature[32:64], "big") <= SECP256K1_ORDER // 2, "signature: high s")
    need(signature[64] in (27, 28), "signature: v")
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes([signature[64] - 27]), digest, hasher=None)
    except Exception:  # noqa: BLE001  # boundary: libsecp256k1 has a bare exception for every value that is no signature
        raise Refused("signature: invalid") from None
    return "0x" + k(key.format(compressed=False)[1:])[12:].hex()


class Reference:
    """One contract at an address of a chain. Addresses are lower case; `now` is the time of the next call."""

    def __init__(
        self, chain_id: int, address: str, floors_s: Sequence[int], unstake_delay_s: int, guardian: str, now: int
    ) -> None:
        self.domain = {"chain_id": chain_id, "contract": address}
        self.birth_chain_id = chain_id
        self.floors_s, self.unstake_delay_s, self.guardian = floors_s, unstake_delay_s, guardian
        self.now = now
        self.world = World()
        self.deaf: set[str] = set()
        """Accounts whose code refuses ether."""
        self._events: list[Event] = []

    # --- calling, and looking

    def call(self, sender: str, name: str, *args: Any, value: int = 0) -> list[Event]:
        """One transaction, whole or not at all."""
        before, self._events = self.world.copy(), []
        try:
            if name == "deposit":
                self._deposit(sender, value)
            else:
                need(value == 0, "")
                getattr(self, f"_{name}")(sender, *args)
        except Refused:
            self.world = before
            raise
        return self._events

    @contextmanager
    def undone(self) -> Any:
        """Whatever is called inside has not happened afterwards."""
        before = self.world.copy()
        yield
        self.world = before

    def account(self, owner: str) -> Account:
        return self.world.accounts.get(owner, Account())

    def task(self, task_id: bytes) -> Task | None:
        return self.world.tasks.get(task_id)

    def task_id(self, terms: Terms, nonce: int) -> bytes:
        inner = words(self.birth_chain_id, self.domain["contract"], terms.validator, nonce, self.terms_hash(terms))
        return k(tag("TASK") + inner)

    @staticmethod
    def terms_hash(terms: Terms) -> bytes:
        return k(tag("TERMS") + words(*terms))

    def commit(self, terms: Terms, marks: Sequence[bytes], salt: bytes) -> bytes:
        place = words(self.domain["chain_id"], self.domain["contract"])
        who = words(terms.validator, terms.miner, terms.miner_epoch)
        return k(tag("COMMIT") + place + who + terms.dataset_root + k(array(list(marks))) + salt)

    def digest_order(self, order: Order) -> bytes:
        return eip712(self.domain, ORDER, *order)

    def digest_offer(self, terms: Terms, nonce: int, expiry: int) -> bytes:
        return eip712(self.domain, OFFER, terms.payer, self.terms_hash(terms), nonce, expiry)

    def digest_transcript(
        self, task_id: bytes, model_hash: bytes, marks: Sequence[bytes], pairs: Sequence[tuple[bytes, bytes]]
    ) -> bytes:
        replies_hash = k(array([prompt + reply for prompt, reply in pairs]))
        return eip712(self.domain, TRANSCRIPT, task_id, model_hash, k(array(list(marks))), replies_hash)

    def digest_verdict(self, task_id: bytes, hits: int, coverage_low_bps: int, bundle_hash: bytes) -> bytes:
        model_hash = self.world.tasks[task_id].model_hash
        return eip712(self.domain, WEIGHTS_VERDICT, task_id, model_hash, hits, coverage_low_bps, bundle_hash)

    def _log(self, name: str, *args: Any) -> None:
        self._events.append((name, args))

    def _set(self, owner: str, **changes: Any) -> None:
        self.world.accounts[owner] = replace(self.account(owner), **changes)

    def _pay(self, owner: str, amount: int) -> None:
        self._set(owner, credit=self.account(owner).credit + amount)

    def _take(self, owner: str, amount: int) -> None:
        need(amount <= self.account(owner).credit, "credits: too little")
        self._set(owner, credit=self.account(owner).credit - amount)

    # --- accounts

    def _register(self, sender: str, evidence_key: str, url: str, tls_key_hash: bytes) -> None:
        fits(url.encode(), 256)
        need(evidence_key != NOBODY, "register: no evidence key")
        account = self.account(sender)
        need(account.running == 0, "register: a task is running")
        epoch = account.epoch + 1
        self._set(sender, epoch=epoch, evidence_key=evidence_key, url=url, tls_key_hash=tls_key_hash)
        self._log("Registered", sender, epoch, evidence_key, url, tls_key_hash)

    def _rotate_evidence_key(self, sender: str, evidence_key: str) -> None:
        need(evidence_key != NOBODY, "rotate: no evidence key")
        need(self.account(sender).epoch > 0, "rotate: not registered")
        need(self.account(sender).running == 0, "rotate: a task is running")
        self._set(sender, evidence_key=evidence_key)
        self._log("EvidenceKeyRotated", sender, evidence_key)

    def _deposit(self, sender: str, value: int) -> None:
        need(value <= MAX_WEI, "deposit: amount too large")
        self.world.balance += value
        self._pay(sender, value)
        self._log("Deposited", sender, value)

    def _withdraw(self, sender: str, amount: int) -> None:
        self._take(sender, amount)
        need(sender not in self.deaf, "send: receiver reverted")
        self.world.balance -= amount
        self._log("Withdrawn", sender, amount)

    def _stake(self, sender: str, amount: int) -> None:
        self._take(sender, amount)
        stake = self.account(sender).stake + amount
        need(stake <= MAX_WEI, "stake: amount too large")
        self._set(sender, stake=stake)
        self._log("Staked", sender, amount)

    def _request_unstake(self, sender: str, amount: int) -> None:
        account = self.account(sender)
        need(amount <= account.stake - account.locked, "request_unstake: over free stake")
        ready_at = self.now + self.unstake_delay_s
        unstaking = account.unstaking + amount
        self._set(sender, stake=account.stake - amount, unstaking=unstaking, unstake_ready_at=ready_at)
        self._log("UnstakeRequested", sender, amount, ready_at)

    def _unstake(self, sender: str) -> None:
        account = self.account(sender)
        need(account.unstaking > 0, "unstake: nothing requested")
        need(self.now >= account.unstake_ready_at, "unstake: too early")
        self._set(sender, unstaking=0, unstake_ready_at=0)
        self._pay(sender, account.unstaking)
        self._log("Unstaked", sender, account.unstaking)

    def _sunset(self, sender: str) -> None:
        need(sender == self.guardian, "sunset: only the guardian")
        need(not self.world.is_sunset, "sunset: already set")
        self.world.is_sunset = True
        self._log("Sunset")

    # --- opening

    def _open_task(self, sender: str, terms: Terms, order: Order, signature: bytes) -> None:
        fits(signature, 65)
        need(sender == terms.validator, "open_task: only the validator")
        need(order.validator == terms.validator, "open_task: another's order")
        need(self.now <= order.expiry, "open_task: order expired")
        need(terms.reward <= order.max_reward, "open_task: reward over the order")
        need(terms.fee <= order.max_fee, "open_task: fee over the order")
        need(terms.spec_hash == order.spec_hash, "open_task: not the ordered spec")
        need(terms.n >= order.min_n, "open_task: n below the order")
        need(terms.k_pay >= order.min_k_pay, "open_task: k_pay below the order")
        need(recover(self.digest_order(order), signature) == terms.payer, "signature: another signer")
        self._use_order(terms.payer, order.nonce)
        task_id = self._open(terms)
        self._log("OrderConsumed", task_id, terms.payer, order.nonce, order.source_data_hash)

    def _cancel_order(self, sender: str, nonce: int) -> None:
        self._use_order(sender, nonce)
        self._log("OrderCancelled", sender, nonce)

    def _use_order(self, payer: str, nonce: int) -> None:
        need((payer, nonce) not in self.world.orders, "order: nonce used")
        self.world.orders.add((payer, nonce))

    def _open_task_with_offer(self, sender: str, terms: Terms, expiry: int, signature: bytes) -> None:
        fits(signature, 65)
        need(sender == terms.payer, "open_task: only the payer")
        need(self.now <= expiry, "open_task: offer expired")
        digest = self.digest_offer(terms, self.account(terms.validator).next_nonce, expiry)
        need(recover(digest, signature) == terms.validator, "signature: another signer")
        self._open(terms)

    def _open(self, terms: Terms) -> bytes:
        need(not self.world.is_sunset, "open_task: sunset")
        self._check_terms(terms)
        need(terms.miner_epoch != 0, "open_task: epoch zero")
        need(terms.miner_epoch == self.account(terms.miner).epoch, "open_task: not the miner's epoch")
        need((terms.validator, terms.commitment) not in self.world.commitments, "open_task: commitment used")
        self.world.commitments.add((terms.validator, terms.commitment))
        nonce = self.account(terms.validator).next_nonce
        self._set(terms.validator, next_nonce=nonce + 1)
        self._take(terms.payer, terms.reward + terms.fee)
        self._take(terms.validator, terms.validator_bond)
        task_id = self.task_id(terms, nonce)
        self.world.tasks[task_id] = Task(OPEN, self.now + terms.accept_seconds)
        self._log("TaskOpened", task_id, terms.validator, terms.miner, nonce, tuple(terms))
        return task_id

    def _check_terms(self, terms: Terms) -> None:
        need(1 <= terms.w <= 16, "terms: w")
        need(16 <= terms.n <= 64, "terms: n")
        need(2 * terms.n <= 3 * terms.k_pay and terms.k_pay <= terms.n, "terms: k_pay")
        need(8 * terms.k_slash <= terms.n, "terms: k_slash")
        need(terms.max_tokens >= terms.w, "terms: max_tokens")
        need(terms.weights <= 2, "terms: weights")
        need(terms.min_coverage_bps <= 10_000, "terms: min_coverage_bps")
        need(terms.quorum <= 16 and (terms.weights < 2 or terms.quorum > 0), "terms: quorum")
        need(max(terms[4:10]) <= MAX_WEI, "terms: amount too large")
        need(terms.validator_bond >= terms.reward + terms.answer_fee, "terms: validator_bond")
        need(2 * terms.availability_bond >= terms.reward, "terms: availability_bond")
        for duration, floor in zip(terms[-7:], self.floors_s, strict=True):
            need(duration >= floor, "terms: duration too short")
            need(duration <= YEAR_S, "terms: duration too long")

    # --- the task's course

    def _in_state(self, terms: Terms, nonce: int, *states: int, module: str = "task") -> tuple[bytes, Task]:
        task_id = self.task_id(terms, nonce)
        task = self.task(task_id)
        if task is None or task.state not in states:
            raise Refused(f"{module}: not in this state")
        need(self.now <= task.deadline, f"{module}: deadline passed")
        return task_id, task

    def _accept(self, sender: str, terms: Terms, nonce: int, dataset_root: bytes) -> None:
        need(sender == terms.miner, "accept: only the miner")
        task_id, task = self._in_state(terms, nonce, OPEN)
        need(dataset_root == terms.dataset_root, "accept: another dataset")
        account = self.account(sender)
        need(account.epoch == terms.miner_epoch, "accept: another epoch")
        bonds = terms.miner_bond + terms.availability_bond
        need(bonds <= account.stake - account.locked, "accept: bonds over free stake")
        self._set(sender, locked=account.locked + bonds, running=account.running + 1)
        deadline = self.now + terms.train_seconds
        self.world.tasks[task_id] = replace(task, state=ACCEPTED, deadline=deadline, evidence_key=account.evidence_key)
        self._log("TaskAccepted", task_id, account.evidence_key)

    def _submit(self, sender: str, terms: Terms, nonce: int, model_hash: bytes) -> None:
        need(sender == terms.miner, "submit: only the miner")
        need(model_hash != ZERO, "submit: no model hash")
        task_id, task = self._in_state(terms, nonce, ACCEPTED)
        deadline = self.now + terms.submitted_seconds
        self.world.tasks[task_id] = replace(task, state=SUBMITTED, deadline=deadline, model_hash=model_hash)
        self._log("ModelSubmitted", task_id, model_hash)

    def _challenge(self, sender: str, terms: Terms, nonce: int, leaves: Sequence[bytes]) -> None:
        fits(leaves, 64)
        need(sender == terms.validator, "challenge: only the validator")
        task_id, task = self._in_state(terms, nonce, SUBMITTED)
        need(len(leaves) == terms.n, "challenge: not n leaves")
        ascending(leaves, "challenge: leaves not ascending")
        deadline = self.now + terms.challenged_seconds
        self.world.tasks[task_id] = replace(task, state=CHALLENGED, deadline=deadline, marks=tuple(leaves))
        self._log("Challenged", task_id, tuple(leaves))

    def _answer(self, sender: str, terms: Terms, nonce: int, replies: Sequence[bytes]) -> None:
        fits(replies, 64)
        need(sender == terms.miner, "answer: only the miner")
        task_id, task = self._in_state(terms, nonce, CHALLENGED)
        need(len(replies) == terms.n, "answer: not n replies")
        deadline = self.now + terms.answered_seconds
        self.world.tasks[task_id] = replace(task, state=ANSWERED, deadline=deadline, replies=tuple(replies))
        self._pay(sender, terms.answer_fee)
        self._log("Answered", task_id, tuple(replies))

    def _settle(
        self,
        sender: str,
        terms: Terms,
        nonce: int,
        salt: bytes,
        rows: Sequence[Row],
        replies: Sequence[bytes],
        signature: bytes,
        bundle_hash: bytes,
        proofs: Sequence[Sequence[bytes]],
    ) -> None:
        for items, most in (
            (rows, 64),
            (replies, 64),
            (signature, 65),
            (proofs, 64),
            *((proof, 24) for proof in proofs),
        ):
            fits(items, most)
        leaves = [row_leaf(row) for row in rows]
        if proofs:
            need(len(proofs) == len(rows), "settle: not a proof for each row")
            for leaf, proof in zip(leaves, proofs, strict=True):
                need(is_in_tree(terms.dataset_root, leaf, proof), "settle: row not in the dataset")
        need(sender == terms.validator, "settle: only the validator")
        task_id, task = self._in_state(terms, nonce, SUBMITTED, ANSWERED, module="settle")
        need(len(rows) == terms.n, "settle: not n rows")
        need(len(replies) == terms.n, "settle: not n replies")
        ascending(leaves, "settle: leaves not ascending")
        need(terms.commitment == self.commit(terms, leaves, salt), "settle: commitment does not open")
        if task.state == SUBMITTED:
            pairs = [(row[0], reply) for row, reply in zip(rows, replies, strict=True)]
            digest = self.digest_transcript(task_id, task.model_hash, leaves, pairs)
            need(recover(digest, signature) == task.evidence_key, "signature: another signer")
        else:
            need(not signature, "settle: signature not empty")
            is_answered = (task.marks, task.replies) == (tuple(leaves), tuple(replies))
            need(is_answered, "settle: not the answered replies")
        hits = count_hits(rows, replies)
        is_paid, is_judged = hits >= terms.k_pay, terms.weights == 2
        need(bool(proofs) or (is_paid and not is_judged), "settle: rows not proved")
        self._log("TaskSettled", task_id, salt, tuple(rows), tuple(replies), signature, hits, bundle_hash)
        task = replace(task, hits=hits, marks=tuple(leaves))
        if is_paid and is_judged:
            self.world.tasks[task_id] = replace(task, state=JUDGING, deadline=self.now + terms.judging_seconds)
        elif not is_paid and hits <= terms.k_slash and terms.slashing:
            self.world.tasks[task_id] = replace(task, state=SLASH_PENDING, deadline=self.now + terms.dispute_seconds)
        else:
            self._close(task_id, task, terms, PAID if is_paid else REFUNDED)

    def _judge(
        self,
        _sender: str,
        terms: Terms,
        nonce: int,
        committee: Sequence[str],
        verdicts: Sequence[tuple[int, int, bytes, bytes]],
    ) -> None:
        for items, most in ((committee, 16), (verdicts, 16), *((verdict[3], 65) for verdict in verdicts)):
            fits(items, most)
        task_id, task = self._in_state(terms, nonce, JUDGING)
        need(k(words(32, len(committee), *committee)) == terms.committee_hash, "judge: another committee")
        need(len(verdicts) >= terms.quorum, "judge: no quorum")
        last = 0
        for hits, coverage_low_bps, bundle_hash, signature in verdicts:
            need(hits >= terms.k_pay, "judge: hits under k_pay")
            need(coverage_low_bps >= terms.min_coverage_bps, "judge: coverage too low")
            signer = recover(self.digest_verdict(task_id, hits, coverage_low_bps, bundle_hash), signature)
            need(int(signer, 16) > last, "judge: signers not ascending")
            need(signer in committee, "judge: not a committee member")
            last = int(signer, 16)
            self._log("Judged", task_id, signer, hits, coverage_low_bps, bundle_hash, signature)
        self._close(task_id, task, terms, PAID)

    def _dispute(
        self,
        _sender: str,
        terms: Terms,
        nonce: int,
        leaves: Sequence[bytes],
        mark: Row,
        other: Row,
        proof: Sequence[bytes],
    ) -> None:
        fits(leaves, 64)
        fits(proof, 24)
        task_id, task = self._in_state(terms, nonce, SLASH_PENDING)
        need(tuple(leaves) == task.marks, "dispute: not the settled marks")
        need(row_leaf(mark) in task.marks, "dispute: row is not a mark")
        need(is_in_tree(terms.dataset_root, row_leaf(other), proof), "dispute: row not in the dataset")
        need(mark[0] == other[0], "dispute: different prompts")
        need(mark[1] != other[1], "dispute: same head")
        self._log("Disputed", task_id, mark, other, tuple(proof))
        self._close(task_id, task, terms, DISPUTED)

    def _poke(self, _sender: str, terms: Terms, nonce: int) -> None:
        task_id = self.task_id(terms, nonce)
        task = self.task(task_id)
        if task is None or task.state not in BY_DEFAULT:
            raise Refused("poke: not in this state")
        need(self.now > task.deadline, "poke: too early")
        self._close(task_id, task, terms, BY_DEFAULT[task.state])

    def _close(self, task_id: bytes, task: Task, terms: Terms, outcome: int) -> None:
        """The protocol's table "Who gets what", row by row."""
        bond = terms.validator_bond - (terms.answer_fee if task.replies is not None else 0)
        reward, fee = terms.reward, terms.fee
        payer, validator, miner, burned_stake, burned = {
            OPEN_LAPSED: (reward + fee, bond, 0, 0, 0),
            MINER_LAPSED: (reward + fee, bond, 0, terms.availability_bond, 0),
            VALIDATOR_LAPSED: (reward + fee, 0, reward, 0, bond - reward),
            PAID: (0, bond + fee, reward, 0, 0),
            REFUNDED: (reward, bond + fee, 0, 0, 0),
            SLASHED: (reward, bond + fee, 0, terms.miner_bond, 0),
            DISPUTED: (reward + fee, 0, reward, 0, bond - reward),
        }[outcome]
        if outcome != OPEN_LAPSED:
            account = self.account(terms.miner)
            self._set(
                terms.miner,
                stake=account.stake - burned_stake,
                locked=account.locked - terms.miner_bond - terms.availability_bond,
                running=account.running - 1,
            )
        for owner, amount in ((terms.payer, payer), (terms.validator, validator), (terms.miner, miner)):
            self._pay(owner, amount)
        self.world.balance -= burned_stake + burned
        self.world.burned += burned_stake + burned
        self.world.tasks[task_id] = replace(task, state=outcome)
        self._log("TaskClosed", task_id, outcome, payer, validator, miner, burned_stake + burned)
