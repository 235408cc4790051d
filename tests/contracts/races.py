"""What parties can race for in one block, state by state, each call with the rule that decides whether it counts.

The rules are written as a Petri net: tokens lie on the table, and a call counts if and only if the tokens that it
`takes` and `needs` are there; it then removes what it takes and all of what it `voids`, and lays down what it `gives`.
A running task is a token such as "A:OPEN", or "A:OPEN:late" once its deadline has passed, which only a poke takes: so
of two calls that end a state the first counts and the second does not, whoever sends them (E13). Amounts are tokens
too: "bonds" is free stake for one task, "miner's" the miner's credit of one reward. The rules are those of
docs/protocol.md, under "Terms", "States, durations, defaults" and "Decisions of the contract"; no call is tried out.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount

from contracts import TaskState
from tests.contracts.market import Holdings, Market
from tests.contracts.rounds import (
    AUDITOR,
    COMMITTEE,
    GUARDIAN,
    MINER,
    MODEL_HASH,
    OUTSIDER,
    PAYER,
    VALIDATOR,
    Round,
)
from validator.protocol import typed_data
from validator.protocol.commitment import keccak
from validator.types import UnixSeconds

Tokens = Counter[str]
NEVER = "never"
"""Needed by a call that no rule allows in this race."""


@dataclass(frozen=True)
class Racer:
    """One call, its bytes fixed before the race, and its rule."""

    label: str
    sender: str
    data: bytes
    takes: list[str]
    needs: list[str]
    voids: list[str]
    gives: list[str]

    def play(self, tokens: Tokens) -> Tokens | None:
        """The tokens after this call, or None if it does not count."""
        if not Counter(self.takes + self.needs) <= tokens:
            return None
        left = tokens - Counter(self.takes)
        for token in self.voids:
            del left[token]
        return left + Counter(self.gives)


class Race:
    """A market a moment before the race, and the calls that are under way to it."""

    def __init__(self, market: Market, before: Holdings, edge_s: int, **rounds: Round) -> None:
        self.market = market
        self.before = before
        """What the parties held before any of the tasks opened."""
        self.edge_s = edge_s
        """The last second at which what has a deadline here is in time."""
        self.rounds = rounds
        """The tasks that are open already, by their names in tokens."""
        self.racers: list[Racer] = []
        self.tokens = ""
        self.tokens_in_time = ""
        self.tokens_late = ""

    def tokens_at(self, late_s: int) -> Tokens:
        return Counter(f"{self.tokens} {self.tokens_late if late_s > 0 else self.tokens_in_time}".split())

    def add(
        self,
        label: str,
        sender: LocalAccount,
        data: bytes,
        takes: str = "",
        needs: str = "",
        voids: str = "",
        gives: str = "",
    ) -> None:
        """One more call; tokens are separated by spaces."""
        rule = (tokens.split() for tokens in (takes, needs, voids, gives))
        self.racers.append(Racer(label, sender.address, data, *rule))

    def data(self, name: str, *args: Any, task: str = "A") -> bytes:
        """Calldata of a call of a task."""
        round_ = self.rounds[task]
        return self.market.calldata(name, round_.terms.as_tuple(), round_.nonce, *args)

    def add_pokes(self, state: str, outcome: str, gives: str = "", task: str = "A") -> None:
        """By a bystander and by a party: who sends it must not matter."""
        for sender in (OUTSIDER, PAYER):
            takes, ends = f"{task}:{state}:late", f"{task}:{outcome} {gives}"
            self.add(f"poke {task}", sender, self.data("poke", task=task), takes=takes, gives=ends)

    def add_registrations(self) -> None:
        """Only while no task of the miner runs; a new epoch is out of reach for old terms."""
        register = self.market.calldata("register", OUTSIDER.address, "https://new.example", bytes(32))
        self.add("register", MINER, register, needs="idle", voids="epoch")
        rotate = self.market.calldata("rotate_evidence_key", OUTSIDER.address)
        self.add("rotate", MINER, rotate, needs="idle")

    def add_unstaking(self, amount_wei: int, takes: str) -> None:
        """Locked stake does not move (C8)."""
        self.add("request_unstake", MINER, self.market.calldata("request_unstake", amount_wei), takes=takes)


def _bonds_wei(round_: Round) -> int:
    return int(round_.terms.miner_bond + round_.terms.availability_bond)


def _keep_stake(market: Market, amount_wei: int) -> None:
    market.call(MINER.address, "request_unstake", market.miner().stake - amount_wei)


def _keep_credit(market: Market, owner: LocalAccount, amount_wei: int) -> None:
    market.call(owner.address, "withdraw", market.credits(owner.address) - amount_wei)


def _over_one_task(market: Market, state: TaskState, **changes: Any) -> tuple[Race, Round]:
    """A task in this state whose miner has bonds for it and no credit."""
    _keep_stake(market, _bonds_wei(market.make_round()))
    _keep_credit(market, MINER, 0)
    before = market.holdings()
    round_ = market.reach(state, **changes)
    race = Race(market, before, market.task(round_).deadline, A=round_)
    race.tokens_in_time, race.tokens_late = f"A:{state.name}", f"A:{state.name}:late"
    return race, round_


def open_(market: Market) -> Race:
    race, round_ = _over_one_task(market, TaskState.OPEN)
    race.tokens = "bonds epoch idle"
    for _ in range(2):
        data = race.data("accept", round_.tree.root)
        race.add("accept", MINER, data, takes="A:OPEN bonds", needs="epoch", voids="idle", gives="A:ACCEPTED")
    race.add("submit", MINER, race.data("submit", MODEL_HASH), takes="A:ACCEPTED", gives="A:SUBMITTED")
    race.add_pokes("OPEN", "OPEN_LAPSED")
    race.add_registrations()
    race.add_unstaking(_bonds_wei(round_), takes="bonds")
    return race


def accepted(market: Market) -> Race:
    race, round_ = _over_one_task(market, TaskState.ACCEPTED)
    other_model = keccak(b"another model")
    race.add("submit", MINER, race.data("submit", MODEL_HASH), takes="A:ACCEPTED", gives="A:SUBMITTED model")
    race.add("submit another", MINER, race.data("submit", other_model), takes="A:ACCEPTED", gives="A:SUBMITTED")
    # What was signed for one model does not count for another.
    settle = market.settle_calldata(round_, hits=16)
    race.add("settle", VALIDATOR, settle, takes="A:SUBMITTED", needs="model", gives="A:PAID idle bond")
    challenge = race.data("challenge", round_.leaves)
    race.add("challenge", VALIDATOR, challenge, takes="A:SUBMITTED", gives="A:CHALLENGED")
    race.add_pokes("ACCEPTED", "MINER_LAPSED", gives="idle bond")
    race.add_registrations()
    race.add_unstaking(round_.terms.miner_bond, takes="bond")
    return race


def submitted(market: Market) -> Race:
    """C4, C6: whoever sees the settlement on its way can neither answer first nor send it in the validator's place."""
    race, round_ = _over_one_task(market, TaskState.SUBMITTED)
    paid, slash = (market.settle_calldata(round_, hits=hits) for hits in (16, 0))
    for _ in range(2):
        race.add("settle as paid", VALIDATOR, paid, takes="A:SUBMITTED", gives="A:PAID idle miner's")
    race.add("settle as slash", VALIDATOR, slash, takes="A:SUBMITTED", gives="A:SLASH_PENDING")
    race.add("settle for the validator", MINER, paid, needs=NEVER)
    challenge, answer = race.data("challenge", round_.leaves), race.data("answer", round_.replies(16))
    race.add("challenge", VALIDATOR, challenge, takes="A:SUBMITTED", gives="A:CHALLENGED")
    race.add("answer", MINER, answer, takes="A:CHALLENGED", gives="A:ANSWERED")
    race.add_pokes("SUBMITTED", "VALIDATOR_LAPSED", gives="idle miner's")
    race.add("withdraw", MINER, market.calldata("withdraw", round_.terms.reward), takes="miner's")
    return race


def challenged(market: Market) -> Race:
    """C4: the first answer is the answer."""
    race, round_ = _over_one_task(market, TaskState.CHALLENGED)
    for hits, outcome in ((16, "A:PAID idle"), (0, "A:SLASH_PENDING")):
        answer = race.data("answer", round_.replies(hits))
        race.add(f"answer {hits}", MINER, answer, takes="A:CHALLENGED", gives=f"A:ANSWERED replies:{hits}")
        settle = market.settle_calldata(round_, hits=hits, signature=b"")
        takes = f"A:ANSWERED replies:{hits}"
        race.add(f"settle {hits}", VALIDATOR, settle, takes=takes, gives=outcome)
    race.add("answer for the miner", VALIDATOR, race.data("answer", round_.replies(0)), needs=NEVER)
    race.add("challenge again", VALIDATOR, race.data("challenge", round_.leaves), needs=NEVER)
    race.add_pokes("CHALLENGED", "MINER_LAPSED")
    return race


def answered(market: Market) -> Race:
    race, round_ = _over_one_task(market, TaskState.ANSWERED)
    settle = market.settle_calldata(round_, hits=16)
    for _ in range(2):
        race.add("settle", VALIDATOR, settle, takes="A:ANSWERED", gives="A:PAID idle bond")
    signed = market.settle_calldata(round_, hits=0, signature=bytes(65))
    race.add("settle other replies", VALIDATOR, signed, needs=NEVER)
    race.add("answer again", MINER, race.data("answer", round_.replies(0)), needs=NEVER)
    race.add_pokes("ANSWERED", "VALIDATOR_LAPSED", gives="idle bond")
    race.add_registrations()
    race.add_unstaking(round_.terms.miner_bond, takes="bond")
    return race


def judging(market: Market) -> Race:
    race, round_ = _over_one_task(market, TaskState.JUDGING)
    members = [member.address for member in COMMITTEE]
    verdicts = [market.verdict(round_, member) for member in COMMITTEE]
    for sender, signed in ((OUTSIDER, verdicts), (VALIDATOR, verdicts[:2]), (MINER, verdicts[1:])):
        race.add("judge", sender, race.data("judge", members, signed), takes="A:JUDGING", gives="A:PAID idle miner's")
    race.add("judge without quorum", MINER, race.data("judge", members, verdicts[:1]), needs=NEVER)
    race.add("settle again", VALIDATOR, market.settle_calldata(round_, hits=0, signature=bytes(65)), needs=NEVER)
    race.add_pokes("JUDGING", "REFUNDED", gives="idle")
    race.add("withdraw", MINER, market.calldata("withdraw", round_.terms.reward), takes="miner's")
    return race


def slash_pending(market: Market) -> Race:
    race, round_ = _over_one_task(market, TaskState.SLASH_PENDING)
    mark, other = ((row.prompt_hash, row.head_hash, row.tail_hash) for row in (round_.marks[0], round_.contradiction))
    proof = round_.tree.proof(round_.contradiction.leaf)
    for sender in (AUDITOR, MINER):
        dispute = race.data("dispute", round_.leaves, mark, other, proof)
        takes, gives = "A:SLASH_PENDING", "A:DISPUTED idle availability bond miner's"
        race.add("dispute", sender, dispute, takes=takes, gives=gives)
    race.add("dispute by no contradiction", MINER, race.data("dispute", round_.leaves, mark, mark, proof), needs=NEVER)
    race.add_pokes("SLASH_PENDING", "SLASHED", gives="idle availability")
    race.add("register", MINER, market.calldata("register", OUTSIDER.address, "", bytes(32)), needs="idle")
    # The slashed bond is gone whoever is first; the other one comes back.
    race.add_unstaking(round_.terms.availability_bond, takes="availability")
    race.add("withdraw", MINER, market.calldata("withdraw", round_.terms.reward), takes="miner's")
    return race


def one_order(market: Market) -> Race:
    """Two tasks under one Order, which the payer takes back, with money for one task that it takes out."""
    first = market.make_round()
    second = market.recommit(first, salt=keccak(b"another salt"))
    cost_wei = int(first.terms.reward + first.terms.fee)
    _keep_credit(market, PAYER, cost_wei)
    order = market.order(first)
    race = Race(market, market.holdings(), order.expiry)
    race.tokens, race.tokens_in_time = "order cost first second market epoch idle", "time"
    for name, round_ in (("first", first), ("first", first), ("second", second)):
        data = market.calldata("open_task", round_.terms.as_tuple(), order, market.sign_order(PAYER, order))
        takes = f"order cost {name}"
        race.add(f"open {name}", VALIDATOR, data, takes=takes, needs="time market epoch")
    race.add("open for the validator", OUTSIDER, race.racers[0].data, needs=NEVER)
    race.add("cancel", PAYER, market.calldata("cancel_order", order.nonce), takes="order")
    race.add("withdraw", PAYER, market.calldata("withdraw", cost_wei), takes="cost")
    race.add("sunset", GUARDIAN, market.calldata("sunset"), takes="market")
    race.add("register", MINER, market.calldata("register", OUTSIDER.address, "", bytes(32)), voids="epoch")
    return race


def one_nonce(market: Market) -> Race:
    """Two Offers and an Order for the validator's next task, with bonds for two of them."""
    first = market.make_round()
    second = market.recommit(first, salt=keccak(b"another salt"))
    third = market.recommit(first, salt=keccak(b"a third salt"))
    bond_wei = int(first.terms.validator_bond)
    _keep_credit(market, VALIDATOR, 2 * bond_wei)
    expiry = UnixSeconds(market.chain.now + 60)
    race = Race(market, market.holdings(), expiry)
    race.tokens, race.tokens_in_time = "nonce bond bond first order", "time"
    for name, round_ in (("first", first), ("second", second)):
        offer = market.sign(VALIDATOR, typed_data.offer(round_.terms, round_.nonce, expiry))
        data = market.calldata("open_task_with_offer", round_.terms.as_tuple(), expiry, offer)
        for sender, never in ((PAYER, ""), (OUTSIDER, NEVER)):
            race.add(f"{name} offer", sender, data, takes="nonce bond", needs=f"time {never}")
    order = market.order(third, expiry=expiry)
    data = market.calldata("open_task", third.terms.as_tuple(), order, market.sign_order(PAYER, order))
    race.add("order", VALIDATOR, data, takes="order bond", needs="time", voids="nonce")
    race.add("cancel", PAYER, market.calldata("cancel_order", order.nonce), takes="order")
    race.add("withdraw", VALIDATOR, market.calldata("withdraw", bond_wei), takes="bond")
    return race


def one_stake(market: Market) -> Race:
    """E14: two tasks, and stake for one of them."""
    bonds_wei = _bonds_wei(market.make_round())
    _keep_stake(market, bonds_wei)
    _keep_credit(market, MINER, bonds_wei)
    before = market.holdings()
    first, second = market.reach(TaskState.OPEN), market.reach(TaskState.OPEN)
    race = Race(market, before, market.task(first).deadline, A=first, B=second)
    race.tokens = "bonds credit idle epoch"
    race.tokens_in_time, race.tokens_late = "A:OPEN B:OPEN", "A:OPEN:late B:OPEN:late"
    for name, round_ in race.rounds.items():
        accept = race.data("accept", round_.tree.root, task=name)
        takes, gives = f"{name}:OPEN bonds", f"{name}:ACCEPTED"
        race.add(f"accept {name}", MINER, accept, takes=takes, needs="epoch", voids="idle", gives=gives)
        race.add(
            f"poke {name}",
            OUTSIDER,
            race.data("poke", task=name),
            takes=f"{name}:OPEN:late",
            gives=f"{name}:OPEN_LAPSED",
        )
    race.add("stake", MINER, market.calldata("stake", bonds_wei), takes="credit", gives="bonds")
    race.add_unstaking(bonds_wei, takes="bonds")
    race.add_registrations()
    return race


def unstaking(market: Market) -> Race:
    """The delay of a miner's whole stake is over, and a task waits for its bonds."""
    bonds_wei = _bonds_wei(market.make_round())
    _keep_stake(market, bonds_wei)
    market.chain.now = market.miner().unstake_ready_at
    market.call(MINER.address, "unstake")
    _keep_credit(market, MINER, 0)
    market.call(MINER.address, "request_unstake", bonds_wei)
    before = market.holdings()
    # A task that is still open when the delay is over.
    round_ = market.reach(TaskState.OPEN, accept_seconds=100_000)
    race = Race(market, before, market.miner().unstake_ready_at - 1, A=round_)
    race.tokens, race.tokens_late = "leaving epoch A:OPEN", "ready"
    for _ in range(2):
        race.add("unstake", MINER, market.calldata("unstake"), takes="leaving", needs="ready", gives="credit")
    race.add("stake", MINER, market.calldata("stake", bonds_wei), takes="credit", gives="bonds")
    accept = race.data("accept", round_.tree.root)
    race.add("accept", MINER, accept, takes="A:OPEN bonds", needs="epoch", gives="A:ACCEPTED")
    race.add("withdraw", MINER, market.calldata("withdraw", bonds_wei), takes="credit")
    # Asking again starts the delay again for all that is on its way.
    race.add("request nothing", MINER, market.calldata("request_unstake", 0), voids="ready")
    return race


RACES = (
    open_,
    accepted,
    submitted,
    challenged,
    answered,
    judging,
    slash_pending,
    one_order,
    one_nonce,
    one_stake,
    unstaking,
)
