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
    FetchWeights,
    Judge,
    LocateModel,
    OpenTask,
    Poke,
    ProbeWeights,
    PublishBundle,
    RequestTranscript,
    SendProbe,
    Settle,
    WriteBundle,
)
from validator.protocol.events import (
    BundleWritten,
    ChainFact,
    ChallengeAnswered,
    DatasetDelivered,
    Event,
    MinerFaulted,
    ModelLocated,
    ModelSubmitted,
    OpeningFailed,
    ProbeAnswered,
    TaskAccepted,
    TaskChallenged,
    TaskClosed,
    TaskOpened,
    TaskPlanned,
    TaskSettled,
    TimePassed,
    TranscriptSigned,
    WeightsFaulted,
    WeightsFetched,
    WeightsProbed,
)
from validator.protocol.state import Answer, Phase, TaskState, Weights

Step: TypeAlias = tuple[TaskState, list[Effect]]

PAID = "paid"
NEVER_OPENED = "not opened"
"""The outcome of a task that the chain has never seen."""


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


def _opening_failed(state: TaskState, event: OpeningFailed) -> Step:
    return replace(state, phase=Phase.CLOSED, outcome=NEVER_OPENED, faults=(*state.faults, event.reason)), []


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
    effects: list[Effect] = [LocateModel(state.task_id)] if state.job_id else []
    if state.terms.weights != Weights.NONE:
        effects.append(FetchWeights(state.task_id))
    return state, effects


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
    state = replace(state, signature=event.signature)
    return state, [] if state.is_waiting_for_weights else [WriteBundle(state.task_id, state.phase)]


def _weights_fetched(state: TaskState, event: WeightsFetched) -> Step:
    return replace(state, weights_files=event.files), [ProbeWeights(state.task_id)]


def _weights_probed(state: TaskState, event: WeightsProbed) -> Step:
    answers = tuple(Answer(*reply) for reply in event.replies)
    return _weights_known(replace(state, weights_answers=answers, coverage=event.coverage))


def _weights_faulted(state: TaskState, event: WeightsFaulted) -> Step:
    return _weights_known(replace(state, weights_fault=event.reason))


def _weights_known(state: TaskState) -> Step:
    """What waited for the weights goes on."""
    state = _compare(state)
    if state.phase is Phase.SUBMITTED and state.signature is not None and state.bundle_hash is None:
        return state, [WriteBundle(state.task_id, state.phase)]
    if state.phase is Phase.JUDGING and state.weights_answers:
        return state, [Judge(state.task_id)]
    return state, []


def _bundle_written(state: TaskState, event: BundleWritten) -> Step:
    if event.phase != state.phase:
        return state, []  # A challenge has crossed this settlement.
    return replace(state, bundle_hash=event.bundle_hash), [Settle(state.task_id, state.phase)]


def _faulted(state: TaskState, event: MinerFaulted) -> Step:
    return replace(state, faults=(*state.faults, event.reason)), []


def _faulted_while_probed(state: TaskState, event: MinerFaulted) -> Step:
    """A miner that refuses a probe or its signature must answer on chain."""
    return replace(state, faults=(*state.faults, event.reason)), [Challenge(state.task_id)]


def _challenged(state: TaskState, event: TaskChallenged) -> Step:
    return _enter(state, Phase.CHALLENGED, event), []


def _answered_on_chain(state: TaskState, event: ChallengeAnswered) -> Step:
    state = replace(_enter(state, Phase.ANSWERED, event), onchain_replies=event.reply_hashes, bundle_hash=None)
    return state, [WriteBundle(state.task_id, state.phase)]


def _settled(state: TaskState, event: TaskSettled) -> Step:
    state = replace(state, hits=event.hits)
    effects: list[Effect] = [PublishBundle(state.task_id)] if state.bundle_hash is not None else []
    if not event.is_slash_pending:
        return state, effects
    if state.terms.weights == Weights.JUDGED and event.hits >= state.terms.k_pay:
        state = _enter(state, Phase.JUDGING, event)
        return state, [*effects, Judge(state.task_id)] if state.weights_answers else effects
    return _enter(state, Phase.SLASH_PENDING, event), effects


def _closed(state: TaskState, event: TaskClosed) -> Step:
    return _compare(replace(_enter(state, Phase.CLOSED, event), outcome=event.outcome)), []


def _compare(state: TaskState) -> TaskState:
    """Whether the weights of a miner whose replies are paid for answer too few probes as it signed them.

    Inference is not the same to the last token everywhere; an honest miner's differs in some heads, not in a quarter.
    """
    is_known = state.hits is not None and state.hits >= state.terms.k_pay and state.weights_answers and state.is_probed
    return replace(state, is_contradicted=bool(is_known) and state.same_heads < state.terms.k_pay)


def _time_passed(state: TaskState, event: TimePassed) -> Step:
    state = replace(state, told_s=event.now_s)
    if state.deadline_s is None or event.now_s <= state.deadline_s:
        return state, []
    return state, [Poke(state.task_id, state.phase)]


def _time_passed_while_probing(state: TaskState, event: TimePassed) -> Step:
    """At half time the miner must answer on chain if it has not signed, and weights are waited for no more."""
    state, effects = _time_passed(state, event)
    if effects or state.half_time_s is None or event.now_s < state.half_time_s:
        return state, effects
    if state.signature is None:
        return state, [Challenge(state.task_id)]
    return state, [WriteBundle(state.task_id, state.phase)] if state.bundle_hash is None else []


def _too_late(state: TaskState, _event: Event) -> Step:
    """An answer over HTTP, or a wish to be told the time, that the chain has overtaken."""
    return state, []


Handler: TypeAlias = Callable[[TaskState, Any], Step]

TRANSITIONS: dict[tuple[Phase, type[Any]], Handler] = {
    (Phase.PLANNED, TaskOpened): _opened,
    (Phase.PLANNED, OpeningFailed): _opening_failed,
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
    (Phase.SUBMITTED, BundleWritten): _bundle_written,
    (Phase.SUBMITTED, MinerFaulted): _faulted_while_probed,
    (Phase.SUBMITTED, TaskChallenged): _challenged,
    (Phase.SUBMITTED, TaskSettled): _settled,
    (Phase.SUBMITTED, TimePassed): _time_passed_while_probing,
    (Phase.SUBMITTED, TaskClosed): _closed,
    (Phase.CHALLENGED, ChallengeAnswered): _answered_on_chain,
    (Phase.CHALLENGED, TimePassed): _time_passed,
    (Phase.CHALLENGED, TaskClosed): _closed,
    (Phase.ANSWERED, BundleWritten): _bundle_written,
    (Phase.ANSWERED, TaskSettled): _settled,
    (Phase.ANSWERED, TimePassed): _time_passed,
    (Phase.ANSWERED, TaskClosed): _closed,
    (Phase.JUDGING, TimePassed): _time_passed,
    (Phase.JUDGING, TaskClosed): _closed,
    (Phase.SLASH_PENDING, TimePassed): _time_passed,
    (Phase.SLASH_PENDING, TaskClosed): _closed,
    (Phase.CLOSED, TimePassed): _too_late,
}
LATE = (Phase.CHALLENGED, Phase.ANSWERED, Phase.JUDGING, Phase.SLASH_PENDING, Phase.CLOSED)
TRANSITIONS |= {
    (phase, event): _too_late
    for phase in LATE
    for event in (DatasetDelivered, ModelLocated, ProbeAnswered, TranscriptSigned, MinerFaulted, BundleWritten)
    if (phase, event) not in TRANSITIONS
}
TRANSITIONS |= {
    (phase, event): handler
    for phase in (Phase.SUBMITTED, *LATE)
    for event, handler in (
        (WeightsFetched, _weights_fetched),
        (WeightsProbed, _weights_probed),
        (WeightsFaulted, _weights_faulted),
    )
}

_WIRE = {Phase.OPEN, Phase.ACCEPTED, Phase.SUBMITTED}
_NEEDED_IN: dict[type[Any], set[Phase]] = {
    OpenTask: {Phase.PLANNED},
    DeliverDataset: _WIRE,
    LocateModel: {Phase.SUBMITTED},
    SendProbe: {Phase.SUBMITTED},
    RequestTranscript: {Phase.SUBMITTED},
    Challenge: {Phase.SUBMITTED},
    Judge: {Phase.JUDGING},
    PublishBundle: set(Phase),
}


def is_moot(state: TaskState, effect: Effect) -> bool:
    """Nothing that could come of the effect would change anything any more, so that it need not be tried again.

    Weights are still wanted after the end where the customer has paid for them.
    """
    if isinstance(effect, WriteBundle | Settle | Poke):
        return state.phase != effect.phase
    if isinstance(effect, FetchWeights | ProbeWeights):
        return state.phase is Phase.CLOSED and state.outcome != PAID
    return state.phase not in _NEEDED_IN[type(effect)]
