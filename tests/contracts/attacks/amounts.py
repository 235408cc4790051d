"""Money of a round as formulas over its terms: one declaration is asserted to the wei and printed in letters."""

from dataclasses import dataclass, fields, replace

from contracts import TaskState
from validator.protocol.commitment import Terms

LETTERS = {
    "reward": "R",
    "fee": "F",
    "miner_bond": "M",
    "availability_bond": "A",
    "validator_bond": "V",
    "answer_fee": "a",
}


@dataclass(frozen=True)
class Amount:
    """So many times each amount of the terms; false where it is nothing."""

    reward: int = 0
    fee: int = 0
    miner_bond: int = 0
    availability_bond: int = 0
    validator_bond: int = 0
    answer_fee: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(*(getattr(self, name) + getattr(other, name) for name in LETTERS))

    def __neg__(self) -> "Amount":
        return Amount(*(-getattr(self, name) for name in LETTERS))

    def __sub__(self, other: "Amount") -> "Amount":
        return self + -other

    def __bool__(self) -> bool:
        return self != Amount()

    def wei(self, terms: Terms) -> int:
        return sum(getattr(self, name) * getattr(terms, name) for name in LETTERS)

    def __str__(self) -> str:
        """As `R + 2F - A`, gains first; 0 where it is nothing."""
        counts = [(getattr(self, name), letter) for name, letter in LETTERS.items() if getattr(self, name)]
        counts.sort(key=lambda pair: pair[0] < 0)
        text = " ".join(f"{'-' if n < 0 else '+'} {abs(n) if abs(n) > 1 else ''}{letter}" for n, letter in counts)
        return text.removeprefix("+ ").replace("- ", "-", 1) if text.startswith("-") else text.removeprefix("+ ") or "0"


NOTHING = Amount()
REWARD, FEE, MINER_BOND, AVAILABILITY_BOND, VALIDATOR_BOND, ANSWER_FEE = (Amount(**{name: 1}) for name in LETTERS)


@dataclass(frozen=True)
class Moved:
    """What each party has more than before (stake and wallet included), and what is burned; the sum is nothing."""

    payer: Amount = NOTHING
    validator: Amount = NOTHING
    miner: Amount = NOTHING
    outsider: Amount = NOTHING
    burned: Amount = NOTHING

    def __add__(self, other: "Moved") -> "Moved":
        return Moved(*(getattr(self, column) + getattr(other, column) for column in COLUMNS))

    def __sub__(self, other: "Moved") -> "Moved":
        return Moved(*(getattr(self, column) - getattr(other, column) for column in COLUMNS))

    def of(self, *parties: str) -> Amount:
        return sum((getattr(self, party) for party in parties), start=NOTHING)

    def merged(self, one_person: dict[str, str]) -> "Moved":
        """The same where some parties are played by others: what the first have is the second's."""
        changes: dict[str, Amount] = {}
        for party, person in one_person.items():
            changes[person] = changes.get(person, getattr(self, person)) + getattr(self, party)
            changes[party] = NOTHING
        return replace(self, **changes)

    def wei(self, terms: Terms) -> dict[str, int]:
        return {column: getattr(self, column).wei(terms) for column in COLUMNS}


COLUMNS = [field.name for field in fields(Moved)]
PARTIES = COLUMNS[:-1]

_FROM_THE_BOND = Moved(validator=-VALIDATOR_BOND, miner=REWARD, burned=VALIDATOR_BOND - REWARD)
_OUTCOMES = {
    TaskState.OPEN_LAPSED: Moved(),
    TaskState.MINER_LAPSED: Moved(miner=-AVAILABILITY_BOND, burned=AVAILABILITY_BOND),
    TaskState.VALIDATOR_LAPSED: _FROM_THE_BOND,
    TaskState.PAID: Moved(payer=-REWARD - FEE, validator=FEE, miner=REWARD),
    TaskState.REFUNDED: Moved(payer=-FEE, validator=FEE),
    TaskState.SLASHED: Moved(payer=-FEE, validator=FEE, miner=-MINER_BOND, burned=MINER_BOND),
    TaskState.DISPUTED: _FROM_THE_BOND,
}


def moved_by(outcome: TaskState, *, is_answered: bool) -> Moved:
    """The protocol's table "Who gets what" for one task, from before `open_task` to after its end."""
    moved = _OUTCOMES[outcome]
    if is_answered:
        loser = "burned" if moved is _FROM_THE_BOND else "validator"
        moved += Moved(**{"miner": ANSWER_FEE, loser: -ANSWER_FEE})
    return moved
