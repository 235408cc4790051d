"""`submit`: the miner fixes the model before it is probed."""

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import EVIDENCE, MINER, MODEL_HASH, NO_HASH, OUTSIDER, PAYER, VALIDATOR

NOT_ACCEPTED = [TaskState.OPEN, *list(TaskState)[TaskState.SUBMITTED : TaskState.SLASH_PENDING + 1]]


def test_fixes_the_model(market: Market) -> None:
    round_ = market.reach(TaskState.ACCEPTED)
    market.chain.now += 7
    (event,) = market.submit(round_)
    deadline = market.chain.now + round_.terms.submitted_seconds
    assert market.task(round_) == (TaskState.SUBMITTED, deadline, EVIDENCE.address.lower(), 0, False)
    assert market.view("model_hash", round_.task_id) == MODEL_HASH
    assert event == ("ModelSubmitted", {"task_id": round_.task_id, "model_hash": MODEL_HASH})


@pytest.mark.parametrize("sender", [PAYER.address, VALIDATOR.address, EVIDENCE.address, OUTSIDER.address])
def test_only_the_miner(market: Market, sender: str) -> None:
    round_ = market.reach(TaskState.ACCEPTED)
    with reverts("submit: only the miner"):
        market.submit(round_, sender=sender)


def test_a_model_hash_is_needed(market: Market) -> None:
    round_ = market.reach(TaskState.ACCEPTED)
    with reverts("submit: no model hash"):
        market.on_task(MINER.address, "submit", round_, NO_HASH)


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_until_the_deadline(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.reach(TaskState.ACCEPTED)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        with reverts("task: deadline passed"):
            market.submit(round_)
    else:
        market.submit(round_)


@pytest.mark.parametrize("state", NOT_ACCEPTED)
def test_succeeds_in_accepted_alone(market: Market, state: TaskState) -> None:
    """W4: no second model."""
    round_ = market.reach(state)
    with reverts("task: not in this state"):
        market.submit(round_)
