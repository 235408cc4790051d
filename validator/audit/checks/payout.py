"""Who gets what, to the wei (protocol, the outcome table under "States, durations, defaults")."""

from dataclasses import dataclass

from validator.audit.checks.course import describe
from validator.audit.docket import Docket
from validator.audit.findings import Party, Proof
from validator.audit.history import TaskHistory
from validator.edges.contract import Answered, TaskStatus
from validator.protocol.commitment import Terms


@dataclass(frozen=True, slots=True)
class Split:
    """What a task's escrow and bonds become when it closes, in wei. `stake_burned` is the miner's part of `burned`."""

    to_payer: int
    to_validator: int
    to_miner: int
    burned: int
    stake_burned: int = 0


def split_of(terms: Terms, outcome: TaskStatus, *, is_answered: bool) -> Split:
    """One row of the outcome table; an answer on chain has taken its fee out of the validator's bond before."""
    bond = terms.validator_bond - (terms.answer_fee if is_answered else 0)
    if outcome is TaskStatus.PAID:
        return Split(0, bond + terms.fee, terms.reward, 0)
    if outcome is TaskStatus.REFUNDED:
        return Split(terms.reward, bond + terms.fee, 0, 0)
    if outcome is TaskStatus.SLASHED:
        return Split(terms.reward, bond + terms.fee, 0, terms.miner_bond, terms.miner_bond)
    if outcome is TaskStatus.OPEN_LAPSED:
        return Split(terms.reward + terms.fee, bond, 0, 0)
    if outcome is TaskStatus.MINER_LAPSED:
        return Split(terms.reward + terms.fee, bond, 0, terms.availability_bond, terms.availability_bond)
    return Split(terms.reward + terms.fee, 0, terms.reward, bond - terms.reward)


def check_payout(docket: Docket, history: TaskHistory) -> None:
    closed = history.closed
    if closed is None or not closed.outcome.is_terminal:
        return
    expected = split_of(history.terms, closed.outcome, is_answered=history.find(Answered) is not None)
    for name in ("to_payer", "to_validator", "to_miner", "burned"):
        paid, due = getattr(closed, name), getattr(expected, name)
        if paid != due:
            amount = f"{paid - due} wei too much" if paid > due else f"{due - paid} wei too little"
            message = f"{name} is {paid} wei, {amount} for a task that ended as {describe(closed.outcome)}"
            docket.contradict(Party.CONTRACT, None, "payout", message, Proof.of_log("TaskClosed", closed.log))
