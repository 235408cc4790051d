"""The contract on a fast EVM and the reference model, called side by side and compared after every call.

Rule kept: after each call the two agree on the reason or on every event, on every account and every task as the views
show them, and on all ether; and the money adds up, whoever did what (protocol, "Invariants").
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from coincurve import PrivateKey
from eth_utils.abi import function_abi_to_4byte_selector

from contracts import load_artifact
from tests.contracts.evm import Chain, Contract, Log, PyRevm, Reverted
from tests.contracts.model.reference import (
    ANSWERED,
    NOBODY,
    OPEN_LAPSED,
    PAID,
    SLASHED,
    ZERO,
    Account,
    Order,
    Reference,
    Refused,
    Row,
    Terms,
    count_hits,
    row_leaf,
)
from tests.unit.protocol.second_implementation import k, merkle, words

FLOORS_S = (100, 200, 300, 400, 500, 600, 700)
UNSTAKE_DELAY_S = 5_000
START_WEI = 2**120
CREDIT_WEI, STAKE_WEI = 10**9, 10**8


KEYS = {}
"""Private key of every address that signs anything here."""


def make_address(role: str) -> str:
    key = PrivateKey(k(role.encode()))
    address = "0x" + k(key.public_key.format(compressed=False)[1:])[12:].hex()
    KEYS[address] = key
    return address


ACTORS = [make_address(f"actor {i}") for i in range(5)]
DEAF = ACTORS[-1]
"""A contract that passes on what PORTER tells it and refuses ether: only its own withdrawal fails."""
PORTER = make_address("porter")
GUARDIAN = make_address("guardian")
EVERYBODY = [*ACTORS, GUARDIAN]
EVIDENCE_KEYS = [make_address(f"evidence {i}") for i in range(6)]
COMMITTEE = sorted(make_address(f"member {i}") for i in range(3))
COMMITTEE_HASH = k(words(32, len(COMMITTEE), *COMMITTEE))


def sign(address: str, digest: bytes) -> bytes:
    """65 bytes r, s, v; coincurve's s is low."""
    raw = KEYS[address].sign_recoverable(digest, hasher=None)
    return bytes(raw[:64]) + bytes([27 + raw[64]])


WITH_AN_EMPTY_HEAD = 17
"""Probes whose dataset has a mark with head hash zero, as no text has it: a zero reply is a miss even there."""


class Dataset(NamedTuple):
    """`marks` in ascending order of their leaves; `contradiction` is a row with the prompt of the first mark."""

    root: bytes
    marks: list[Row]
    proofs: list[list[bytes]]
    contradiction: Row
    proof_of_contradiction: list[bytes]
    plain: Row
    proof_of_plain: list[bytes]


@cache
def make_dataset(n: int) -> Dataset:
    rows: list[Row] = [tuple(k(f"{n} {i} {j}".encode()) for j in range(3)) for i in range(n + 3)]  # type: ignore[misc]
    if n == WITH_AN_EMPTY_HEAD:
        rows[0] = (rows[0][0], ZERO, rows[0][2])
    marks = sorted(rows[:n], key=row_leaf)
    contradiction = (marks[0][0], k(b"another head"), marks[0][2])
    leaves = [*map(row_leaf, marks), row_leaf(contradiction), *map(row_leaf, rows[n:])]
    proofs = [merkle(leaves, i)[1] for i in range(n + 2)]
    return Dataset(merkle(leaves)[0], marks, proofs[:n], contradiction, proofs[n], rows[n], proofs[n + 1])


@dataclass
class Round:
    """One opened task, as everybody together knows it."""

    terms: Terms
    nonce: int
    task_id: bytes
    salt: bytes
    data: Dataset
    evidence: set[tuple[bytes, ...]] = field(default_factory=set)
    """All replies to this task's probes that the miner's key signed, or that the miner answered."""
    settled: tuple[bytes, ...] = ()

    @property
    def leaves(self) -> list[bytes]:
        return [row_leaf(row) for row in self.data.marks]

    def replies(self, hits: int) -> list[bytes]:
        """The first `hits` replies are hits, the others are misses of both kinds."""
        return [row[1] if i < hits else (ZERO, k(row[1]))[i % 2] for i, row in enumerate(self.data.marks)]


class Call(NamedTuple):
    """One transaction as it was sent, and what came of it: the reason of the revert, or its logs."""

    now: int
    sender: str
    to: str
    data: bytes
    value: int
    outcome: str | list[Log]


class Rig(Contract):
    """A deployed contract with its model; five actors with credit, stake and registration."""

    def __init__(self, chain: Chain | None = None) -> None:
        chain = chain or PyRevm()
        artifact = load_artifact()
        super().__init__(chain, artifact.abi, artifact.bytecode, (*FLOORS_S, UNSTAKE_DELAY_S, GUARDIAN))
        self.model = Reference(chain.chain_id, self.address.lower(), FLOORS_S, UNSTAKE_DELAY_S, GUARDIAN, chain.now)
        self.rounds: list[Round] = []
        self.calls: list[Call] = []
        self.closed: dict[bytes, int] = {}
        self._selectors = {name: function_abi_to_4byte_selector(entry) for name, entry in self._functions.items()}
        self._inputs = {entry["name"]: [item["name"] for item in entry["inputs"]] for entry in self._events.values()}
        for owner in (*EVERYBODY, PORTER):
            chain.fund(owner, START_WEI)
        for actor, key in zip(ACTORS, EVIDENCE_KEYS, strict=False):
            self.both(actor, "deposit", value=CREDIT_WEI + STAKE_WEI)
            self.both(actor, "stake", STAKE_WEI)
            self.both(actor, "register", key, "https://miner.example", ZERO)
        chain.set_code(DEAF, _forward_to(self.address))
        self.model.deaf.add(DEAF)

    # --- both sides

    def both(self, sender: str, name: str, *args: Any, value: int = 0) -> str | list[Any]:
        """One call on the contract and on the model; what they agree on: a reason, or the events."""
        data = self.calldata(name, *args)
        if sender == DEAF and self.model.deaf:
            outcome = self._transact(PORTER, DEAF, data, value)
        else:
            outcome = self._transact(sender, self.address, data, value)
        expected: str | list[Any]
        try:
            expected = self.model.call(sender, name, *args, value=value)
        except Refused as error:
            expected = str(error)
        if isinstance(outcome, str) or isinstance(expected, str):
            assert outcome == expected, name
            self.compare()
            return expected
        events = [self._decode(log) for log in outcome]
        named = [(kind, dict(zip(self._inputs[kind], arguments, strict=True))) for kind, arguments in expected]
        assert events == named
        self._keeps_secrets(outcome, name)
        self._enter(named)
        self.compare()
        return named

    def _transact(self, sender: str, to: str, data: bytes, value: int) -> str | list[Log]:
        outcome: str | list[Log]
        try:
            outcome = self.chain.transact(sender, to, data, value)
        except Reverted as error:
            outcome = str(error)
        self.calls.append(Call(self.chain.now, sender, to, data, value, outcome))
        return outcome

    def advance(self, now: int) -> None:
        self.chain.now = self.model.now = max(now, self.model.now)

    def compare(self) -> None:
        """Every account, every task and all ether, as the contract's views show them (invariant 1)."""
        world = self.model.world
        assert self.chain.balance(self.address) == world.balance
        assert self.chain.balance(NOBODY) == world.burned
        for owner in EVERYBODY:
            account = self.model.account(owner)
            assert self._look("credits", owner) == words(account.credit)
            assert self._look("validator_nonce", owner) == words(account.next_nonce)
            assert self._look("miners", owner) == _encode_miner(account)
        for round_ in self.rounds:
            task = world.tasks[round_.task_id]
            is_answered = task.replies is not None
            fields = (task.state, task.deadline, task.evidence_key, task.hits, is_answered)
            assert self._look("task_state", round_.task_id) == words(*fields)
            assert self._look("model_hash", round_.task_id) == task.model_hash
        assert world.balance == self.owed_wei()

    def owed_wei(self) -> int:
        """What the contract owes: credits, stakes, and the escrow of every running task (protocol, invariant 1)."""
        accounts = self.model.world.accounts.values()
        owed = sum(account.credit + account.stake + account.unstaking for account in accounts)
        for round_ in self.running():
            terms, task = round_.terms, self.model.world.tasks[round_.task_id]
            owed += terms.reward + terms.fee + terms.validator_bond
            owed -= terms.answer_fee if task.replies is not None else 0
        return owed

    def _look(self, name: str, argument: str | bytes) -> bytes:
        return self.chain.read(self.address, self._selectors[name] + words(argument))

    def _keeps_secrets(self, logs: Sequence[Log], name: str) -> None:
        """Invariant 6: no event tells the salt of a task that is not settled."""
        if name == "settle":
            return
        for round_ in self.running():
            if self.model.world.tasks[round_.task_id].state <= ANSWERED:
                assert all(round_.salt not in log.data for log in logs)

    def _enter(self, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Invariants 2 to 5.

        A task closes once, and pays or slashes by the miner's own evidence alone; a commitment is opened once.
        """
        for name, args in events:
            if name == "TaskOpened":
                self.rounds.append(self._opening)
            if "task_id" not in args:
                continue
            (round_,) = (r for r in self.rounds if r.task_id == args["task_id"])
            if name == "Answered":
                round_.evidence.add(args["replies"])
            elif name == "TaskSettled":
                opened_by = [(r.terms.validator, r.terms.commitment) for r in self.rounds if r.settled]
                assert (round_.terms.validator, round_.terms.commitment) not in opened_by
                round_.settled = args["replies"]
                assert round_.settled in round_.evidence
            elif name == "TaskClosed":
                assert round_.task_id not in self.closed
                self.closed[round_.task_id] = args["outcome"]
                if args["outcome"] == PAID:
                    assert count_hits(round_.data.marks, round_.settled) >= round_.terms.k_pay
                if args["outcome"] == SLASHED:
                    assert count_hits(round_.data.marks, round_.settled) <= round_.terms.k_slash

    # --- what the actors do

    def running(self) -> list[Round]:
        return [r for r in self.rounds if self.model.world.tasks[r.task_id].state < OPEN_LAPSED]

    def make_terms(self, payer: str, validator: str, miner: str, salt: bytes, **changes: Any) -> Terms:
        """Terms that just fit; the commitment opens with the dataset's marks and `salt`."""
        n = changes.get("n", 16)
        data = make_dataset(n if 16 <= n <= 64 else 16)
        terms = Terms(
            payer=payer,
            validator=validator,
            miner=miner,
            miner_epoch=self.model.account(miner).epoch,
            reward=1_003,
            fee=51,
            miner_bond=907,
            availability_bond=509,
            validator_bond=1_311,
            answer_fee=37,
            scheme=b"canary".ljust(32, b"\0"),
            w=4,
            n=n,
            k_pay=n * 3 // 4,
            k_slash=n // 8,
            slashing=True,
            max_tokens=32,
            dataset_root=data.root,
            commitment=ZERO,
            spec_hash=k(b"spec"),
            weights=0,
            min_coverage_bps=7_000,
            committee_hash=COMMITTEE_HASH,
            quorum=2,
            accept_seconds=FLOORS_S[0] + 9_000,
            train_seconds=FLOORS_S[1] + 9_000,
            submitted_seconds=FLOORS_S[2] + 9_000,
            challenged_seconds=FLOORS_S[3] + 9_000,
            answered_seconds=FLOORS_S[4] + 9_000,
            judging_seconds=FLOORS_S[5] + 9_000,
            dispute_seconds=FLOORS_S[6] + 9_000,
        )
        commitment = self.model.commit(terms, [row_leaf(row) for row in data.marks], salt)
        return terms._replace(**{"commitment": commitment} | changes)

    def make_order(self, terms: Terms, nonce: int) -> Order:
        amounts = (terms.reward, terms.fee, terms.spec_hash, k(b"source data"), terms.n, terms.k_pay)
        return Order(terms.validator, *amounts, nonce, self.model.now)

    def open(self, name: str, terms: Terms, salt: bytes, sender: str, *args: Any, value: int = 0) -> None:
        nonce = self.model.account(terms.validator).next_nonce
        round_ = Round(terms, nonce, self.model.task_id(terms, nonce), salt, make_dataset(terms.n))
        self._opening = round_
        self.both(sender, name, terms, *args, value=value)

    def settlement(self, round_: Round, hits: int) -> dict[str, Any]:
        """The arguments of a good `settle` in the state that the task is in, evidence signed where it is asked for."""
        task = self.model.world.tasks[round_.task_id]
        replies = list(task.replies) if task.state == ANSWERED and task.replies else round_.replies(hits)
        signature = b""
        if task.state != ANSWERED:
            signature = self.sign_transcript(round_, replies)
        return {
            "salt": round_.salt,
            "rows": round_.data.marks,
            "replies": replies,
            "signature": signature,
            "bundle_hash": k(b"bundle"),
            "proofs": round_.data.proofs,
        }

    def sign_transcript(self, round_: Round, replies: Sequence[bytes], model_hash: bytes | None = None) -> bytes:
        """By the task's evidence key; what it signed of this model counts as the miner's evidence."""
        task = self.model.world.tasks[round_.task_id]
        if task.evidence_key == NOBODY:
            return bytes(65)
        pairs = [(row[0], reply) for row, reply in zip(round_.data.marks, replies, strict=True)]
        if model_hash is None:
            round_.evidence.add(tuple(replies))
        digest = self.model.digest_transcript(round_.task_id, model_hash or task.model_hash, round_.leaves, pairs)
        return sign(task.evidence_key, digest)

    def verdict(self, round_: Round, member: str, **changes: int) -> tuple[int, int, bytes, bytes]:
        numbers = {"hits": round_.terms.k_pay, "coverage_low_bps": round_.terms.min_coverage_bps} | changes
        bundle_hash = k(b"bundle")
        digest = self.model.digest_verdict(round_.task_id, *numbers.values(), bundle_hash)
        return *numbers.values(), bundle_hash, sign(member, digest)  # type: ignore[return-value]

    def end_everything(self) -> None:
        """Whatever has happened, time and `poke` alone end every task, and everybody takes out what is theirs."""
        for round_ in self.running():
            self.advance(self.model.world.tasks[round_.task_id].deadline + 1)
            assert not isinstance(self.both(GUARDIAN, "poke", round_.terms, round_.nonce), str)
        assert self.running() == []
        assert set(self.closed) == {round_.task_id for round_ in self.rounds}
        for owner in EVERYBODY:
            account = self.model.account(owner)
            assert (account.locked, account.running) == (0, 0)
            self.both(owner, "request_unstake", account.stake)
        self.advance(self.model.now + UNSTAKE_DELAY_S)
        for owner in EVERYBODY:
            self.both(owner, "unstake")
            self.both(owner, "withdraw", self.model.account(owner).credit)
        assert self.model.world.balance == self.model.account(DEAF).credit


def _forward_to(address: str) -> bytes:
    """EVM code: revert where there is no calldata, else call `address` with it and the value, and revert as it does."""
    start = bytes.fromhex("366007575f5ffd5b365f5f375f5f365f3473") + bytes.fromhex(address[2:])
    end = bytes.fromhex("5af13d5f5f3e")
    good = len(start) + len(end) + 6
    return start + end + bytes([0x60, good, 0x57]) + bytes.fromhex("3d5ffd5b00")


def _encode_miner(account: Account) -> bytes:
    """The ABI encoding of the contract's `Miner`, whose one dynamic field is the URL."""
    url = account.url.encode()
    head = words(
        32,
        account.evidence_key,
        account.epoch,
        account.stake,
        account.locked,
        account.running,
        9 * 32,
        account.tls_key_hash,
        account.unstaking,
        account.unstake_ready_at,
    )
    return head + words(len(url)) + url.ljust(-(-len(url) // 32) * 32, b"\0")
