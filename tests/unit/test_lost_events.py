"""What comes next for a task, what has come, and what shows that something is missing (C12)."""

from dataclasses import replace

import pytest

from tests import factories as f
from validator.edges.contract import TaskStatus
from validator.lost_events import is_behind, is_due, is_up_to_date
from validator.protocol.events import BundleWritten, ChainFact, TaskClosed, TaskSettled
from validator.protocol.machine import step
from validator.protocol.state import Phase

PATHS = {
    "paid": f.HAPPY_PATH,
    "answered on chain": f.WITHHELD_PATH,
    "lapsed": (*f.HAPPY_PATH[:6], replace(f.CLOSED, outcome="validator_lapsed")),
}


def along(path):
    """Every state on the way, and what is to come from there on."""
    state = None
    for place, event in enumerate(path):
        if state is not None:
            yield state, path[:place], [fact for fact in path[place:] if isinstance(fact, ChainFact)]
        state, _effects = step(state, event)
    yield state, path, []


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_of_all_that_is_to_come_only_the_next_is_due(path):
    for state, past, future in along(path):
        assert all(is_due(state, fact) for fact in future[:1])
        assert not any(is_due(state, fact) for fact in future[1:] if not isinstance(fact, TaskSettled))
        assert not any(is_behind(state, fact) for fact in future)
        assert all(is_behind(state, fact) for fact in past if isinstance(fact, ChainFact))


def test_the_end_of_a_settled_task_waits_for_what_was_settled():
    """Its evidence is published when the settlement is known, and not when the end is."""
    *_, (state, _past, _future) = along(f.HAPPY_PATH[:-2])
    assert not is_due(state, f.CLOSED)
    assert is_due(state, replace(f.CLOSED, outcome="validator_lapsed"))
    state, _effects = step(state, BundleWritten(f.TASK_ID, f.digest("bundle"), Phase.SUBMITTED))
    state, _effects = step(state, f.SETTLED)
    assert is_due(state, f.CLOSED)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_storage_that_says_no_more_than_the_events_is_up_to_date(path):
    for state, _past, future in along(path):
        if state.phase is Phase.CLOSED:
            continue
        status = TaskStatus.NONE if state.phase is Phase.PLANNED else TaskStatus[state.phase.name]
        assert is_up_to_date(state, status)
        others = [other for other in TaskStatus if other is not status]
        assert not any(is_up_to_date(state, other) for other in others)
        assert isinstance(future[-1], TaskClosed)
