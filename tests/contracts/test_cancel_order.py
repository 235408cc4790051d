"""`cancel_order`: a payer takes back an Order that has not been used."""

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import OUTSIDER, PAYER, VALIDATOR


def test_a_cancelled_order_opens_nothing_and_others_do(market: Market) -> None:
    (event,) = market.call(PAYER.address, "cancel_order", 0)
    assert event == ("OrderCancelled", {"payer": PAYER.address.lower(), "nonce": 0})
    assert market.view("is_order_nonce_used", PAYER.address, 0)
    round_ = market.make_round()
    with reverts("order: nonce used"):
        market.open(round_, market.order(round_, nonce=0))
    market.open(round_, market.order(round_, nonce=1))
    assert market.task(round_).state is TaskState.OPEN


@pytest.mark.parametrize("nonce", [0, 255, 256, 2**256 - 1])
def test_succeeds_once(market: Market, nonce: int) -> None:
    market.call(PAYER.address, "cancel_order", nonce)
    with reverts("order: nonce used"):
        market.call(PAYER.address, "cancel_order", nonce)


def test_a_used_order_is_past_cancelling(market: Market) -> None:
    round_ = market.reach(TaskState.OPEN)
    with reverts("order: nonce used"):
        market.call(PAYER.address, "cancel_order", round_.nonce)


@pytest.mark.parametrize("sender", [VALIDATOR.address, OUTSIDER.address])
def test_nobody_cancels_for_another(market: Market, sender: str) -> None:
    market.call(sender, "cancel_order", 0)
    assert not market.view("is_order_nonce_used", PAYER.address, 0)
    assert market.task(market.reach(TaskState.OPEN)).state is TaskState.OPEN
