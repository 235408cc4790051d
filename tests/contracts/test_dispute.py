"""`dispute`: a dataset that contradicts its own marks slashes nobody."""

from dataclasses import replace

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market, as_tuple
from tests.contracts.rounds import MINER, OUTSIDER, PAYER, VALIDATOR
from validator.protocol.commitment import keccak

NOT_PENDING = list(TaskState)[1 : TaskState.SLASH_PENDING]


@pytest.mark.parametrize("sender", [PAYER.address, VALIDATOR.address, MINER.address, OUTSIDER.address])
def test_anyone_voids_the_slash(market: Market, sender: str) -> None:
    """V6."""
    round_ = market.reach(TaskState.SLASH_PENDING)
    disputed, closed = market.dispute(round_, sender=sender)
    assert market.task(round_).state is TaskState.DISPUTED
    assert closed.args["outcome"] == TaskState.DISPUTED
    assert disputed == (
        "Disputed",
        {
            "task_id": round_.task_id,
            "mark": as_tuple(round_.marks[0]),
            "other": as_tuple(round_.contradiction),
            "proof": tuple(round_.tree.proof(round_.contradiction.leaf)),
        },
    )


def test_an_answered_task_is_disputed_like_a_signed_one(market: Market) -> None:
    round_ = market.reach(TaskState.CHALLENGED)
    market.answer(round_, hits=0)
    market.settle(round_, hits=0)
    market.dispute(round_)
    assert market.task(round_).state is TaskState.DISPUTED


def test_what_is_no_contradiction_voids_nothing(market: Market) -> None:
    round_ = market.reach(TaskState.SLASH_PENDING)
    marks, other = round_.marks, round_.contradiction
    invented = replace(other, head_hash=keccak(b"invented"))
    for change, reason in (
        ({"leaves": round_.leaves[:-1]}, "dispute: not the settled marks"),
        ({"leaves": [*round_.leaves[:-1], other.leaf]}, "dispute: not the settled marks"),
        ({"mark": other}, "dispute: row is not a mark"),
        ({"mark": invented}, "dispute: row is not a mark"),
        ({"other": invented}, "dispute: row not in the dataset"),
        ({"proof": []}, "dispute: row not in the dataset"),
        ({"mark": marks[1]}, "dispute: different prompts"),
        ({"other": marks[0], "proof": round_.tree.proof(marks[0].leaf)}, "dispute: same head"),
    ):
        with reverts(reason):
            market.dispute(round_, **change)
    assert market.task(round_).state is TaskState.SLASH_PENDING


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_until_the_deadline(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.reach(TaskState.SLASH_PENDING)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        with reverts("task: deadline passed"):
            market.dispute(round_)
    else:
        market.dispute(round_)


@pytest.mark.parametrize("state", NOT_PENDING)
def test_succeeds_in_slash_pending_alone(market: Market, state: TaskState) -> None:
    round_ = market.reach(state)
    with reverts("task: not in this state"):
        market.dispute(round_)


def test_succeeds_once(market: Market) -> None:
    round_ = market.reach(TaskState.SLASH_PENDING)
    market.dispute(round_)
    with reverts("task: not in this state"):
        market.dispute(round_)
