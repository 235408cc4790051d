"""The validator's rules for one task: `step(state, event) -> (state, effects)`. Read this file first.

Legality is a table, work is a function: TRANSITIONS names, for every phase and every kind of event, what happens; a
pair that it does not list raises IllegalEvent and changes nothing. The phases mirror the contract's states. Nothing
here does I/O, reads a clock or rolls dice: time is an event, secrets stay outside.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from validator.errors import IllegalEvent
from validator.protocol.effects import (
    Challenge,
    DeliverDataset,
    Effect,
    LocateModel,
    OpenTask,
    Poke,
    RequestTranscript,
    SendProbe,
    Settle,
)
from validator.protocol.events import (
    ChainFact,
    ChallengeAnswered,
    DatasetDelivered,
    Event,
    MinerFaulted,
    ModelLocated,
    ModelSubmitted,
    ProbeAnswered,
    TaskAccepted,
    TaskChallenged,
    TaskClosed,
    TaskOpened,
    TaskPlanned,
    TaskSettled,
    TimePassed,
    TranscriptSigned,
)
from validator.protocol.state import Answer, Phase, TaskState

Step: TypeAlias = tuple[TaskState, list[Effect]]


def step(state: TaskState | None, event: Event) -> Step:
    """The only way a task begins and changes; IllegalEvent where the table has no entry.

    A task that is not known yet (None) begins with TaskPlanned and nothing else.
    """
    if state is None:
        if not isinstance(event, TaskPlanned):
            raise IllegalEvent(f"{type(event).__name__} for a task that was never planned")
        return TaskState(event), [OpenTask(event.task_id)]
    handler = TRANSITIONS.get((state.phase, type(event)))
    if handler is None:
        raise IllegalEvent(f"{type(event).__name__} cannot happen while a task is {state.phase}")
    return handler(state, event)


def _enter(state: TaskState, phase: Phase, event: ChainFact) -> TaskState:
    return replace(state, phase=phase, entered_at_s=event.at_s)


def _opened(state: TaskState, event: TaskOpened) -> Step:
    return _enter(state, Phase.OPEN, event), [DeliverDataset(state.task_id)]


def _delivered(state: TaskState, event: DatasetDelivered) -> Step:
    return replace(state, job_id=event.job_id), []


def _delivered_late(state: TaskState, event: DatasetDelivered) -> Step:
    """The miner was faster than its answer to our request."""
    return replace(state, job_id=event.job_id), [LocateModel(state.task_id)]


def _accepted(state: TaskState, event: TaskAccepted) -> Step:
    return _enter(state, Phase.ACCEPTED, event), []


def _submitted(state: TaskState, event: ModelSubmitted) -> Step:
    state = replace(_enter(state, Phase.SUBMITTED, event), model_hash=event.model_hash)
    return state, [LocateModel(state.task_id)] if state.job_id else []


def _located(state: TaskState, event: ModelLocated) -> Step:
    if state.model_id is not None:
        return state, []  # Asked twice: the answers so far stand.
    count = state.terms.n
    effects: list[Effect] = [SendProbe(state.task_id, ordinal) for ordinal in range(count)]
    return replace(state, model_id=event.model_id, answers=(None,) * count), effects


def _probe_answered(state: TaskState, event: ProbeAnswered) -> Step:
    if not 0 <= event.ordinal < len(state.answers):
        raise IllegalEvent(f"an answer to probe {event.ordinal}, which was never sent")
    if state.answers[event.ordinal] is not None:
        return state, []  # The first complete answer is the answer.
    answers = list(state.answers)
    answers[event.ordinal] = Answer(event.text, event.is_cut)
    state = replace(state, answers=tuple(answers))
    return state, [RequestTranscript(state.task_id)] if state.is_probed else []


def _signed(state: TaskState, event: TranscriptSigned) -> Step:
    if not state.is_probed:
        raise IllegalEvent("a transcript over answers that are missing")
    return replace(state, signature=event.signature), [Settle(state.task_id, state.phase)]


def _faulted(state: TaskState, event: MinerFaulted) -> Step:
    return replace(state, faults=(*state.faults, event.reason)), []


def _faulted_while_probed(state: TaskState, event: MinerFaulted) -> Step:
    """A miner that refuses a probe or its signature must answer on chain."""
    return replace(state, faults=(*state.faults, event.reason)), [Challenge(state.task_id)]


def _challenged(state: TaskState, event: TaskChallenged) -> Step:
    return _enter(state, Phase.CHALLENGED, event), []


def _answered_on_chain(state: TaskState, event: ChallengeAnswered) -> Step:
    state = replace(_enter(state, Phase.ANSWERED, event), onchain_replies=event.reply_hashes)
    return state, [Settle(state.task_id, state.phase)]


def _settled(state: TaskState, event: TaskSettled) -> Step:
    state = replace(state, hits=event.hits)
    return (_enter(state, Phase.SLASH_PENDING, event) if event.is_slash_pending else state), []


def _closed(state: TaskState, event: TaskClosed) -> Step:
    return replace(_enter(state, Phase.CLOSED, event), outcome=event.outcome), []


def _time_passed(state: TaskState, event: TimePassed) -> Step:
    if state.deadline_s is None or event.now_s <= state.deadline_s:
        return state, []
    return state, [Poke(state.task_id, state.phase)]


def _time_passed_while_probing(state: TaskState, event: TimePassed) -> Step:
    """Half of our own time is gone without a transcript: leave the miner time to answer on chain."""
    if state.wake_at_s is None or event.now_s < state.wake_at_s:
        return state, []
    return state, [Challenge(state.task_id)] if state.signature is None else [Poke(state.task_id, state.phase)]


def _too_late(state: TaskState, _event: Event) -> Step:
    """An answer over HTTP, or a wish to be told the time, that the chain has overtaken."""
    return state, []


Handler: TypeAlias = Callable[[TaskState, Any], Step]

TRANSITIONS: dict[tuple[Phase, type[Any]], Handler] = {
    (Phase.PLANNED, TaskOpened): _opened,
    (Phase.OPEN, DatasetDelivered): _delivered,
    (Phase.OPEN, TaskAccepted): _accepted,
    (Phase.OPEN, MinerFaulted): _faulted,
    (Phase.OPEN, TimePassed): _time_passed,
    (Phase.OPEN, TaskClosed): _closed,
    (Phase.ACCEPTED, DatasetDelivered): _delivered,
    (Phase.ACCEPTED, ModelSubmitted): _submitted,
    (Phase.ACCEPTED, MinerFaulted): _faulted,
    (Phase.ACCEPTED, TimePassed): _time_passed,
    (Phase.ACCEPTED, TaskClosed): _closed,
    (Phase.SUBMITTED, DatasetDelivered): _delivered_late,
    (Phase.SUBMITTED, ModelLocated): _located,
    (Phase.SUBMITTED, ProbeAnswered): _probe_answered,
    (Phase.SUBMITTED, TranscriptSigned): _signed,
    (Phase.SUBMITTED, MinerFaulted): _faulted_while_probed,
    (Phase.SUBMITTED, TaskChallenged): _challenged,
    (Phase.SUBMITTED, TaskSettled): _settled,
    (Phase.SUBMITTED, TimePassed): _time_passed_while_probing,
    (Phase.SUBMITTED, TaskClosed): _closed,
    (Phase.CHALLENGED, ChallengeAnswered): _answered_on_chain,
    (Phase.CHALLENGED, TimePassed): _time_passed,
    (Phase.CHALLENGED, TaskClosed): _closed,
    (Phase.ANSWERED, TaskSettled): _settled,
    (Phase.ANSWERED, TimePassed): _time_passed,
    (Phase.ANSWERED, TaskClosed): _closed,
    (Phase.SLASH_PENDING, TimePassed): _time_passed,
    (Phase.SLASH_PENDING, TaskClosed): _closed,
    (Phase.CLOSED, TimePassed): _too_late,
}
TRANSITIONS |= {
    (phase, event): _too_late
    for phase in (Phase.CHALLENGED, Phase.ANSWERED, Phase.SLASH_PENDING, Phase.CLOSED)
    for event in (DatasetDelivered, ModelLocated, ProbeAnswered, TranscriptSigned, MinerFaulted)
}
