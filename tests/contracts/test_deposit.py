"""`deposit`: the only way in for ether."""

import pytest

from tests.contracts.evm import Reverted, reverts
from tests.contracts.functions import NOT_PAYABLE, empty_call
from tests.contracts.market import Market
from tests.contracts.rounds import AUDITOR, OUTSIDER


def test_deposits_add_up(market: Market) -> None:
    market.call(OUTSIDER.address, "deposit", value_wei=5)
    (event,) = market.call(OUTSIDER.address, "deposit", value_wei=7)
    assert market.credits(OUTSIDER.address) == 12
    assert market.credits(AUDITOR.address) == 0
    assert event == ("Deposited", {"account": OUTSIDER.address.lower(), "amount": 7})


def test_one_deposit_is_bounded(market: Market) -> None:
    """E11: credit shares a word with the validator's nonce, and can never reach it."""
    market.chain.fund(OUTSIDER.address, 2**96)
    with reverts("deposit: amount too large"):
        market.call(OUTSIDER.address, "deposit", value_wei=2**96)
    market.call(OUTSIDER.address, "deposit", value_wei=2**96 - 1)
    assert market.credits(OUTSIDER.address) == 2**96 - 1
    assert market.view("validator_nonce", OUTSIDER.address) == 0


def test_plain_ether_is_refused(market: Market) -> None:
    with reverts("touchstone: no such function"):
        market.send(market.address, OUTSIDER.address, b"", value_wei=1)


def test_unknown_function_is_refused(market: Market) -> None:
    with reverts("touchstone: no such function"):
        market.send(market.address, OUTSIDER.address, b"\x01\x02\x03\x04")


def refusal(market: Market, data: bytes, value_wei: int = 0) -> str | None:
    """The reason that the contract gives, or None where it does as it is told."""
    try:
        market.send(market.address, OUTSIDER.address, data, value_wei)
    except Reverted as reverted:
        return str(reverted)
    return None


@pytest.mark.parametrize("name", NOT_PAYABLE)
def test_other_functions_take_no_ether(market: Market, name: str) -> None:
    assert refusal(market, empty_call(name)) != ""
    assert refusal(market, empty_call(name), value_wei=1) == ""


def test_forced_ether_is_nobodys(market: Market) -> None:
    """E3."""
    market.force_ether(1_000)
    with reverts("credits: too little"):
        market.call(OUTSIDER.address, "withdraw", 1)
    market.call(OUTSIDER.address, "deposit", value_wei=3)
    assert market.credits(OUTSIDER.address) == 3
