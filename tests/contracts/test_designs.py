"""What `touchstone plan` proposes, the contract takes."""

import pytest

from contracts import TaskState
from tests.contracts.market import Market
from validator.design.design import make_design
from validator.design.options import DesignOptions


@pytest.mark.parametrize(
    "options",
    [
        DesignOptions(rows=300),
        DesignOptions(rows=10_000),
        DesignOptions(rows=10_000, partial=0.75),
        DesignOptions(rows=10_000, scheme="backdoor", activation=1.0),
        DesignOptions(rows=10_000, scheme="canary+coverage", weights="judged"),
        DesignOptions(
            rows=10_000,
            scheme="backdoor",
            activation=1.0,
            probes=64,
            k_pay=48,
            reward_wei=1000,
            training_wei=900,
            gas_price_wei=0,
            is_lookup_accepted=True,
        ),
    ],
)
def test_a_designs_terms_open(market: Market, options: DesignOptions) -> None:
    """Those with economics, at the smallest bonds that it names."""
    design = make_design(options)
    thresholds, coverage = design.test.power.thresholds, design.test.power.coverage
    terms = {"n": thresholds.n, "k_pay": thresholds.k_pay, "k_slash": thresholds.k_slash}
    if options.are_weights_judged:
        terms |= {"weights": 2, "quorum": 1, "min_coverage_bps": round(10_000 * coverage.min_coverage)}
    if design.economics is not None:
        reward_wei, bond_wei = options.reward_wei, design.economics.smallest_bond_wei
        assert bond_wei > 0
        terms |= {"reward": reward_wei, "miner_bond": bond_wei, "validator_bond": reward_wei, "answer_fee": 0}
        terms |= {"availability_bond": max(bond_wei, reward_wei // 2)}
    round_ = market.make_round(k=80, **terms)
    market.open(round_)
    assert market.task(round_).state is TaskState.OPEN
