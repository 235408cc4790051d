"""The rules for one task: the happy path, every pair of the table, late and withheld answers, deadlines, any order."""

from dataclasses import FrozenInstanceError, replace
from typing import get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests import factories as f
from tests.factories import TASK_ID, N
from validator.errors import IllegalEvent
from validator.protocol import effects as todo
from validator.protocol import events as facts
from validator.protocol.machine import NEVER_OPENED, TRANSITIONS, is_moot, step
from validator.protocol.state import Phase, TaskState

PROBES = [todo.SendProbe(TASK_ID, i) for i in range(N)]


def run(*events: facts.Event) -> tuple[TaskState, list[list[todo.Effect]]]:
    """The state after these events, and what each of them asked for."""
    state, asked = None, []
    for event in events:
        state, effects = step(state, event)
        asked.append(effects)
    assert state is not None
    return state, asked


REACHED = {
    Phase.PLANNED: f.HAPPY_PATH[:1],
    Phase.OPEN: f.HAPPY_PATH[:2],
    Phase.ACCEPTED: f.HAPPY_PATH[:4],
    Phase.SUBMITTED: f.HAPPY_PATH[:22],
    Phase.CHALLENGED: f.WITHHELD_PATH[:8],
    Phase.ANSWERED: f.WITHHELD_PATH[:9],
    Phase.JUDGING: f.JUDGED_PATH,
    Phase.SLASH_PENDING: f.WITHHELD_PATH[:11],
    Phase.CLOSED: f.HAPPY_PATH,
}
TIME_PASSED = facts.TimePassed(TASK_ID, f.UnixSeconds(f.OPENED_AT_S + 1))
EVENTS = {
    type(event): event
    for event in (*f.HAPPY_PATH, *f.WITHHELD_PATH, *f.WEIGHTS, f.WEIGHTS_FAULTED, f.OPENING_FAILED, TIME_PASSED)
}
NEXT_PHASE = {
    (Phase.PLANNED, facts.TaskOpened): Phase.OPEN,
    (Phase.OPEN, facts.TaskAccepted): Phase.ACCEPTED,
    (Phase.OPEN, facts.TaskClosed): Phase.CLOSED,
    (Phase.ACCEPTED, facts.ModelSubmitted): Phase.SUBMITTED,
    (Phase.ACCEPTED, facts.TaskClosed): Phase.CLOSED,
    (Phase.SUBMITTED, facts.TaskChallenged): Phase.CHALLENGED,
    (Phase.SUBMITTED, facts.TaskSettled): Phase.SLASH_PENDING,
    (Phase.SUBMITTED, facts.TaskClosed): Phase.CLOSED,
    (Phase.CHALLENGED, facts.ChallengeAnswered): Phase.ANSWERED,
    (Phase.CHALLENGED, facts.TaskClosed): Phase.CLOSED,
    (Phase.ANSWERED, facts.TaskSettled): Phase.SLASH_PENDING,
    (Phase.ANSWERED, facts.TaskClosed): Phase.CLOSED,
    (Phase.JUDGING, facts.TaskClosed): Phase.CLOSED,
    (Phase.SLASH_PENDING, facts.TaskClosed): Phase.CLOSED,
}
"""What the contract may do to a task, with a settlement that slashes (protocol, "States, durations, defaults")."""


def test_happy_path_asks_for_each_step_when_it_is_due():
    state, asked = run(*f.HAPPY_PATH)
    expected = {
        f.PLANNED: [todo.OpenTask(TASK_ID)],
        f.OPENED: [todo.DeliverDataset(TASK_ID)],
        f.SUBMITTED: [todo.LocateModel(TASK_ID)],
        f.LOCATED: PROBES,
        f.ANSWERS[-1]: [todo.RequestTranscript(TASK_ID)],
        f.SIGNED: [todo.WriteBundle(TASK_ID, Phase.SUBMITTED)],
        f.BUNDLED: [todo.Settle(TASK_ID, Phase.SUBMITTED)],
        f.SETTLED: [todo.PublishBundle(TASK_ID)],
    }
    for event, effects in zip(f.HAPPY_PATH, asked, strict=True):
        assert effects == expected.get(event, [])
    assert (state.phase, state.outcome, state.hits) == (Phase.CLOSED, "paid", 15)
    assert [answer.text for answer in state.answers] == [event.text for event in f.ANSWERS]


def test_withheld_path_goes_over_the_chain_and_ends_slashed():
    state, asked = run(*f.WITHHELD_PATH)
    assert asked[6] == [todo.Challenge(TASK_ID)]
    assert asked[8] == [todo.WriteBundle(TASK_ID, Phase.ANSWERED)]
    assert asked[9] == [todo.Settle(TASK_ID, Phase.ANSWERED)]
    assert asked[10] == [todo.PublishBundle(TASK_ID)]
    assert asked[7] == asked[11] == []
    assert (state.outcome, state.hits, state.onchain_replies) == ("slashed", 0, f.REPLIES)
    assert state.reply_hashes(f.digest("salt")) == f.REPLIES


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("kind", get_args(facts.Event))
def test_every_pair_is_either_in_the_table_or_illegal(phase, kind):
    state, _ = run(*REACHED[phase])
    assert state.phase is phase
    copy = replace(state)
    if (phase, kind) in TRANSITIONS:
        after, _ = step(state, EVENTS[kind])
        if issubclass(kind, facts.ChainFact):
            assert after.phase is NEXT_PHASE[phase, kind]
        elif kind is facts.OpeningFailed:
            assert after.phase is Phase.CLOSED
        else:
            assert after.phase is phase
    else:
        with pytest.raises(IllegalEvent, match=kind.__name__):
            step(state, EVENTS[kind])
    assert state == copy


def test_the_chain_can_do_to_a_task_what_the_table_says_and_nothing_else():
    assert {pair for pair in TRANSITIONS if issubclass(pair[1], facts.ChainFact)} == set(NEXT_PHASE)


@pytest.mark.parametrize("kind", get_args(facts.Event)[1:])
def test_a_task_begins_with_its_plan_and_nothing_else(kind):
    with pytest.raises(IllegalEvent, match="never planned"):
        step(None, EVENTS[kind])


def test_states_events_and_effects_cannot_be_changed():
    state, asked = run(*f.HAPPY_PATH[:2])
    for frozen, field in ((state, "phase"), (f.OPENED, "at_s"), (asked[1][0], "task_id")):
        with pytest.raises(FrozenInstanceError):
            setattr(frozen, field, None)


@pytest.mark.parametrize("kind", [facts.DatasetDelivered, facts.ModelLocated, facts.ProbeAnswered, facts.TimePassed])
@pytest.mark.parametrize("phase", [Phase.CHALLENGED, Phase.ANSWERED, Phase.SLASH_PENDING, Phase.CLOSED])
def test_what_comes_late_changes_nothing_and_does_not_stop_the_validator(phase, kind):
    state, _ = run(*REACHED[phase])
    after, effects = step(state, EVENTS[kind])
    assert (replace(after, told_s=state.told_s), effects) == (state, [])


def test_the_miner_may_be_faster_than_its_answer_to_our_request():
    late = [event for event in f.HAPPY_PATH[:5] if event is not f.DELIVERED]
    state, asked = run(*late, f.DELIVERED)
    assert asked[-2:] == [[], [todo.LocateModel(TASK_ID)]]
    assert state.phase is Phase.SUBMITTED


def test_the_first_complete_answer_is_the_answer():
    """V4, P6: neither a second answer nor a second location lets anybody roll again."""
    state, _ = run(*f.HAPPY_PATH[:7])
    again, effects = step(state, replace(f.ANSWERS[0], text="something else"))
    assert (again, effects) == (state, [])
    relocated, effects = step(state, replace(f.LOCATED, model_id="ft:other"))
    assert (relocated, effects) == (state, [])


@pytest.mark.parametrize("ordinal", [-1, N])
def test_an_answer_to_no_probe_is_illegal(ordinal):
    state, _ = run(*f.HAPPY_PATH[:6])
    with pytest.raises(IllegalEvent):
        step(state, replace(f.ANSWERS[0], ordinal=ordinal))


def test_an_answer_before_any_probe_is_illegal():
    """V11."""
    state, _ = run(*f.HAPPY_PATH[:5])
    with pytest.raises(IllegalEvent):
        step(state, f.ANSWERS[0])


def test_a_transcript_over_missing_answers_is_illegal():
    state, _ = run(*f.HAPPY_PATH[:7])
    with pytest.raises(IllegalEvent):
        step(state, f.SIGNED)


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.ACCEPTED])
def test_a_fault_before_the_model_is_recorded_and_moves_nothing(phase):
    state, _ = run(*REACHED[phase])
    after, effects = step(state, f.FAULTED)
    assert (after.phase, after.faults, effects) == (phase, (f.FAULTED.reason,), [])


def test_an_answer_on_chain_is_settled_although_an_earlier_settle_was_overtaken():
    """V8: signature and challenge crossed, the challenge was mined first; without this the validator loses its bond."""
    half_time = facts.TimePassed(TASK_ID, f.UnixSeconds(f.SUBMITTED.at_s + 500))
    crossed = [half_time, f.SIGNED, f.BUNDLED, f.CHALLENGED, f.ANSWERED, f.BUNDLED_ANSWERS]
    state, asked = run(*f.HAPPY_PATH[:22], *crossed)
    assert asked[22] == [todo.Challenge(TASK_ID)]
    assert asked[24] == [todo.Settle(TASK_ID, Phase.SUBMITTED)]
    assert asked[27] == [todo.Settle(TASK_ID, Phase.ANSWERED)]
    assert state.bundle_hash == f.BUNDLED_ANSWERS.bundle_hash


def test_evidence_for_a_settlement_that_was_overtaken_is_not_settled():
    half_time = facts.TimePassed(TASK_ID, f.UnixSeconds(f.SUBMITTED.at_s + 500))
    state, asked = run(*f.HAPPY_PATH[:22], half_time, f.SIGNED, f.CHALLENGED, f.BUNDLED, f.ANSWERED, f.BUNDLED)
    assert asked[25] == asked[27] == []
    assert state.bundle_hash is None


WITH_WEIGHTS = [f.PLANNED_WITH_WEIGHTS, *f.HAPPY_PATH[1:22]]


def test_returned_weights_are_fetched_probed_and_waited_for():
    state, asked = run(*WITH_WEIGHTS, f.SIGNED, *f.WEIGHTS)
    assert asked[4] == [todo.LocateModel(TASK_ID), todo.FetchWeights(TASK_ID)]
    assert asked[22:] == [[], [todo.ProbeWeights(TASK_ID)], [todo.WriteBundle(TASK_ID, Phase.SUBMITTED)]]
    assert state.weights_files == f.WEIGHTS[0].files
    assert [(answer.text, answer.is_cut) for answer in state.weights_answers] == list(f.WEIGHTS[1].replies)


def test_a_miner_that_does_not_deliver_holds_nothing_up():
    """W4: whoever is paid by its replies alone is settled by them; the evidence says what came of the weights."""
    _, asked = run(*WITH_WEIGHTS, f.SIGNED, f.WEIGHTS_FAULTED)
    assert asked[-2:] == [[], [todo.WriteBundle(TASK_ID, Phase.SUBMITTED)]]
    half_time = facts.TimePassed(TASK_ID, f.UnixSeconds(f.SUBMITTED.at_s + 500))
    state, asked = run(*WITH_WEIGHTS, f.SIGNED, half_time, f.BUNDLED, *f.WEIGHTS)
    assert asked[23] == [todo.WriteBundle(TASK_ID, Phase.SUBMITTED)]
    assert asked[-2:] == [[todo.ProbeWeights(TASK_ID)], []]
    assert state.weights_answers


@pytest.mark.parametrize(("differing", "is_contradicted"), [(0, False), (4, False), (5, True), (N, True)])
def test_a_paid_miner_is_contradicted_by_weights_that_answer_otherwise(differing, is_contradicted):
    """W4: up to a quarter may differ, since inference is not the same everywhere; a looked-up transcript shows."""
    fetched, probed = f.WEIGHTS
    replies = tuple(
        (f"other words {i} entirely", cut) if i < differing else (text, cut)
        for i, (text, cut) in enumerate(probed.replies)
    )
    known = [f.SIGNED, fetched, replace(probed, replies=replies), f.BUNDLED, f.SETTLED, f.CLOSED]
    state, _ = run(*WITH_WEIGHTS, *known)
    assert state.is_contradicted == is_contradicted
    late = [f.SIGNED, f.WEIGHTS_FAULTED, f.BUNDLED, f.SETTLED, f.CLOSED, fetched, replace(probed, replies=replies)]
    state, _ = run(*WITH_WEIGHTS, *late)
    assert state.is_contradicted == is_contradicted


def test_judged_weights_go_to_the_committee():
    state, asked = run(*f.JUDGED_PATH)
    assert asked[-1] == [todo.PublishBundle(TASK_ID), todo.Judge(TASK_ID)]
    _, effects = step(state, facts.TimePassed(TASK_ID, f.UnixSeconds(state.deadline_s + 1)))
    assert effects == [todo.Poke(TASK_ID, Phase.JUDGING)]


def test_what_is_known_of_coverage_is_kept_with_the_answers():
    probed = replace(f.WEIGHTS[1], coverage="{}")
    state, _ = run(*WITH_WEIGHTS, f.WEIGHTS[0], probed)
    assert state.coverage == "{}"
    assert state.without_replies().coverage == "{}"


def test_weights_that_come_late_are_judged_when_they_are_there():
    late = [event for event in f.JUDGED_PATH if event not in f.WEIGHTS]
    half_time = facts.TimePassed(TASK_ID, f.UnixSeconds(f.SUBMITTED.at_s + 500))
    late.insert(-2, half_time)
    _, asked = run(*late, *f.WEIGHTS)
    assert asked[-3:] == [[todo.PublishBundle(TASK_ID)], [todo.ProbeWeights(TASK_ID)], [todo.Judge(TASK_ID)]]


def test_a_task_that_could_not_be_opened_is_over():
    state, asked = run(f.PLANNED, f.OPENING_FAILED)
    assert (state.phase, state.outcome, state.faults, asked[-1]) == (
        Phase.CLOSED,
        NEVER_OPENED,
        (f.OPENING_FAILED.reason,),
        [],
    )


MOOT = {
    todo.OpenTask(TASK_ID): set(Phase) - {Phase.PLANNED},
    todo.DeliverDataset(TASK_ID): set(Phase) - {Phase.OPEN, Phase.ACCEPTED, Phase.SUBMITTED},
    **dict.fromkeys(
        (
            todo.LocateModel(TASK_ID),
            todo.SendProbe(TASK_ID, 0),
            todo.RequestTranscript(TASK_ID),
            todo.Challenge(TASK_ID),
            todo.Settle(TASK_ID, Phase.SUBMITTED),
            todo.WriteBundle(TASK_ID, Phase.SUBMITTED),
            todo.Poke(TASK_ID, Phase.SUBMITTED),
        ),
        set(Phase) - {Phase.SUBMITTED},
    ),
    todo.Judge(TASK_ID): set(Phase) - {Phase.JUDGING},
    todo.PublishBundle(TASK_ID): set(),
    todo.FetchWeights(TASK_ID): set(),
    todo.ProbeWeights(TASK_ID): set(),
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("effect", MOOT)
def test_what_can_change_nothing_any_more_is_moot(effect, phase):
    state, _ = run(*REACHED[phase])
    assert is_moot(state, effect) == (phase in MOOT[effect])


def test_every_kind_of_effect_is_needed_somewhere():
    assert {type(effect) for effect in MOOT} == set(get_args(todo.Effect))


def test_weights_of_a_task_that_was_not_paid_are_not_wanted_any_more():
    state, _ = run(*f.WITHHELD_PATH)
    assert is_moot(state, todo.FetchWeights(TASK_ID))


DEADLINES = {
    Phase.OPEN: f.OPENED.at_s + 3600,
    Phase.ACCEPTED: f.ACCEPTED.at_s + 7 * 86_400,
    Phase.CHALLENGED: f.CHALLENGED.at_s + 3600,
    Phase.ANSWERED: f.ANSWERED.at_s + 3600,
    Phase.SLASH_PENDING: f.SLASH_PENDING.at_s + 50,
}


@pytest.mark.parametrize("phase", DEADLINES)
@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_poke_is_due_one_second_after_the_deadline(phase, seconds):
    """C9: actions need timestamp <= deadline, the poke needs more."""
    state, _ = run(*REACHED[phase])
    assert state.deadline_s == DEADLINES[phase]
    assert state.wake_at_s == DEADLINES[phase] + 1
    after, effects = step(state, facts.TimePassed(TASK_ID, DEADLINES[phase] + seconds))
    assert replace(after, told_s=None) == state
    assert effects == ([todo.Poke(TASK_ID, phase)] if seconds == 1 else [])


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_transcript_that_is_withheld_is_challenged_at_half_time(seconds):
    """W2, V5."""
    state, _ = run(*f.HAPPY_PATH[:22])
    half_time_s = f.SUBMITTED.at_s + 500
    assert state.is_probed
    assert state.wake_at_s == half_time_s
    after, effects = step(state, facts.TimePassed(TASK_ID, half_time_s + seconds))
    assert replace(after, told_s=None) == state
    assert effects == ([todo.Challenge(TASK_ID)] if seconds >= 0 else [])
    # And if the challenge is never mined either, the deadline is not forgotten.
    assert after.wake_at_s == (f.SUBMITTED.at_s + 1_001 if seconds >= 0 else half_time_s)


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_settlement_that_never_comes_is_poked(seconds):
    state, _ = run(*f.HAPPY_PATH[:24])
    deadline_s = f.SUBMITTED.at_s + 1_000
    assert state.wake_at_s == deadline_s + 1
    _, effects = step(state, facts.TimePassed(TASK_ID, f.UnixSeconds(deadline_s + seconds)))
    assert effects == ([todo.Poke(TASK_ID, Phase.SUBMITTED)] if seconds == 1 else [])


@pytest.mark.parametrize("phase", [Phase.PLANNED, Phase.CLOSED])
def test_where_nobody_must_act_there_is_no_deadline(phase):
    state, _ = run(*REACHED[phase])
    assert (state.deadline_s, state.wake_at_s) == (None, None)


def test_a_cut_word_is_a_miss_and_a_short_answer_is_not():
    state, _ = run(*f.HAPPY_PATH[:6])
    for ordinal, (text, is_cut) in enumerate([("a b c d", True), ("a b c", False), ("a b c d", False)]):
        state, _ = step(state, facts.ProbeAnswered(TASK_ID, ordinal, text, is_cut))
    cut, short, whole = state.reply_hashes(f.digest("salt"))
    assert cut == bytes(32)
    assert len({cut, short, whole}) == 3


class AnyOrder(RuleBasedStateMachine):
    """A task in a world where results of effects come late, twice or as faults, and the chain says anything."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, todo.Effect] = {}
        self.settle_phases: list[Phase] = []
        self.now_s = f.OPENED_AT_S
        self.state, effects = step(None, f.PLANNED)
        self.keep(effects)

    def keep(self, effects: list[todo.Effect]) -> None:
        for effect in effects:
            assert self.asked.setdefault(effect.key, effect) == effect
            assert effect.task_id == TASK_ID
            if isinstance(effect, todo.Settle):
                self.settle_phases.append(self.state.phase)

    def tell(self, event: facts.Event) -> None:
        before = self.state
        self.state, effects = step(before, event)
        assert before.phase is not Phase.CLOSED or (replace(self.state, told_s=before.told_s) == before and not effects)
        for old, new in zip(before.answers, self.state.answers, strict=False):
            assert old in (None, new)
        assert before.model_id in (None, self.state.model_id)
        assert before.faults == self.state.faults[: len(before.faults)]
        self.keep(effects)

    @rule(event=st.sampled_from([event for event in EVENTS.values() if isinstance(event, facts.ChainFact)]))
    def happen_on_chain(self, event):
        before = self.state
        try:
            self.tell(replace(event, at_s=f.UnixSeconds(self.now_s)))
        except IllegalEvent:
            assert self.state is before
            assert (before.phase, type(event)) not in NEXT_PHASE
        else:
            assert self.state.phase is NEXT_PHASE[before.phase, type(event)]

    @rule(event=st.sampled_from([event for event in EVENTS.values() if isinstance(event, facts.ChainFact)]))
    def happen_on_chain_if_it_can(self, event):
        if (self.state.phase, type(event)) in NEXT_PHASE:
            self.happen_on_chain(event)

    @rule(data=st.data(), is_fault=st.booleans(), text=st.sampled_from(["", "a", "a b c d e"]))
    def carry_out_once_more(self, data, is_fault, text):
        effect = self.asked[data.draw(st.sampled_from(sorted(self.asked)))]
        results = {
            todo.DeliverDataset: f.DELIVERED,
            todo.LocateModel: f.LOCATED,
            todo.SendProbe: facts.ProbeAnswered(TASK_ID, getattr(effect, "ordinal", 0), text, is_fault),
            todo.RequestTranscript: f.SIGNED,
            todo.WriteBundle: facts.BundleWritten(TASK_ID, getattr(effect, "phase", ""), f.digest("bundle")),
        }
        if type(effect) in results:
            self.tell(
                f.FAULTED
                if is_fault and not isinstance(effect, todo.SendProbe | todo.WriteBundle)
                else results[type(effect)]
            )

    @precondition(lambda self: self.state.phase is Phase.SUBMITTED and self.state.answers)
    @rule(missing=st.booleans())
    def answer_every_probe(self, missing):
        for event in f.ANSWERS[1:] if missing else f.ANSWERS:
            self.tell(event)

    @precondition(lambda self: self.state.phase is not Phase.PLANNED)
    @rule(seconds=st.sampled_from([1, 500, 3_600]))
    def let_time_pass(self, seconds):
        self.now_s += seconds
        self.tell(facts.TimePassed(TASK_ID, f.UnixSeconds(self.now_s)))

    @rule()
    def plan_again(self):
        with pytest.raises(IllegalEvent):
            step(self.state, f.PLANNED)

    @invariant()
    def the_dataset_leaves_only_after_open_task_is_final(self):
        assert self.state.phase is not Phase.PLANNED or set(self.asked) == {todo.OpenTask(TASK_ID).key}

    @invariant()
    def probes_are_asked_only_of_a_submitted_and_located_model(self):
        if any(isinstance(effect, todo.SendProbe) for effect in self.asked.values()):
            assert self.state.model_hash == f.MODEL_HASH
            assert self.state.model_id is not None

    @invariant()
    def one_settle_for_each_way_of_answering_and_only_with_its_evidence(self):
        assert len({effect.key for effect in self.asked.values() if isinstance(effect, todo.Settle)}) <= 2
        for phase in self.settle_phases:
            if phase is Phase.SUBMITTED:
                assert self.state.is_probed
                assert self.state.signature
            else:
                assert phase is Phase.ANSWERED
                assert self.state.onchain_replies

    @invariant()
    def nobody_is_poked_twice_in_one_phase(self):
        pokes = [effect.phase for effect in self.asked.values() if isinstance(effect, todo.Poke)]
        assert len(pokes) == len(set(pokes))


TestAnyOrder = AnyOrder.TestCase
