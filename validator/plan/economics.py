"""Whether honest training is what pays best: what each listed strategy earns, and the smallest bond that keeps it so.

A miner holds D_train and is told the probes before it signs, so it grades itself exactly (protocol, "What no protocol
here removes"): one that passes or is in doubt signs, for that costs nothing, and one in the slash zone loses the
smaller of its two bonds, the miner bond by signing or the availability bond by silence. Until it is probed it knows
its own share of the work and not which rows are marks. All sums are exact, in wei and fractions of one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from validator.plan.power import NO_TRAINING, Effort, Odds, Power
from validator.types import Wei

ACCEPT_GAS = 46_000
MINER_GAS = ACCEPT_GAS + 60_000 + 31_000
"""Of a miner's whole task, `accept`, `submit` and `withdraw`: benchmarks/results.json, cells gas/..."""

HONEST = "honest training"
DECLINE = "declining the task"


@dataclass(frozen=True, slots=True)
class Stakes:
    """What a task can bring a miner and take from it (protocol, "Who gets what")."""

    reward_wei: Wei
    miner_bond_wei: Wei
    availability_bond_wei: Wei

    @property
    def failing_wei(self) -> int:
        """What a miner in the slash zone loses: it chooses the cheaper of signing and silence."""
        return min(self.miner_bond_wei, self.availability_bond_wei)


@dataclass(frozen=True, slots=True)
class Costs:
    """What a miner spends. `fixed_share` of a whole training is spent however little is trained on."""

    training_wei: Wei
    fixed_share: float
    inference_wei: Wei
    """Of answering all probes with a model."""
    lookup_wei: Wei
    """Of answering all probes from the data."""
    gas_price_wei: Wei

    def trained_wei(self, work_share: float) -> int:
        """Of this share of the training's work."""
        if work_share == 0:
            return 0
        fixed = Fraction(self.fixed_share)
        return ceil(self.training_wei * (fixed + (1 - fixed) * Fraction(work_share)))

    @property
    def gas_wei(self) -> int:
        return MINER_GAS * self.gas_price_wei


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to behave: probabilities of its ends, and what it costs whatever the end.

    `lapses` is P(the miner lets the task lapse and loses the availability bond, whatever its hits would have been).
    """

    name: str
    odds: Odds
    cost_wei: int
    lapses: float = 0.0
    is_looking_up: bool = False

    def profit_wei(self, stakes: Stakes) -> Fraction:
        """Expected, against declining the task."""
        return (
            Fraction(self.odds.paid) * stakes.reward_wei
            - Fraction(self.odds.slash_zone) * stakes.failing_wei
            - Fraction(self.lapses) * stakes.availability_bond_wei
            - self.cost_wei
        )


@dataclass(frozen=True, slots=True)
class Cheat:
    """A way to train less: `work_share` of the work buys the effort."""

    name: str
    work_share: float
    effort: Effort


def partial(share: float, honest: Effort) -> Cheat:
    """Training on a random share of the rows."""
    return Cheat(f"training on {share:g} of the rows", share, honest.partly(share))


def list_strategies(power: Power, honest: Effort, cheats: Iterable[Cheat], costs: Costs) -> list[Strategy]:
    """Honest training first, then every listed alternative."""
    served = costs.inference_wei + costs.gas_wei
    return [
        Strategy(HONEST, power.odds(honest), costs.trained_wei(1.0) + served),
        Strategy(DECLINE, Odds(0.0, 0.0), 0),
        Strategy("accepting and silence", Odds(0.0, 0.0), ACCEPT_GAS * costs.gas_price_wei, lapses=1.0),
        Strategy("serving the base model", power.odds(NO_TRAINING), served),
        _look_up(power, Cheat("without training", 0.0, NO_TRAINING), costs),
        *(strategy for cheat in cheats for strategy in train_less(power, cheat, costs)),
    ]


def train_less(power: Power, cheat: Cheat, costs: Costs) -> list[Strategy]:
    """A cheat whose model answers; where weights are judged, also one that answers from the data.

    The latter has no hits to be slashed for: only the committee stands between it and the reward.
    """
    spent = costs.trained_wei(cheat.work_share) + costs.inference_wei + costs.gas_wei
    answering = Strategy(cheat.name, power.odds(cheat.effort), spent)
    return [answering, _look_up(power, cheat, costs)] if power.are_weights_judged else [answering]


def _look_up(power: Power, cheat: Cheat, costs: Costs) -> Strategy:
    spent = costs.trained_wei(cheat.work_share) + costs.lookup_wei + costs.gas_wei
    odds = power.odds(cheat.effort, is_looked_up=True)
    return Strategy(f"looking replies up, {cheat.name}", odds, spent, is_looking_up=True)


def find_paying(strategies: Sequence[Strategy], stakes: Stakes) -> list[Strategy]:
    """What earns more than honest training, the first of `strategies`; the most profitable first."""
    least = strategies[0].profit_wei(stakes)
    paying = [strategy for strategy in strategies[1:] if strategy.profit_wei(stakes) > least]
    return sorted(paying, key=lambda strategy: strategy.profit_wei(stakes), reverse=True)


def find_smallest_bond(strategies: Sequence[Strategy], reward_wei: Wei) -> Wei | None:
    """The least amount such that with both bonds of that size no listed strategy pays; None where no amount does.

    With P and S of honest training and p and s of another, both paid and in the slash zone, its bond b must satisfy
    P R - S b - C >= p R - s b - c.
    """
    free = Stakes(reward_wei, Wei(0), Wei(0))
    honest = strategies[0]
    bond = 0
    for strategy in strategies[1:]:
        advantage = strategy.profit_wei(free) - honest.profit_wei(free)
        risk = Fraction(strategy.odds.slash_zone) + Fraction(strategy.lapses) - Fraction(honest.odds.slash_zone)
        if advantage > 0:
            if risk <= 0:
                return None
            bond = max(bond, ceil(advantage / risk))
    # Honest miners fall into the slash zone too, so a bond can also be too large.
    stakes = Stakes(reward_wei, Wei(bond), Wei(bond))
    return Wei(bond) if not find_paying(strategies, stakes) else None


def find_least_reward(strategies: Sequence[Strategy], stakes: Stakes) -> Wei | None:
    """The least reward at which no listed strategy pays, bonds as they are; None where no reward is enough.

    With C and c the costs and losses of honest training and of another, (P - p) R must be at least C - c.
    """
    unpaid = replace(stakes, reward_wei=Wei(0))
    honest = strategies[0]
    reward = 0
    for strategy in strategies[1:]:
        difference = strategy.profit_wei(unpaid) - honest.profit_wei(unpaid)
        chance = Fraction(honest.odds.paid) - Fraction(strategy.odds.paid)
        if chance > 0:
            reward = max(reward, ceil(difference / chance))
        elif difference > 0:
            return None
    return Wei(reward) if not find_paying(strategies, replace(stakes, reward_wei=Wei(reward))) else None
