"""`unstake`: to credit, when the delay is over, once."""

from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import MINER, OUTSIDER


def test_not_a_second_before_the_delay_is_over(market: Market) -> None:
    """C9."""
    credit = market.credits(MINER.address)
    market.call(MINER.address, "request_unstake", 300)
    ready_at = market.miner().unstake_ready_at
    market.chain.now = ready_at - 1
    with reverts("unstake: too early"):
        market.call(MINER.address, "unstake")
    market.chain.now = ready_at
    (event,) = market.call(MINER.address, "unstake")
    assert market.credits(MINER.address) == credit + 300
    assert event == ("Unstaked", {"account": MINER.address.lower(), "amount": 300})


def test_succeeds_once(market: Market) -> None:
    market.call(MINER.address, "request_unstake", 300)
    market.chain.now = market.miner().unstake_ready_at + 1
    market.call(MINER.address, "unstake")
    with reverts("unstake: nothing requested"):
        market.call(MINER.address, "unstake")


def test_a_request_for_nothing_leaves_nothing_to_unstake(market: Market) -> None:
    market.call(MINER.address, "request_unstake", 0)
    market.chain.now = market.miner().unstake_ready_at
    with reverts("unstake: nothing requested"):
        market.call(MINER.address, "unstake")


def test_nobody_unstakes_for_another(market: Market) -> None:
    market.call(MINER.address, "request_unstake", 300)
    market.chain.now = market.miner().unstake_ready_at
    with reverts("unstake: nothing requested"):
        market.call(OUTSIDER.address, "unstake")
