"""What tasks cost a validator and bring it, reckoned before there is one.

Gas is what benchmarks/results.json measures (cells gas/...) on rows of 100,000; fees are those of the next block.
"""

from dataclasses import dataclass

from validator.edges.chain import Fees
from validator.plan.terms import compute_fee, compute_validator_bond
from validator.types import Wei

OPEN_GAS = 140_000
CHALLENGE_GAS = 80_000
SETTLE_PAID_GAS = {16: 165_000, 32: 235_000, 64: 375_000}
SETTLE_REFUNDED_GAS = {16: 480_000, 32: 910_000, 64: 1_770_000}
"""By the number of marks, the next higher where there is none: a refund brings the proofs of the rows that failed."""


@dataclass(frozen=True, slots=True)
class TaskCost:
    """One task at a reward. Gas is the validator's own; `bond_wei` is locked, and comes back from an honest task."""

    reward_wei: Wei
    paid_gas: int
    worst_gas: int
    gas_price_wei: Wei
    max_gas_price_wei: Wei

    @property
    def fee_wei(self) -> Wei:
        """What a paid or slashed task brings."""
        return compute_fee(self.reward_wei)

    @property
    def bond_wei(self) -> Wei:
        return compute_validator_bond(self.reward_wei)

    @property
    def paid_wei(self) -> Wei:
        """Gas of a task that ends well, at the fee of now."""
        return Wei(self.paid_gas * self.gas_price_wei)

    @property
    def worst_wei(self) -> Wei:
        """What the account must hold to see a task through: a challenge and a refund, at the most that is offered."""
        return Wei(self.worst_gas * self.max_gas_price_wei)


def estimate_task(reward_wei: int, probes: int, fees: Fees) -> TaskCost:
    marks = min(count for count in SETTLE_PAID_GAS if count >= probes)
    return TaskCost(
        reward_wei=Wei(reward_wei),
        paid_gas=OPEN_GAS + SETTLE_PAID_GAS[marks],
        worst_gas=OPEN_GAS + CHALLENGE_GAS + SETTLE_REFUNDED_GAS[marks],
        gas_price_wei=Wei(fees.base_fee_wei + fees.priority_fee_wei),
        max_gas_price_wei=fees.max_fee_wei,
    )


def surplus_wei(credit_wei: int, bond_wei: int, free_places: int) -> Wei:
    """Credit that no task can need: what is left when every free place has its bond (H1)."""
    return Wei(max(0, credit_wei - bond_wei * free_places))
