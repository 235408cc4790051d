"""`rotate_evidence_key`: another key under the same epoch, never under a running task."""

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import MINER, NOBODY, OUTSIDER


def test_the_key_changes_and_the_epoch_stays(market: Market) -> None:
    before = market.miner()
    (event,) = market.call(MINER.address, "rotate_evidence_key", OUTSIDER.address)
    assert market.miner() == before._replace(evidence_key=OUTSIDER.address.lower())
    assert event == (
        "EvidenceKeyRotated",
        {"miner": MINER.address.lower(), "evidence_key": OUTSIDER.address.lower()},
    )


def test_a_task_is_bound_to_the_key_at_its_acceptance(market: Market) -> None:
    round_ = market.reach(TaskState.OPEN)
    market.call(MINER.address, "rotate_evidence_key", OUTSIDER.address)
    market.accept(round_)
    market.submit(round_)
    with reverts("signature: another signer"):
        market.settle(round_, hits=16)
    market.settle(round_, hits=16, signature=market.sign(OUTSIDER, round_.transcript(round_.replies(16))))
    assert market.task(round_).state is TaskState.PAID


@pytest.mark.parametrize("state", list(TaskState)[TaskState.ACCEPTED : TaskState.SLASH_PENDING + 1])
def test_no_rotation_under_a_running_task(market: Market, state: TaskState) -> None:
    """W6."""
    round_ = market.reach(state)
    with reverts("rotate: a task is running"):
        market.call(MINER.address, "rotate_evidence_key", OUTSIDER.address)
    market.expire(round_)
    market.poke(round_)
    market.call(MINER.address, "rotate_evidence_key", OUTSIDER.address)


def test_only_the_registered_rotate(market: Market) -> None:
    with reverts("rotate: not registered"):
        market.call(OUTSIDER.address, "rotate_evidence_key", OUTSIDER.address)


def test_evidence_key_may_not_be_the_zero_address(market: Market) -> None:
    with reverts("rotate: no evidence key"):
        market.call(MINER.address, "rotate_evidence_key", NOBODY)
