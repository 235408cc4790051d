"""Where a script plays: a fresh market that remembers what was refused and what was logged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from contracts import TaskState
from tests.contracts.attacks.amounts import PARTIES
from tests.contracts.evm import Event, Reverted
from tests.contracts.market import Market
from tests.contracts.rounds import COMMITTEE_HASH, EVIDENCE, MINER, NO_HASH, OUTSIDER, PAYER, VALIDATOR, Round
from validator.protocol.commitment import RowHashes

JUDGED = {"weights": 2, "committee_hash": COMMITTEE_HASH}
FUNDS_WEI = 10**7
_PARTY_OF = {PAYER.address: "payer", VALIDATOR.address: "validator", MINER.address: "miner"}


class Stage(Market):
    """A market with a memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refusals: list[str] = []
        """Reasons in the order of the refusals, each once."""
        super().__init__()

    def send(self, to: str, sender: str, data: bytes, value_wei: int = 0) -> list[Event]:
        events = super().send(to, sender, data, value_wei)
        self.events += events
        return events

    @contextmanager
    def refused(self) -> Iterator[None]:
        """The one call inside must revert; its reason is compared with the script's declaration in the end."""
        try:
            yield
        except Reverted as reverted:
            if str(reverted) not in self.refusals:
                self.refusals.append(str(reverted))
        else:
            raise AssertionError("the contract let it through")

    def worth(self) -> dict[str, int]:
        """What each party owns in all, wallet, credit and stake, in wei; whoever has no role is an outsider."""
        worth_wei = dict.fromkeys(PARTIES, 0)
        for address in self.addresses:
            miner = self.miner(address)
            own_wei = self.chain.balance(address) + self.credits(address) + miner.stake + miner.unstaking
            worth_wei[_PARTY_OF.get(address, "outsider")] += own_wei
        return worth_wei

    def lead(self, round_: Round) -> Round:
        """Open, accepted and submitted, whatever stands in the terms."""
        self.open(round_)
        self.accept(round_)
        self.submit(round_)
        return round_

    def submitted(self, **changes: Any) -> Round:
        return self.reach(TaskState.SUBMITTED, **changes)

    def challenged(self, **changes: Any) -> Round:
        return self.reach(TaskState.CHALLENGED, **changes)

    def lapse(self, round_: Round) -> Round:
        """Nobody acts any more, and somebody ends the task by the default of its state."""
        self.expire(round_)
        self.poke(round_)
        return round_

    def pay(self, round_: Round) -> Round:
        """The honest end of a round whose miner has trained: all hits, signed or answered."""
        self.settle(round_, hits=round_.terms.n)
        return round_

    def slash(self, round_: Round) -> Round:
        """The honest end of a round whose miner has not: no hits, nothing to dispute."""
        self.settle(round_, hits=0)
        return self.lapse(round_)

    def last_second(self, round_: Round) -> None:
        self.chain.now = self.task(round_).deadline

    def try_throughout(self, round_: Round, attempt: Callable[[], Any]) -> Round:
        """Lead an open round over all states from Accepted to a slash, and see `attempt` refused in each."""
        for step in (
            lambda: self.accept(round_),
            lambda: self.submit(round_),
            lambda: self.challenge(round_),
            lambda: self.answer(round_, hits=0),
            lambda: self.settle(round_, hits=0),
        ):
            step()
            with self.refused():
                attempt()
        return self.lapse(round_)

    def over_marks(self, marks: list[RowHashes], **changes: Any) -> Round:
        """A round that commits to these rows, in its dataset's tree or not."""
        round_ = self.make_round(**changes)
        return self.recommit(replace(round_, marks=sorted(marks, key=lambda row: row.leaf)))

    def over_same_data(self, round_: Round, **changes: Any) -> Round:
        """The validator's next round over the dataset and the marks of another one."""
        other = self.make_round(dataset_root=round_.tree.root, **changes)
        return self.recommit(replace(other, marks=round_.marks, tree=round_.tree, contradiction=round_.contradiction))

    def enter_as_miner(self, stake_wei: int) -> None:
        """A second miner identity, the outsider's, with a stake of its own."""
        self.call(OUTSIDER.address, "register", EVIDENCE.address, "https://other.example", NO_HASH)
        self.call(OUTSIDER.address, "deposit", value_wei=FUNDS_WEI)
        self.call(OUTSIDER.address, "stake", stake_wei)
