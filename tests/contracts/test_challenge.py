"""`challenge`: the validator asks for withheld replies on chain."""

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import EVIDENCE, MINER, OUTSIDER, PAYER, VALIDATOR

NOT_SUBMITTED = [s for s in list(TaskState)[1 : TaskState.SLASH_PENDING + 1] if s is not TaskState.SUBMITTED]


def test_discloses_leaves_and_moves_no_money(market: Market) -> None:
    round_ = market.reach(TaskState.SUBMITTED)
    before = market.holdings()
    market.chain.now += 7
    (event,) = market.challenge(round_)
    deadline = market.chain.now + round_.terms.challenged_seconds
    assert market.task(round_) == (TaskState.CHALLENGED, deadline, EVIDENCE.address.lower(), 0, False)
    assert market.holdings() == before
    assert event == ("Challenged", {"task_id": round_.task_id, "leaves": tuple(round_.leaves)})


@pytest.mark.parametrize("sender", [PAYER.address, MINER.address, OUTSIDER.address])
def test_only_the_validator(market: Market, sender: str) -> None:
    round_ = market.reach(TaskState.SUBMITTED)
    with reverts("challenge: only the validator"):
        market.challenge(round_, sender=sender)


def test_needs_n_leaves_ascending(market: Market) -> None:
    round_ = market.reach(TaskState.SUBMITTED)
    for leaves, reason in (
        ([], "challenge: not n leaves"),
        (round_.leaves[:-1], "challenge: not n leaves"),
        ([*round_.leaves, b"\xff" * 32], "challenge: not n leaves"),
        (round_.leaves[::-1], "challenge: leaves not ascending"),
        ([round_.leaves[0], *round_.leaves[:-1]], "challenge: leaves not ascending"),
    ):
        with reverts(reason):
            market.on_task(VALIDATOR.address, "challenge", round_, leaves)


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_until_the_deadline(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.reach(TaskState.SUBMITTED)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        with reverts("task: deadline passed"):
            market.challenge(round_)
    else:
        market.challenge(round_)


@pytest.mark.parametrize("state", NOT_SUBMITTED)
def test_succeeds_in_submitted_alone(market: Market, state: TaskState) -> None:
    round_ = market.reach(state)
    with reverts("task: not in this state"):
        market.challenge(round_)
