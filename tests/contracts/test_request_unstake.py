"""`request_unstake`: only free stake leaves, and what is leaving can no longer be locked."""

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import UNSTAKE_DELAY_S, Market
from tests.contracts.rounds import MINER


def test_the_amount_leaves_the_stake_and_waits(market: Market) -> None:
    before = market.miner()
    (event,) = market.call(MINER.address, "request_unstake", 300)
    ready_at = market.chain.now + UNSTAKE_DELAY_S
    assert market.miner() == before._replace(stake=before.stake - 300, unstaking=300, unstake_ready_at=ready_at)
    assert event == ("UnstakeRequested", {"account": MINER.address.lower(), "amount": 300, "ready_at": ready_at})


def test_a_second_request_adds_and_starts_the_delay_anew(market: Market) -> None:
    market.call(MINER.address, "request_unstake", 300)
    market.chain.now += 10
    market.call(MINER.address, "request_unstake", 40)
    assert market.miner().unstaking == 340
    assert market.miner().unstake_ready_at == market.chain.now + UNSTAKE_DELAY_S


@pytest.mark.parametrize("state", list(TaskState)[TaskState.ACCEPTED : TaskState.SLASH_PENDING + 1])
def test_locked_stake_stays_in_every_state(market: Market, state: TaskState) -> None:
    """C8."""
    market.reach(state)
    miner = market.miner()
    assert miner.locked > 0
    with reverts("request_unstake: over free stake"):
        market.call(MINER.address, "request_unstake", miner.stake - miner.locked + 1)
    market.call(MINER.address, "request_unstake", miner.stake - miner.locked)


def test_stake_on_its_way_out_secures_no_task(market: Market) -> None:
    """E14."""
    round_ = market.reach(TaskState.OPEN)
    market.call(MINER.address, "request_unstake", market.miner().stake)
    with reverts("accept: bonds over free stake"):
        market.accept(round_)


def test_no_more_than_the_stake(market: Market) -> None:
    with reverts("request_unstake: over free stake"):
        market.call(MINER.address, "request_unstake", 2**256 - 1)
