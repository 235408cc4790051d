"""Did everything happen in its order and in its time (protocol, "States, durations, defaults")?"""

from collections.abc import Callable
from dataclasses import dataclass

from validator.audit.docket import Docket
from validator.audit.findings import Party, Proof
from validator.audit.history import Dated, TaskHistory, recount
from validator.edges.contract import (
    Answered,
    Challenged,
    ContractEvent,
    Disputed,
    Judged,
    ModelSubmitted,
    OrderConsumed,
    TaskAccepted,
    TaskClosed,
    TaskOpened,
    TaskSettled,
    TaskStatus,
)
from validator.protocol.commitment import Terms
from validator.protocol.state import Weights
from validator.protocol.verdict import Thresholds, Zone
from validator.types import Address, Hash32

DEFAULTS = {
    TaskStatus.OPEN: TaskStatus.OPEN_LAPSED,
    TaskStatus.ACCEPTED: TaskStatus.MINER_LAPSED,
    TaskStatus.SUBMITTED: TaskStatus.VALIDATOR_LAPSED,
    TaskStatus.CHALLENGED: TaskStatus.MINER_LAPSED,
    TaskStatus.ANSWERED: TaskStatus.VALIDATOR_LAPSED,
    TaskStatus.JUDGING: TaskStatus.REFUNDED,
    TaskStatus.SLASH_PENDING: TaskStatus.SLASHED,
}
"""What a state ends in once its deadline has passed."""

_LEGAL_IN: dict[type[ContractEvent], tuple[TaskStatus, ...]] = {
    TaskOpened: (TaskStatus.NONE,),
    TaskAccepted: (TaskStatus.OPEN,),
    ModelSubmitted: (TaskStatus.ACCEPTED,),
    Challenged: (TaskStatus.SUBMITTED,),
    Answered: (TaskStatus.CHALLENGED,),
    TaskSettled: (TaskStatus.SUBMITTED, TaskStatus.ANSWERED),
    Judged: (TaskStatus.JUDGING,),
    Disputed: (TaskStatus.SLASH_PENDING,),
    TaskClosed: tuple(DEFAULTS),
}

_DURATION_OF: dict[TaskStatus, Callable[[Terms], int]] = {
    TaskStatus.OPEN: lambda terms: terms.accept_seconds,
    TaskStatus.ACCEPTED: lambda terms: terms.train_seconds,
    TaskStatus.SUBMITTED: lambda terms: terms.submitted_seconds,
    TaskStatus.CHALLENGED: lambda terms: terms.challenged_seconds,
    TaskStatus.ANSWERED: lambda terms: terms.answered_seconds,
    TaskStatus.JUDGING: lambda terms: terms.judging_seconds,
    TaskStatus.SLASH_PENDING: lambda terms: terms.dispute_seconds,
}

_ENTERS: dict[type[ContractEvent], TaskStatus] = {
    TaskOpened: TaskStatus.OPEN,
    TaskAccepted: TaskStatus.ACCEPTED,
    ModelSubmitted: TaskStatus.SUBMITTED,
    Challenged: TaskStatus.CHALLENGED,
    Answered: TaskStatus.ANSWERED,
}


def actor_of(event: ContractEvent, terms: Terms | None) -> tuple[Party, Address | None]:
    """Who caused an event of a task; anybody can end one, so that is the contract's own doing."""
    if isinstance(event, TaskAccepted | ModelSubmitted | Answered):
        return Party.MINER, terms.miner if terms else None
    if isinstance(event, Judged):
        return Party.COMMITTEE, event.signer
    if isinstance(event, TaskClosed | Disputed):
        return Party.CONTRACT, None
    return Party.VALIDATOR, terms.validator if terms else None


def zone_of(terms: Terms, hits: int) -> Zone:
    """By the terms' two thresholds, whatever these are."""
    return Thresholds(max(terms.n, hits), terms.k_pay, terms.k_slash, terms.slashing).zone(hits)


def state_of(history: TaskHistory) -> TaskStatus:
    """The outcome, or the state in which a task that is running is now."""
    course = _Course()
    for dated in history.events:
        course.enter(dated, history)
    return course.state


@dataclass
class _Course:
    """Where a task is. `ending` is the outcome that the last transaction has to bring with it."""

    state: TaskStatus = TaskStatus.NONE
    deadline_s: int | None = None
    ending: TaskStatus | None = None
    last_tx: Hash32 | None = None

    def find_problem(self, dated: Dated) -> str | None:
        """Why this cannot come next."""
        event, tx_hash = dated.event, dated.event.log.tx_hash
        name = type(event).__name__
        if isinstance(event, OrderConsumed):
            is_next = self.state is TaskStatus.OPEN and tx_hash == self.last_tx
            return None if is_next else "an Order is consumed outside of the opening"
        if self.state not in _LEGAL_IN.get(type(event), ()):
            return f"{name} came while the task was {describe(self.state)}"
        if self.ending is not None and not (tx_hash == self.last_tx and isinstance(event, TaskClosed | Judged)):
            return f"{name} came where the task had to end as {describe(self.ending)}"
        if isinstance(event, TaskClosed):
            return self._problem_of_end(event, dated.at_s)
        if self.deadline_s is not None and dated.at_s > self.deadline_s:
            return f"{name} came {dated.at_s - self.deadline_s} s after the deadline"
        return None

    def _problem_of_end(self, event: TaskClosed, at_s: int) -> str | None:
        expected = self.ending or DEFAULTS[self.state]
        if event.outcome is not expected:
            return f"the task ended as {describe(event.outcome)} where it had to be {describe(expected)}"
        if self.ending is None and self.deadline_s is not None and at_s <= self.deadline_s:
            return f"the task was ended {self.deadline_s - at_s + 1} s before its deadline had passed"
        return None

    def enter(self, dated: Dated, history: TaskHistory) -> None:
        event = dated.event
        self.last_tx = event.log.tx_hash
        if isinstance(event, TaskClosed):
            self.state, self.deadline_s, self.ending = event.outcome, None, None
        elif isinstance(event, Judged):
            self.ending = TaskStatus.PAID
        elif isinstance(event, Disputed):
            self.ending = TaskStatus.DISPUTED
        elif history.opened is not None and isinstance(event, TaskSettled):
            self._settle(event, history.terms, dated.at_s)
        elif history.opened is not None and type(event) in _ENTERS:
            self._go(_ENTERS[type(event)], history.terms, dated.at_s)

    def _settle(self, event: TaskSettled, terms: Terms, at_s: int) -> None:
        zone = zone_of(terms, recount(event))
        if zone is Zone.PAID and terms.weights == Weights.JUDGED:
            self._go(TaskStatus.JUDGING, terms, at_s)
        elif zone is Zone.SLASHED:
            self._go(TaskStatus.SLASH_PENDING, terms, at_s)
        else:
            self.ending = TaskStatus.PAID if zone is Zone.PAID else TaskStatus.REFUNDED

    def _go(self, state: TaskStatus, terms: Terms, at_s: int) -> None:
        self.state, self.deadline_s = state, at_s + _DURATION_OF[state](terms)


def check_course(docket: Docket, history: TaskHistory) -> None:
    course = _Course()
    terms = history.opened.terms if history.opened else None
    for dated in history.events:
        problem = course.find_problem(dated)
        if problem is not None:
            proof = Proof.of_log(type(dated.event).__name__, dated.event.log)
            docket.contradict(*actor_of(dated.event, terms), "order", problem, proof)
        course.enter(dated, history)
    if course.ending is not None:
        last = history.events[-1].event
        proof = Proof.of_log(type(last).__name__, last.log)
        docket.contradict(
            Party.CONTRACT, None, "order", f"the task had to end as {describe(course.ending)}, and did not", proof
        )


def describe(state: TaskStatus) -> str:
    """As in a report: "slash pending"."""
    return state.name.lower().replace("_", " ")
