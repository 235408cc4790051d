"""From a plan to terms: the protocol's defaults, inside the bounds that the contract checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contracts.rounds import COMMITTEE, COMMITTEE_HASH
from tests.factories import MINER, PAYER, VALIDATOR, digest
from validator.config import DEV
from validator.errors import BadInput
from validator.plan.terms import (
    MAX_PROBES,
    MIN_PROBES,
    build_terms,
    choose_thresholds,
    compute_availability_bond,
    compute_fee,
    compute_validator_bond,
)
from validator.protocol.commitment import decode_scheme
from validator.protocol.state import Weights

rewards = st.integers(0, 10**27)


@pytest.mark.parametrize(("n", "k_pay", "k_slash"), [(16, 12, 1), (32, 24, 3), (64, 48, 8)])
def test_thresholds_are_those_of_the_protocols_table(n, k_pay, k_slash):
    thresholds = choose_thresholds(n, slashing=True)
    assert (thresholds.n, thresholds.k_pay, thresholds.k_slash) == (n, k_pay, k_slash)


@pytest.mark.parametrize("n", range(MIN_PROBES, MAX_PROBES + 1))
def test_every_number_of_probes_gives_terms_that_the_contract_takes(n):
    """Protocol, "Terms": 16 <= n <= 64, 2n <= 3 kPay, kPay <= n, 8 kSlash <= n."""
    thresholds = choose_thresholds(n, slashing=False)
    assert 2 * n <= 3 * thresholds.k_pay <= 3 * n
    assert 8 * thresholds.k_slash <= n
    assert not thresholds.slashing


@pytest.mark.parametrize("n", [-1, 0, MIN_PROBES - 1, MAX_PROBES + 1])
def test_too_few_and_too_many_probes_are_refused(n):
    with pytest.raises(BadInput, match=f"16 to 64, not {n}"):
        choose_thresholds(n, slashing=True)


@given(rewards)
def test_bonds_cover_what_the_contract_demands(reward_wei):
    terms = terms_for(reward_wei)
    assert terms.validator_bond >= terms.reward + terms.answer_fee
    assert 2 * terms.availability_bond >= terms.reward
    assert terms.miner_bond == terms.reward == reward_wei


def test_amounts_are_the_protocols_defaults():
    assert compute_fee(10**18) == 5 * 10**16
    assert compute_availability_bond(10**18) == 5 * 10**17
    assert compute_validator_bond(10**18) == 125 * 10**16 + terms_for(10**18).answer_fee


@pytest.mark.parametrize(("reward_wei", "bond_wei"), [(0, 0), (1, 1), (2, 1), (3, 2)])
def test_half_of_an_odd_reward_is_rounded_up(reward_wei, bond_wei):
    """E5: rounded against the one who has to put it up."""
    assert compute_availability_bond(reward_wei) == bond_wei


def test_terms_hold_what_was_planned():
    terms = terms_for(10**18)
    assert (terms.payer, terms.validator, terms.miner, terms.miner_epoch) == (PAYER, VALIDATOR, MINER, 3)
    assert (decode_scheme(terms.scheme), terms.w, terms.max_tokens) == ("canary", 4, 32)
    assert (terms.dataset_root, terms.commitment, terms.spec_hash) == (digest("r"), digest("c"), digest("s"))
    assert (terms.accept_seconds, terms.dispute_seconds) == (3600, DEV.durations.dispute_seconds)
    assert (terms.weights, terms.min_coverage_bps, terms.quorum, terms.committee_hash) == (0, 0, 0, bytes(32))


def terms_for(reward_wei, **changes):
    return build_terms(
        payer=PAYER,
        validator=VALIDATOR,
        miner=MINER,
        miner_epoch=3,
        reward_wei=reward_wei,
        thresholds=choose_thresholds(16, slashing=True),
        scheme="canary",
        w=4,
        max_tokens=32,
        dataset_root=digest("r"),
        commitment=digest("c"),
        spec_hash=digest("s"),
        durations=DEV.durations,
        **changes,
    )


@pytest.mark.parametrize("weights", list(Weights))
def test_a_committee_is_named_just_where_weights_are_judged(weights):
    committee = [member.address for member in COMMITTEE[::-1]]
    terms = terms_for(10**18, weights=weights, committee=committee, min_coverage_bps=9_000)
    is_judged = weights is Weights.JUDGED
    assert terms.weights == weights
    assert terms.committee_hash == (COMMITTEE_HASH if is_judged else bytes(32))
    assert terms.quorum == (2 if is_judged else 0), "more than half of three"
