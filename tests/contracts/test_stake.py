"""`stake`: from credit to stake, for any address."""

from tests.contracts.evm import reverts
from tests.contracts.market import FUNDS_WEI, Market
from tests.contracts.rounds import MINER, OUTSIDER, VALIDATOR

MAX_WEI = 2**96 - 1


def test_moves_credit_to_stake(market: Market) -> None:
    credit, before = market.credits(MINER.address), market.miner()
    (event,) = market.call(MINER.address, "stake", 77)
    assert market.credits(MINER.address) == credit - 77
    assert market.miner() == before._replace(stake=before.stake + 77)
    assert event == ("Staked", {"account": MINER.address.lower(), "amount": 77})


def test_a_validator_may_stake_without_registering(market: Market) -> None:
    market.call(VALIDATOR.address, "stake", 5)
    assert (market.miner(VALIDATOR.address).stake, market.miner(VALIDATOR.address).epoch) == (5, 0)


def test_only_from_own_credit(market: Market) -> None:
    with reverts("credits: too little"):
        market.call(OUTSIDER.address, "stake", 1)


def test_a_stake_fits_its_96_bits(market: Market) -> None:
    """E11."""
    market.chain.fund(OUTSIDER.address, 2 * MAX_WEI)
    for _ in range(2):
        market.call(OUTSIDER.address, "deposit", value_wei=MAX_WEI)
    with reverts("stake: amount too large"):
        market.call(OUTSIDER.address, "stake", MAX_WEI + 1)
    market.call(OUTSIDER.address, "stake", MAX_WEI)
    with reverts("stake: amount too large"):
        market.call(OUTSIDER.address, "stake", 1)
    miner = market.miner(OUTSIDER.address)
    assert (miner.stake, miner.locked, miner.epoch, miner.running) == (MAX_WEI, 0, 0, 0)
    assert market.miner().stake == FUNDS_WEI
