"""Who gets a task: by stake and history, never with certainty, and never whoever contradicted itself."""

from dataclasses import replace

import pytest

from tests import factories as f
from validator.plan.miners import Candidate, choose_miner, make_candidate
from validator.protocol.events import TaskPlanned
from validator.protocol.state import Phase, TaskState
from validator.types import Wei

ETHER = Wei(10**18)


def make_task(outcome: str | None = None, phase: Phase = Phase.CLOSED, **changes) -> TaskState:
    planned: TaskPlanned = f.PLANNED
    return replace(TaskState(planned), phase=phase, outcome=outcome, **changes)


def candidate(stake: int = 1, paid: int = 0, failed: int = 0, running: int = 0, distrusted: bool = False) -> Candidate:
    return Candidate(f.MINER, Wei(stake * ETHER), paid, failed, running, distrusted)


def choose(*candidates: Candidate, dice: float = 0.5) -> Candidate | None:
    return choose_miner(candidates, bonds_wei=ETHER, max_open=2, dice=dice)


def test_history_is_read_off_the_tasks_of_this_validator():
    tasks = [
        make_task("paid"),
        make_task("paid"),
        make_task("slashed"),
        make_task("accept lapsed"),
        make_task("not opened"),
        make_task(phase=Phase.SUBMITTED),
        replace(make_task("paid"), planned=f.make_planned(9, miner=f.PAYER)),
    ]
    known = make_candidate(f.MINER, ETHER, tasks)
    assert (known.paid, known.failed, known.open, known.is_distrusted) == (2, 2, 1, False)


def test_a_contradiction_ends_all_dealings():
    """W4; protocol, "Returned weights"."""
    known = make_candidate(f.MINER, ETHER, [make_task("paid"), make_task("paid", is_contradicted=True)])
    assert known.is_distrusted
    assert choose(known) is None


@pytest.mark.parametrize(
    "unable",
    [candidate(stake=0), candidate(running=2), candidate(distrusted=True)],
    ids=["too little free stake (E14)", "as many tasks as it may have", "distrusted"],
)
def test_who_cannot_have_a_task_gets_none(unable):
    able = candidate(running=1)
    assert choose(unable) is None
    assert {choose(unable, able, dice=dice / 10) for dice in range(10)} == {able}


def test_stake_and_history_weigh_and_nobody_is_certain():
    """V9: a validator that always took the richest could be waited for."""
    rich, poor, unreliable = candidate(stake=8), candidate(stake=2), candidate(stake=8, failed=6)
    drawn = [choose(rich, poor, unreliable, dice=i / 1000) for i in range(1000)]
    assert [drawn.count(miner) for miner in (rich, poor, unreliable)] == [667, 167, 166]


def test_newcomers_are_tried():
    veteran, newcomer = candidate(paid=98), candidate()
    assert choose(veteran, newcomer, dice=0.99) == newcomer


@pytest.mark.parametrize("dice", [0.0, 1 - 2**-53])
def test_the_ends_of_the_dice_choose_somebody(dice):
    assert choose(*[candidate(stake=stake) for stake in (3, 1, 7)], dice=dice) is not None
