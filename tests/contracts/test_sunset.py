"""`sunset`: the guardian stops new tasks, and nothing else, for ever."""

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import GUARDIAN, MINER, OUTSIDER, PAYER, VALIDATOR
from validator.protocol import typed_data
from validator.types import UnixSeconds


def test_no_new_task_but_every_old_one_ends(market: Market) -> None:
    """E10."""
    open_, submitted = market.reach(TaskState.OPEN), market.reach(TaskState.SUBMITTED)
    assert not market.view("is_sunset")
    (event,) = market.call(GUARDIAN.address, "sunset")
    assert event == ("Sunset", {})
    assert market.view("is_sunset")
    with reverts("open_task: sunset"):
        market.open(market.make_round())
    offered = market.make_round()
    expiry = UnixSeconds(market.chain.now)
    signature = market.sign(VALIDATOR, typed_data.offer(offered.terms, offered.nonce, expiry))
    with reverts("open_task: sunset"):
        market.call(PAYER.address, "open_task_with_offer", offered.terms.as_tuple(), expiry, signature)

    market.accept(open_)
    market.settle(submitted, hits=16)
    market.call(MINER.address, "withdraw", market.credits(MINER.address))
    market.call(MINER.address, "request_unstake", 1)


@pytest.mark.parametrize("actor", [PAYER, VALIDATOR, MINER, OUTSIDER], ids=["payer", "validator", "miner", "outsider"])
def test_only_the_guardian(market: Market, actor: object) -> None:
    with reverts("sunset: only the guardian"):
        market.call(actor.address, "sunset")


def test_succeeds_once(market: Market) -> None:
    market.call(GUARDIAN.address, "sunset")
    with reverts("sunset: already set"):
        market.call(GUARDIAN.address, "sunset")
