"""`answer`: the miner's replies on chain, instead of its signature."""

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import EVIDENCE, MINER, NO_HASH, OUTSIDER, PAYER, VALIDATOR

NOT_CHALLENGED = [s for s in list(TaskState)[1 : TaskState.SLASH_PENDING + 1] if s is not TaskState.CHALLENGED]


def test_earns_the_answer_fee_and_is_logged(market: Market) -> None:
    """V5."""
    round_ = market.reach(TaskState.CHALLENGED)
    before = market.holdings()
    market.chain.now += 7
    (event,) = market.answer(round_, hits=13)
    deadline = market.chain.now + round_.terms.answered_seconds
    assert market.task(round_) == (TaskState.ANSWERED, deadline, EVIDENCE.address.lower(), 0, True)
    assert market.holdings().since(before) == (0, 0, round_.terms.answer_fee, 0, 0)
    assert event == ("Answered", {"task_id": round_.task_id, "replies": tuple(round_.replies(13))})


@pytest.mark.parametrize("sender", [PAYER.address, VALIDATOR.address, EVIDENCE.address, OUTSIDER.address])
def test_only_the_miner(market: Market, sender: str) -> None:
    round_ = market.reach(TaskState.CHALLENGED)
    with reverts("answer: only the miner"):
        market.answer(round_, hits=16, sender=sender)


@pytest.mark.parametrize("count", [0, 15, 17])
def test_needs_n_replies(market: Market, count: int) -> None:
    round_ = market.reach(TaskState.CHALLENGED)
    with reverts("answer: not n replies"):
        market.on_task(MINER.address, "answer", round_, [NO_HASH] * count)


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_until_the_deadline(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.reach(TaskState.CHALLENGED)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        with reverts("task: deadline passed"):
            market.answer(round_, hits=16)
    else:
        market.answer(round_, hits=16)


@pytest.mark.parametrize("state", NOT_CHALLENGED)
def test_succeeds_in_challenged_alone(market: Market, state: TaskState) -> None:
    """W5: no second answer."""
    round_ = market.reach(state)
    with reverts("task: not in this state"):
        market.answer(round_, hits=16)
