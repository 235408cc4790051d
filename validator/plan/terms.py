"""From a test plan and a reward to the terms of a task, by the protocol's heading "Defaults"."""

from collections.abc import Sequence

from validator.config import Durations
from validator.errors import BadInput
from validator.protocol.commitment import Terms, encode_scheme, hash_committee
from validator.protocol.state import Weights
from validator.protocol.verdict import Thresholds
from validator.types import Address, Hash32, Wei

MIN_PROBES, MAX_PROBES = 16, 64
FEE_BPS = 500
VALIDATOR_BOND_BPS = 12_500
ANSWER_FEE_WEI = Wei(25 * 10**13)
"""Prepays an answer on chain, 125,000 gas at n = 64, at 2 gwei: what is over its gas a miner earns by not signing."""


def choose_thresholds(n: int, *, slashing: bool) -> Thresholds:
    """Default zones for n probes: pay at three quarters, slash where an honest miner never falls."""
    if not MIN_PROBES <= n <= MAX_PROBES:
        raise BadInput(f"the number of probes is {MIN_PROBES} to {MAX_PROBES}, not {n}")
    k_slash = n // 8 if n == MAX_PROBES else 3 * n // 32
    return Thresholds(n=n, k_pay=3 * n // 4, k_slash=k_slash, slashing=slashing)


def build_terms(
    *,
    payer: Address,
    validator: Address,
    miner: Address,
    miner_epoch: int,
    reward_wei: Wei,
    thresholds: Thresholds,
    scheme: str,
    w: int,
    max_tokens: int,
    dataset_root: Hash32,
    commitment: Hash32,
    spec_hash: Hash32,
    durations: Durations,
    weights: Weights = Weights.NONE,
    min_coverage_bps: int = 0,
    committee: Sequence[Address] = (),
) -> Terms:
    """Terms of a task; bonds and fee follow from the reward.

    `committee` and `min_coverage_bps` are for judged weights; a majority of the committee must sign.
    """
    is_judged = weights is Weights.JUDGED
    return Terms(
        payer=payer,
        validator=validator,
        miner=miner,
        miner_epoch=miner_epoch,
        reward=reward_wei,
        fee=compute_fee(reward_wei),
        miner_bond=reward_wei,
        availability_bond=compute_availability_bond(reward_wei),
        validator_bond=compute_validator_bond(reward_wei),
        answer_fee=ANSWER_FEE_WEI,
        scheme=encode_scheme(scheme),
        w=w,
        n=thresholds.n,
        k_pay=thresholds.k_pay,
        k_slash=thresholds.k_slash,
        slashing=thresholds.slashing,
        max_tokens=max_tokens,
        dataset_root=dataset_root,
        commitment=commitment,
        spec_hash=spec_hash,
        weights=int(weights),
        min_coverage_bps=min_coverage_bps,
        committee_hash=hash_committee(committee) if is_judged else Hash32(bytes(32)),
        quorum=len(committee) // 2 + 1 if is_judged else 0,
        accept_seconds=durations.accept_seconds,
        train_seconds=durations.train_seconds,
        submitted_seconds=durations.submitted_seconds,
        challenged_seconds=durations.challenged_seconds,
        answered_seconds=durations.answered_seconds,
        judging_seconds=durations.judging_seconds,
        dispute_seconds=durations.dispute_seconds,
    )


def compute_fee(reward_wei: Wei) -> Wei:
    return Wei(reward_wei * FEE_BPS // 10_000)


def compute_availability_bond(reward_wei: Wei) -> Wei:
    return Wei((reward_wei + 1) // 2)


def compute_validator_bond(reward_wei: Wei) -> Wei:
    return Wei(reward_wei * VALIDATOR_BOND_BPS // 10_000 + ANSWER_FEE_WEI)


def choose_scheme(weights: Weights) -> str:
    """The default: where weights are returned, how much was trained on can be measured."""
    return "canary" if weights is Weights.NONE else "canary+coverage"


def parse_weights(text: str) -> Weights:
    """BadInput for anything but the names of `Weights`."""
    names = [weights.name.lower() for weights in Weights]
    if text not in names:
        raise BadInput(f"unknown --weights {text!r}: it is {', '.join(names)}")
    return Weights[text.upper()]
