"""The deployed contract with funded actors, one method per call of a round, and its books checked after every call."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount

from contracts import TaskState, load_artifact
from tests.contracts.evm import Chain, Contract, Event, PyRevm
from tests.contracts.rounds import (
    AUDITOR,
    BUNDLE_HASH,
    COMMITTEE,
    COMMITTEE_HASH,
    DURATIONS,
    EVERYBODY,
    EVIDENCE,
    GUARDIAN,
    MINER,
    MODEL_HASH,
    NO_HASH,
    NOBODY,
    OUTSIDER,
    PAYER,
    SOURCE_DATA_HASH,
    VALIDATOR,
    Round,
    W,
    make_rows,
)
from validator.protocol import typed_data
from validator.protocol.commitment import (
    RowHashes,
    Terms,
    encode_scheme,
    hash_commitment,
    hash_marks,
    hash_task_id,
    keccak,
)
from validator.protocol.typed_data import OrderMessage, TypedData
from validator.types import Address, TaskId, UnixSeconds, Wei

FUNDS_WEI = 10**9
UNSTAKE_DELAY_S = 5_000
FLOORS_S = (100, 200, 300, 400, 500, 600, 700)
"""Accept, train, submitted, challenged, answered, judging, dispute: all different, so that no two can be confused."""


class TaskView(NamedTuple):
    state: TaskState
    deadline: int
    evidence_key: str
    hits: int
    is_answered: bool


class MinerView(NamedTuple):
    evidence_key: str
    epoch: int
    stake: int
    locked: int
    running: int
    url: str
    tls_key_hash: bytes
    unstaking: int
    unstake_ready_at: int


class Holdings(NamedTuple):
    """Where one round's money can be, in wei."""

    payer: int
    validator: int
    miner: int
    miner_stake: int
    burned: int

    def since(self, before: "Holdings") -> "Holdings":
        return Holdings(*(now - then for now, then in zip(self, before, strict=True)))


@dataclass
class _Books:
    """What tasks hold, kept from events alone, to be compared with the contract's balance and its locks."""

    terms: dict[bytes, tuple[Any, ...]] = field(default_factory=dict)
    escrow_wei: dict[bytes, int] = field(default_factory=dict)
    locked_wei: dict[bytes, int] = field(default_factory=dict)

    def enter(self, event: Event) -> None:
        task_id = event.args.get("task_id", b"")
        if event.name == "TaskOpened":
            terms = Terms(*event.args["terms"])
            self.terms[task_id] = event.args["terms"]
            self.escrow_wei[task_id] = terms.reward + terms.fee + terms.validator_bond
        elif event.name == "TaskAccepted":
            terms = Terms(*self.terms[task_id])
            self.locked_wei[task_id] = terms.miner_bond + terms.availability_bond
        elif event.name == "Answered":
            self.escrow_wei[task_id] -= Terms(*self.terms[task_id]).answer_fee
        elif event.name == "TaskClosed":
            del self.escrow_wei[task_id]
            self.locked_wei.pop(task_id, None)


def as_tuple(row: RowHashes) -> tuple[bytes, bytes, bytes]:
    return row.prompt_hash, row.head_hash, row.tail_hash


class Market(Contract):
    """The contract, its actors funded, the miner registered and staked."""

    def __init__(
        self,
        chain: Chain | None = None,
        floors_s: Sequence[int] = FLOORS_S,
        unstake_delay_s: int = UNSTAKE_DELAY_S,
    ) -> None:
        artifact = load_artifact()
        network = (*floors_s, unstake_delay_s, GUARDIAN.address)
        super().__init__(chain or PyRevm(), artifact.abi, artifact.bytecode, network)
        self.forced_wei = 0
        self._books = _Books()
        self.addresses = [actor.address for actor in EVERYBODY]
        """Whoever may hold credit or stake."""
        for address in self.addresses:
            self.chain.fund(address, 10 * FUNDS_WEI)
        for actor in (PAYER, VALIDATOR, MINER):
            self.call(actor.address, "deposit", value_wei=2 * FUNDS_WEI)
        self.call(MINER.address, "register", EVIDENCE.address, "https://miner.example", bytes(32))
        self.call(MINER.address, "stake", FUNDS_WEI)

    # Every transaction ends in the books: invariant 1 of the protocol, and E14.
    def send(self, to: str, sender: str, data: bytes, value_wei: int = 0) -> list[Event]:
        events = super().send(to, sender, data, value_wei)
        for event in events:
            self._books.enter(event)
        miners = [self.miner(address) for address in self.addresses]
        credits_wei = sum(self.credits(address) for address in self.addresses)
        stakes_wei = sum(miner.stake + miner.unstaking for miner in miners)
        escrows_wei = sum(self._books.escrow_wei.values())
        assert self.chain.balance(self.address) == credits_wei + stakes_wei + escrows_wei + self.forced_wei
        assert sum(miner.locked for miner in miners) == sum(self._books.locked_wei.values())
        assert sum(miner.running for miner in miners) == len(self._books.locked_wei)
        assert all(miner.locked <= miner.stake for miner in miners)
        return events

    @contextmanager
    def rolled_back(self) -> Iterator[None]:
        """Undo on leaving whatever chain, clock and books went through inside."""
        books, now = deepcopy(self._books), self.chain.now
        with self.chain.rolled_back():
            yield
        self._books, self.chain.now = books, now

    def force_ether(self, amount_wei: int) -> None:
        self.chain.fund(self.address, amount_wei)
        self.forced_wei += amount_wei

    def credits(self, address: str) -> int:
        return int(self.view("credits", address))

    def miner(self, address: str = MINER.address) -> MinerView:
        return MinerView(*self.view("miners", address))

    def task(self, round_: Round) -> TaskView:
        state, *rest = self.view("task_state", round_.task_id)
        return TaskView(TaskState(state), *rest)

    def holdings(self) -> Holdings:
        credits_wei = (self.credits(actor.address) for actor in (PAYER, VALIDATOR, MINER))
        return Holdings(*credits_wei, self.miner().stake, self.chain.balance(NOBODY))

    def sign(self, signer: LocalAccount, data: TypedData) -> bytes:
        domain = typed_data.domain(self.chain.chain_id, Address(self.address))
        return bytes(signer.sign_message(encode_typed_data(domain, data.types, data.message)).signature)

    def make_round(self, k: int = 40, **changes: Any) -> Round:
        """Terms for the validator's next task over `k` rows, honest but for `changes`, and all that opens them."""
        nonce = self.view("validator_nonce", VALIDATOR.address)
        n = changes.get("n", 16)
        salt = keccak(f"salt {nonce}".encode())
        marks, tree, contradiction = make_rows(n, k, f"round {nonce}")
        # Odd amounts, no two alike and no sum of some like another, so that a swapped column shows.
        terms = Terms(
            payer=PAYER.address,
            validator=VALIDATOR.address,
            miner=MINER.address,
            miner_epoch=self.miner().epoch,
            reward=Wei(1_000_003),
            fee=Wei(50_021),
            miner_bond=Wei(900_007),
            availability_bond=Wei(500_009),
            validator_bond=Wei(1_300_111),
            answer_fee=Wei(10_037),
            scheme=encode_scheme("canary"),
            w=W,
            n=n,
            k_pay=n * 3 // 4,
            k_slash=n // 8 - 1,
            slashing=True,
            max_tokens=32,
            dataset_root=tree.root,
            commitment=NO_HASH,
            spec_hash=keccak(b"spec"),
            weights=0,
            min_coverage_bps=7_000,
            committee_hash=NO_HASH,
            quorum=2,
            **dict(zip(DURATIONS, (floor + 1_000 for floor in FLOORS_S), strict=True)),
        )
        round_ = Round(terms, nonce, TaskId(NO_HASH), salt, marks, tree, contradiction)
        return self.retarget(self.recommit(round_), **changes)

    def recommit(self, round_: Round, **changes: Any) -> Round:
        """The round with the commitment that opens with its own marks and salt, or with `changes` of what it binds."""
        terms = round_.terms
        bound = {
            "validator": terms.validator,
            "miner": terms.miner,
            "miner_epoch": terms.miner_epoch,
            "dataset_root": terms.dataset_root,
            "marks_hash": hash_marks(round_.leaves),
            "salt": round_.salt,
        }
        commitment = hash_commitment(chain_id=self.chain.chain_id, contract=Address(self.address), **bound | changes)
        return self.retarget(round_, commitment=commitment)

    def retarget(self, round_: Round, **changes: Any) -> Round:
        """The round with other terms, and so another task id, but nothing else changed."""
        terms = replace(round_.terms, **changes)
        contract = Address(self.address)
        nonce = self.view("validator_nonce", terms.validator)
        task_id = hash_task_id(self.chain.chain_id, contract, terms.validator, nonce, terms.hash)
        return replace(round_, terms=terms, task_id=task_id, nonce=nonce)

    def order(self, round_: Round, **changes: Any) -> OrderMessage:
        """The payer's Order that this round just satisfies, with the round's nonce as its own."""
        terms = round_.terms
        order = OrderMessage(
            validator=terms.validator,
            max_reward=terms.reward,
            max_fee=terms.fee,
            spec_hash=terms.spec_hash,
            source_data_hash=SOURCE_DATA_HASH,
            min_n=terms.n,
            min_k_pay=terms.k_pay,
            nonce=round_.nonce,
            expiry=UnixSeconds(self.chain.now + 60),
        )
        return order._replace(**changes)

    def open(self, round_: Round, order: OrderMessage | None = None, sender: str = VALIDATOR.address) -> list[Event]:
        order = order or self.order(round_)
        return self.call(sender, "open_task", round_.terms.as_tuple(), order, self.sign_order(PAYER, order))

    def sign_order(self, signer: LocalAccount, order: OrderMessage) -> bytes:
        return self.sign(signer, typed_data.order(order))

    def accept(self, round_: Round, sender: str = MINER.address) -> list[Event]:
        return self.on_task(sender, "accept", round_, round_.tree.root)

    def submit(self, round_: Round, sender: str = MINER.address) -> list[Event]:
        return self.on_task(sender, "submit", round_, MODEL_HASH)

    def challenge(self, round_: Round, sender: str = VALIDATOR.address) -> list[Event]:
        return self.on_task(sender, "challenge", round_, round_.leaves)

    def answer(self, round_: Round, hits: int, sender: str = MINER.address) -> list[Event]:
        return self.on_task(sender, "answer", round_, round_.replies(hits))

    def settle(self, round_: Round, hits: int, sender: str = VALIDATOR.address, **changes: Any) -> list[Event]:
        """Settle with an honestly signed transcript of `hits` hits, but for `changes` of single arguments."""
        return self.send(self.address, sender, self.settle_calldata(round_, hits, **changes))

    def settle_calldata(self, round_: Round, hits: int, **changes: Any) -> bytes:
        replies = round_.replies(hits)
        is_proved = hits < round_.terms.k_pay or round_.terms.weights == 2
        arguments = {
            "salt": round_.salt,
            "rows": round_.marks,
            "replies": replies,
            "signature": b"",
            "bundle_hash": BUNDLE_HASH,
            "proofs": [],
        }
        if is_proved and "proofs" not in changes:
            arguments["proofs"] = round_.proofs
        if not self.task(round_).is_answered:
            arguments["signature"] = self.sign(EVIDENCE, round_.transcript(replies))
        arguments |= changes
        arguments["rows"] = [as_tuple(row) for row in arguments["rows"]]
        return self.calldata("settle", round_.terms.as_tuple(), round_.nonce, *arguments.values())

    def verdict(
        self, round_: Round, member: LocalAccount, hits: int | None = None, coverage_low_bps: int = 7_000
    ) -> tuple[Any, ...]:
        """A committee member's signed verdict, just good enough by default."""
        hits = round_.terms.k_pay if hits is None else hits
        data = typed_data.weights_verdict(round_.task_id, MODEL_HASH, hits, coverage_low_bps, BUNDLE_HASH)
        return hits, coverage_low_bps, BUNDLE_HASH, self.sign(member, data)

    def judge(self, round_: Round, verdicts: Sequence[tuple[Any, ...]], sender: str = OUTSIDER.address) -> list[Event]:
        return self.on_task(sender, "judge", round_, [member.address for member in COMMITTEE], verdicts)

    def dispute(self, round_: Round, sender: str = AUDITOR.address, **changes: Any) -> list[Event]:
        arguments = {
            "leaves": round_.leaves,
            "mark": round_.marks[0],
            "other": round_.contradiction,
            "proof": round_.tree.proof(round_.contradiction.leaf),
        }
        arguments |= changes
        for name in ("mark", "other"):
            arguments[name] = as_tuple(arguments[name])
        return self.on_task(sender, "dispute", round_, *arguments.values())

    def poke(self, round_: Round, sender: str = OUTSIDER.address) -> list[Event]:
        return self.on_task(sender, "poke", round_)

    def on_task(self, sender: str, name: str, round_: Round, *args: Any) -> list[Event]:
        return self.call(sender, name, round_.terms.as_tuple(), round_.nonce, *args)

    def expire(self, round_: Round) -> None:
        """Let the round's present deadline pass, by one second."""
        self.chain.now = self.task(round_).deadline + 1

    def reach(self, state: TaskState, **changes: Any) -> Round:
        """A new round, led honestly to a running state."""
        if state is TaskState.JUDGING:
            changes = {"weights": 2, "committee_hash": COMMITTEE_HASH} | changes
        round_ = self.make_round(**changes)
        self.open(round_)
        if state > TaskState.OPEN:
            self.accept(round_)
        if state > TaskState.ACCEPTED:
            self.submit(round_)
        if state in (TaskState.CHALLENGED, TaskState.ANSWERED):
            self.challenge(round_)
        if state is TaskState.ANSWERED:
            self.answer(round_, hits=round_.terms.n)
        if state is TaskState.JUDGING:
            self.settle(round_, hits=round_.terms.n)
        if state is TaskState.SLASH_PENDING:
            self.settle(round_, hits=0)
        assert self.task(round_).state is state
        return round_
