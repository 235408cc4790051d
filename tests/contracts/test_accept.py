"""`accept`: the miner's receipt; it locks both bonds and freezes key and epoch."""

from dataclasses import replace

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import EVIDENCE, MINER, NO_HASH, OUTSIDER, PAYER, VALIDATOR
from validator.types import Wei


def test_locks_the_bonds_and_freezes_the_key(market: Market) -> None:
    round_ = market.reach(TaskState.OPEN)
    before = market.miner()
    market.chain.now += 7
    (event,) = market.accept(round_)
    bonds = round_.terms.miner_bond + round_.terms.availability_bond
    assert market.miner() == before._replace(locked=bonds, running=1)
    deadline = market.chain.now + round_.terms.train_seconds
    assert market.task(round_) == (TaskState.ACCEPTED, deadline, EVIDENCE.address.lower(), 0, False)
    assert event == ("TaskAccepted", {"task_id": round_.task_id, "evidence_key": EVIDENCE.address.lower()})


@pytest.mark.parametrize("sender", [PAYER.address, VALIDATOR.address, EVIDENCE.address, OUTSIDER.address])
def test_only_the_miner(market: Market, sender: str) -> None:
    """E7: nobody else can lock a miner's stake."""
    round_ = market.reach(TaskState.OPEN)
    with reverts("accept: only the miner"):
        market.accept(round_, sender=sender)


def test_only_for_the_dataset_of_the_terms(market: Market) -> None:
    """V3."""
    round_ = market.reach(TaskState.OPEN)
    with reverts("accept: another dataset"):
        market.on_task(MINER.address, "accept", round_, NO_HASH)


def test_only_for_the_terms_that_were_opened(market: Market) -> None:
    """V7."""
    round_ = market.reach(TaskState.OPEN)
    other = replace(round_, terms=replace(round_.terms, miner_bond=Wei(0)))
    with reverts("task: not in this state"):
        market.accept(other)
    with reverts("task: not in this state"):
        market.accept(replace(round_, nonce=round_.nonce + 1))


def test_free_stake_must_cover_both_bonds(market: Market) -> None:
    """E14."""
    first = market.reach(TaskState.ACCEPTED)
    second = market.reach(TaskState.OPEN)
    bonds = first.terms.miner_bond + first.terms.availability_bond
    miner = market.miner()
    market.call(MINER.address, "request_unstake", miner.stake - miner.locked - bonds + 1)
    with reverts("accept: bonds over free stake"):
        market.accept(second)
    market.call(MINER.address, "stake", 1)
    market.accept(second)
    assert (market.miner().stake, market.miner().locked, market.miner().running) == (2 * bonds, 2 * bonds, 2)


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_until_the_deadline(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.reach(TaskState.OPEN)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        with reverts("task: deadline passed"):
            market.accept(round_)
    else:
        market.accept(round_)


@pytest.mark.parametrize("state", list(TaskState)[TaskState.ACCEPTED : TaskState.SLASH_PENDING + 1])
def test_succeeds_in_open_alone(market: Market, state: TaskState) -> None:
    round_ = market.reach(state)
    with reverts("task: not in this state"):
        market.accept(round_)
