"""`open_task_with_offer`: by the payer, under the validator's signed Offer for these terms and its next nonce."""

from dataclasses import replace

import pytest

from contracts import TaskState
from tests.contracts.evm import Event, reverts
from tests.contracts.market import Market
from tests.contracts.rounds import MINER, OUTSIDER, PAYER, VALIDATOR, Round
from tests.contracts.signatures import INVALID_SIGNATURES, Tamper
from validator.protocol import typed_data
from validator.types import UnixSeconds, Wei


def offer_for(market: Market, round_: Round, expiry: int) -> bytes:
    return market.sign(VALIDATOR, typed_data.offer(round_.terms, round_.nonce, UnixSeconds(expiry)))


def open_with(market: Market, round_: Round, expiry: int, signature: bytes, sender: str) -> list[Event]:
    return market.call(sender, "open_task_with_offer", round_.terms.as_tuple(), expiry, signature)


def test_opens_like_an_order(market: Market) -> None:
    """Not the first task of this validator, whose nonce is its own and not the payer's."""
    market.reach(TaskState.OPEN)
    before = market.holdings()
    round_ = market.make_round()
    (event,) = open_with(market, round_, market.chain.now, offer_for(market, round_, market.chain.now), PAYER.address)
    terms = round_.terms
    assert event == (
        "TaskOpened",
        {
            "task_id": round_.task_id,
            "validator": VALIDATOR.address.lower(),
            "miner": MINER.address.lower(),
            "validator_nonce": 1,
            "terms": tuple(v.lower() if isinstance(v, str) else v for v in terms.as_tuple()),
        },
    )
    assert market.view("validator_nonce", VALIDATOR.address) == 2
    assert market.view("validator_nonce", PAYER.address) == 0
    assert market.holdings().since(before) == (-(terms.reward + terms.fee), -terms.validator_bond, 0, 0, 0)
    assert market.task(round_).state is TaskState.OPEN


@pytest.mark.parametrize("sender", [VALIDATOR.address, MINER.address, OUTSIDER.address])
def test_only_the_payer_of_the_terms(market: Market, sender: str) -> None:
    round_ = market.make_round()
    with reverts("open_task: only the payer"):
        open_with(market, round_, market.chain.now, offer_for(market, round_, market.chain.now), sender)


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_the_offer_expires(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.make_round()
    expiry = market.chain.now + 60
    signature = offer_for(market, round_, expiry)
    market.chain.now = expiry + late_s
    if late_s > 0:
        with reverts("open_task: offer expired"):
            open_with(market, round_, expiry, signature, PAYER.address)
    else:
        open_with(market, round_, expiry, signature, PAYER.address)


def test_an_offer_is_consumed_once(market: Market) -> None:
    round_ = market.make_round()
    signature = offer_for(market, round_, market.chain.now)
    open_with(market, round_, market.chain.now, signature, PAYER.address)
    with reverts("signature: another signer"):
        open_with(market, round_, market.chain.now, signature, PAYER.address)


def test_a_commitment_is_used_once(market: Market) -> None:
    """V10: also where the payer is the one who calls."""
    first = market.make_round()
    open_with(market, first, market.chain.now, offer_for(market, first, market.chain.now), PAYER.address)
    again = market.make_round(commitment=first.terms.commitment)
    with reverts("open_task: commitment used"):
        open_with(market, again, market.chain.now, offer_for(market, again, market.chain.now), PAYER.address)


def test_an_offer_lapses_when_its_nonce_is_used_otherwise(market: Market) -> None:
    round_ = market.make_round()
    market.reach(TaskState.OPEN)
    with reverts("signature: another signer"):
        open_with(market, round_, market.chain.now, offer_for(market, round_, market.chain.now), PAYER.address)


def test_the_offer_is_for_these_terms_and_this_expiry(market: Market) -> None:
    round_ = market.make_round()
    signature = offer_for(market, round_, market.chain.now)
    with reverts("signature: another signer"):
        open_with(market, round_, market.chain.now + 1, signature, PAYER.address)
    cheaper = replace(round_, terms=replace(round_.terms, fee=Wei(round_.terms.fee - 1)))
    with reverts("signature: another signer"):
        open_with(market, cheaper, market.chain.now, signature, PAYER.address)


@pytest.mark.parametrize(("tamper", "reason"), INVALID_SIGNATURES)
def test_one_encoding_of_a_signature_counts(market: Market, tamper: Tamper, reason: str) -> None:
    """W7."""
    round_ = market.make_round()
    with reverts(reason):
        open_with(market, round_, market.chain.now, tamper(offer_for(market, round_, market.chain.now)), PAYER.address)
