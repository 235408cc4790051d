"""Whether an event of the chain can come next for a task, has come already, or shows that one before it was lost (C12).

The contract's states follow one another, so a task that is known to be in one of them has seen all events that lead to
it.
"""

from typing import Any

from validator.edges.contract import TaskStatus
from validator.protocol.events import (
    ChallengeAnswered,
    Event,
    ModelSubmitted,
    TaskAccepted,
    TaskChallenged,
    TaskClosed,
    TaskOpened,
    TaskSettled,
)
from validator.protocol.machine import TRANSITIONS
from validator.protocol.state import Phase, TaskState

_ORDER = list(Phase)
_LEADS_TO: dict[type[Any], Phase] = {
    TaskOpened: Phase.OPEN,
    TaskAccepted: Phase.ACCEPTED,
    ModelSubmitted: Phase.SUBMITTED,
    TaskChallenged: Phase.CHALLENGED,
    ChallengeAnswered: Phase.ANSWERED,
    TaskSettled: Phase.JUDGING,
    TaskClosed: Phase.CLOSED,
}
_LAPSES_FROM = {
    "open_lapsed": {Phase.OPEN},
    "miner_lapsed": {Phase.ACCEPTED, Phase.CHALLENGED},
    "validator_lapsed": {Phase.SUBMITTED, Phase.ANSWERED},
}
"""Where the deadline is that an outcome comes of; the other outcomes come after a settlement."""


def is_behind(state: TaskState, fact: Event) -> bool:
    """It has come already."""
    if isinstance(fact, TaskSettled) and state.hits is not None:
        return True
    return _ORDER.index(state.phase) >= _ORDER.index(_LEADS_TO[type(fact)])


def is_due(state: TaskState, fact: Event) -> bool:
    """It is the next that can come, and everything before it has.

    A challenge that was lost does not show in the settlement after it; it shows in the contract's storage before.
    """
    if isinstance(fact, TaskClosed):
        phases = _LAPSES_FROM.get(fact.outcome)
        return state.phase is not Phase.CLOSED and (state.hits is not None if phases is None else state.phase in phases)
    return not is_behind(state, fact) and (state.phase, type(fact)) in TRANSITIONS


def is_up_to_date(state: TaskState, status: TaskStatus) -> bool:
    """Whether the contract's storage, read where all events have been handed over, says no more than they did."""
    if state.phase is Phase.PLANNED:
        return status is TaskStatus.NONE
    return state.phase is Phase.CLOSED or status is TaskStatus.__members__[state.phase.name]
