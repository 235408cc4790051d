"""`open_task`: by the validator, under the payer's signed Order, each consumed once."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from contracts import TaskState
from tests.contracts.evm import PyRevm, reverts
from tests.contracts.market import FUNDS_WEI, Market
from tests.contracts.rounds import EVIDENCE, MINER, NO_HASH, NOBODY, OUTSIDER, PAYER, SOURCE_DATA_HASH, VALIDATOR
from tests.contracts.signatures import CURVE_ORDER, INVALID_SIGNATURES, Tamper
from validator.protocol import typed_data
from validator.protocol.commitment import keccak
from validator.types import Address


def test_escrow_moves_and_every_term_is_logged(market: Market) -> None:
    before = market.holdings()
    round_ = market.make_round()
    opened, consumed = market.open(round_)
    terms = round_.terms
    moved = market.holdings().since(before)
    assert moved == (-(terms.reward + terms.fee), -terms.validator_bond, 0, 0, 0)
    assert opened == (
        "TaskOpened",
        {
            "task_id": round_.task_id,
            "validator": VALIDATOR.address.lower(),
            "miner": MINER.address.lower(),
            "validator_nonce": round_.nonce,
            "terms": tuple(v.lower() if isinstance(v, str) else v for v in terms.as_tuple()),
        },
    )
    assert consumed == (
        "OrderConsumed",
        {
            "task_id": round_.task_id,
            "payer": PAYER.address.lower(),
            "nonce": round_.nonce,
            "source_data_hash": SOURCE_DATA_HASH,
        },
    )
    assert market.task(round_) == (TaskState.OPEN, market.chain.now + terms.accept_seconds, NOBODY, 0, False)
    assert market.view("is_commitment_used", VALIDATOR.address, terms.commitment)
    assert market.view("validator_nonce", VALIDATOR.address) == round_.nonce + 1


def test_the_last_deadline_is_40_bits_long(market: Market) -> None:
    """C9: some 35,000 years from now."""
    last = 2**40 - 1
    round_ = market.make_round()
    market.chain.now = last - round_.terms.accept_seconds
    market.open(round_)
    assert market.task(round_) == (TaskState.OPEN, last, NOBODY, 0, False)


def test_an_unknown_task_has_no_state(market: Market) -> None:
    assert market.view("task_state", keccak(b"unknown")) == (TaskState.NONE, 0, NOBODY, 0, False)


@pytest.mark.parametrize("sender", [PAYER.address, MINER.address, OUTSIDER.address])
def test_only_the_validator_of_the_terms(market: Market, sender: str) -> None:
    with reverts("open_task: only the validator"):
        market.open(market.make_round(), sender=sender)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"validator": OUTSIDER.address}, "open_task: another's order"),
        ({"max_reward": 1_000_002}, "open_task: reward over the order"),
        ({"max_fee": 50_020}, "open_task: fee over the order"),
        ({"spec_hash": NO_HASH}, "open_task: not the ordered spec"),
        ({"min_n": 17}, "open_task: n below the order"),
        ({"min_k_pay": 13}, "open_task: k_pay below the order"),
    ],
)
def test_the_order_bounds_the_terms(market: Market, change: dict[str, Any], reason: str) -> None:
    round_ = market.make_round()
    with reverts(reason):
        market.open(round_, market.order(round_, **change))


def test_better_terms_than_ordered_are_fine(market: Market) -> None:
    round_ = market.make_round()
    order = market.order(round_, max_reward=2**255, max_fee=2**255, min_n=0, min_k_pay=0, nonce=2**256 - 1)
    market.open(round_, order)
    assert market.task(round_).state is TaskState.OPEN


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_the_order_expires(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.make_round()
    order = market.order(round_)
    market.chain.now = order.expiry + late_s
    if late_s > 0:
        with reverts("open_task: order expired"):
            market.open(round_, order)
    else:
        market.open(round_, order)


def test_an_order_is_consumed_once_and_in_any_sequence(market: Market) -> None:
    for nonce in (3, 255, 256, 0):
        round_ = market.make_round()
        assert not market.view("is_order_nonce_used", PAYER.address, nonce)
        market.open(round_, market.order(round_, nonce=nonce))
        assert market.view("is_order_nonce_used", PAYER.address, nonce)
        again = market.make_round()
        with reverts("order: nonce used"):
            market.open(again, market.order(again, nonce=nonce))
    assert not market.view("is_order_nonce_used", PAYER.address, 1)
    assert not market.view("is_order_nonce_used", VALIDATOR.address, 3)


def test_only_the_payer_of_the_terms_signs(market: Market) -> None:
    round_ = market.make_round()
    order = market.order(round_)
    signature = market.sign(VALIDATOR, typed_data.order(order))
    with reverts("signature: another signer"):
        market.call(VALIDATOR.address, "open_task", round_.terms.as_tuple(), order, signature)


@pytest.mark.parametrize(("tamper", "reason"), INVALID_SIGNATURES)
def test_one_encoding_of_a_signature_counts(market: Market, tamper: Tamper, reason: str) -> None:
    """W7."""
    round_ = market.make_round()
    order = market.order(round_)
    signature = tamper(market.sign(PAYER, typed_data.order(order)))
    with reverts(reason):
        market.call(VALIDATOR.address, "open_task", round_.terms.as_tuple(), order, signature)


@pytest.mark.parametrize("beyond", [0, 1])
def test_s_counts_up_to_half_the_curve_order(market: Market, beyond: int) -> None:
    """W7: any r and s sign anything, for whoever they recover to; that address is the payer here."""
    round_ = market.make_round()
    order = market.order(round_)
    data = typed_data.order(order)
    domain = typed_data.domain(market.chain.chain_id, Address(market.address))
    r, s = 1, CURVE_ORDER // 2 + beyond
    payer = Account.recover_message(encode_typed_data(domain, data.types, data.message), vrs=(27, r, s))
    market.addresses.append(payer)
    market.chain.fund(payer, FUNDS_WEI)
    market.call(payer, "deposit", value_wei=FUNDS_WEI)
    terms = market.retarget(round_, payer=payer).terms
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + b"\x1b"
    if beyond:
        with reverts("signature: high s"):
            market.call(VALIDATOR.address, "open_task", terms.as_tuple(), order, signature)
    else:
        market.call(VALIDATOR.address, "open_task", terms.as_tuple(), order, signature)


def test_an_order_counts_on_its_chain_and_contract_alone(market: Market) -> None:
    """C10."""
    round_ = market.make_round()
    order = market.order(round_)
    signature = market.sign(PAYER, typed_data.order(order))
    fork = Market(PyRevm(market.chain.chain_id + 1))
    assert fork.address == market.address
    with reverts("signature: another signer"):
        fork.call(VALIDATOR.address, "open_task", round_.terms.as_tuple(), order, signature)


def test_both_deposits_must_cover(market: Market) -> None:
    round_ = market.make_round()
    spare = market.credits(PAYER.address) - round_.terms.reward - round_.terms.fee
    market.call(PAYER.address, "withdraw", spare + 1)
    with reverts("credits: too little"):
        market.open(round_)
    market.call(PAYER.address, "deposit", value_wei=1)
    spare = market.credits(VALIDATOR.address) - round_.terms.validator_bond
    market.call(VALIDATOR.address, "withdraw", spare + 1)
    with reverts("credits: too little"):
        market.open(round_)
    market.call(VALIDATOR.address, "deposit", value_wei=1)
    market.open(round_)
    assert (market.credits(PAYER.address), market.credits(VALIDATOR.address)) == (0, 0)


def test_a_commitment_is_used_once(market: Market) -> None:
    """V10."""
    first = market.reach(TaskState.OPEN)
    with reverts("open_task: commitment used"):
        market.open(market.make_round(commitment=first.terms.commitment))


def test_copying_a_commitment_neither_opens_nor_blocks_it(market: Market) -> None:
    """C5: whoever copies it first binds nothing but its own money."""
    original = market.make_round()
    market.call(OUTSIDER.address, "deposit", value_wei=10_000_000)
    order = market.order(original, validator=OUTSIDER.address)
    copy = market.retarget(original, validator=OUTSIDER.address)
    signature = market.sign(PAYER, typed_data.order(order))
    market.call(OUTSIDER.address, "open_task", copy.terms.as_tuple(), order, signature)
    market.accept(copy)
    market.submit(copy)
    with reverts("settle: commitment does not open"):
        market.settle(copy, hits=16, sender=OUTSIDER.address)

    market.open(original, market.order(original, nonce=99))
    market.accept(original)
    market.submit(original)
    market.settle(original, hits=16)
    assert market.task(original).state is TaskState.PAID


@pytest.mark.parametrize(
    ("epoch", "reason"),
    [
        (0, "open_task: epoch zero"),
        (1, "open_task: not the miner's epoch"),
        (3, "open_task: not the miner's epoch"),
    ],
)
def test_only_for_the_miner_as_it_is_registered(market: Market, epoch: int, reason: str) -> None:
    """C7."""
    market.call(MINER.address, "register", EVIDENCE.address, "", NO_HASH)
    assert market.miner().epoch == 2
    with reverts(reason):
        market.open(market.make_round(miner_epoch=epoch))


def test_not_for_an_unregistered_miner(market: Market) -> None:
    with reverts("open_task: not the miner's epoch"):
        market.open(market.make_round(miner=OUTSIDER.address))
