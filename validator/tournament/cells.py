"""All trials of one strategy in one setting: its rates and its profit, each with an interval.

One trial is one strategy under one seed: rounds with different seeds are independent, miners of one round share its
marks. Intervals of rates are Clopper and Pearson's, two-sided, 95% unless said otherwise: exact, so never too narrow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from scipy.stats import binomtest

from validator.tournament.rounds import Result

CONFIDENCE = 0.95
HONEST, CHEAT = "honest", "cheat"
"""Strategies of the first intent are one strategy; mistakes of honest miners are neither."""
WEI_PER_ETHER = 10**18
SECONDS_PER_HOUR = 3600
FLOPS_PER_EXAFLOP = 1e18
_SEVERITY = {"slashed": 0, "refunded": 1, "paid": 2}


@dataclass(frozen=True, slots=True)
class Prices:
    """What compute costs a miner, in ether; both are added up, and usually one of them is zero."""

    ether_per_cpu_hour: float = 0.0
    """Of processor time of the real run, searching for marks and answering included."""
    ether_per_exaflop: float = 0.0
    """Of 10^18 floating point operations of training and inference, counted from the size of the model."""

    def cost_ether(self, trial: "Trial") -> float | None:
        """None if the trial did not measure what has a price."""
        total = 0.0
        for price, amount in ((self.ether_per_cpu_hour, trial.cpu_hours), (self.ether_per_exaflop, trial.exaflops)):
            if price:
                if amount is None:
                    return None
                total += price * amount
        return total


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of trials, with its exact interval."""

    count: int
    trials: int

    @property
    def value(self) -> float:
        return self.count / self.trials

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Clopper and Pearson's, two-sided."""
        found = binomtest(self.count, self.trials).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)


@dataclass(frozen=True)
class Trial:
    """One strategy in one round: one miner, or several that act together (Sybils), whose sums are per miner."""

    strategy: str
    intent: str
    seed: int
    verdict: str
    """Of several: for cheats the best that any of them got, for others the worst."""
    hits: int
    """The most that any had; 0 if none came to a settlement."""
    n: int
    trained_share: float | None
    payoff_ether: float
    """Reward or answer fee received, less own bonds burned; without gas."""
    cpu_hours: float | None
    exaflops: float | None

    @classmethod
    def of(cls, miners: Sequence[Result]) -> "Trial":
        intent = miners[0].intent
        choose = max if intent == CHEAT else min
        shares = [miner.trained_share for miner in miners if miner.trained_share is not None]
        return cls(
            strategy=miners[0].strategy,
            intent=intent,
            seed=miners[0].seed,
            verdict=choose((miner.verdict for miner in miners), key=_SEVERITY.__getitem__),
            hits=max(miner.hits or 0 for miner in miners),
            n=miners[0].n,
            trained_share=max(shares) if shares else None,
            payoff_ether=fmean(miner.to_miner_wei - miner.lost_wei for miner in miners) / WEI_PER_ETHER,
            cpu_hours=_mean_or_none([miner.cpu_s for miner in miners], SECONDS_PER_HOUR),
            exaflops=_mean_or_none([miner.flops for miner in miners], FLOPS_PER_EXAFLOP),
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with an interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Stakes:
    """What a trial can win and lose where a cell itself has not seen it, in ether: the largest of the tournament."""

    reward_ether: float
    bond_ether: float


@dataclass(frozen=True)
class Cell:
    """All trials of one strategy under one scheme and one set of parameters."""

    scheme: str
    parameters: str
    strategy: str
    trials: tuple[Trial, ...]
    prices: Prices
    stakes: Stakes

    @property
    def intent(self) -> str:
        return self.trials[0].intent

    @property
    def is_honest(self) -> bool:
        return self.intent == HONEST

    @property
    def is_cheat(self) -> bool:
        return self.intent == CHEAT

    @property
    def paid(self) -> Rate:
        return self._rate("paid")

    @property
    def refunded(self) -> Rate:
        return self._rate("refunded")

    @property
    def slashed(self) -> Rate:
        return self._rate("slashed")

    def _rate(self, verdict: str) -> Rate:
        return Rate(sum(trial.verdict == verdict for trial in self.trials), len(self.trials))

    @property
    def mean_hits(self) -> float:
        return fmean(trial.hits for trial in self.trials)

    @property
    def mean_cpu_hours(self) -> float | None:
        """Per miner; None if any trial did not measure it."""
        return _mean_or_none([trial.cpu_hours for trial in self.trials])

    @property
    def mean_exaflops(self) -> float | None:
        return _mean_or_none([trial.exaflops for trial in self.trials])

    @property
    def mean_payoff_ether(self) -> float:
        return fmean(trial.payoff_ether for trial in self.trials)

    @property
    def mean_cost_ether(self) -> float | None:
        return _mean_or_none([self.prices.cost_ether(trial) for trial in self.trials])

    @cached_property
    def profit(self) -> Estimate | None:
        """Ether per miner, at the prices; None where the cost is not known.

        The interval is that of the chances to win and to lose, each Clopper and Pearson's at 97.5% so that both hold
        at 95% (Bonferroni), with the smallest and largest amounts seen; the cost is taken at its mean. Payoffs take
        few values, often one, so a t interval of them would be too narrow, or nothing.
        """
        cost = self.mean_cost_ether
        if cost is None:
            return None
        gains = [trial.payoff_ether for trial in self.trials if trial.payoff_ether > 0] or [self.stakes.reward_ether]
        losses = [-trial.payoff_ether for trial in self.trials if trial.payoff_ether < 0] or [self.stakes.bond_ether]
        wins = Rate(sum(trial.payoff_ether > 0 for trial in self.trials), len(self.trials))
        falls = Rate(sum(trial.payoff_ether < 0 for trial in self.trials), len(self.trials))
        each = 1 - (1 - CONFIDENCE) / 2
        (win_low, win_high), (fall_low, fall_high) = wins.interval(each), falls.interval(each)
        return Estimate(
            self.mean_payoff_ether - cost,
            win_low * min(gains) - min(fall_high, 1 - win_low) * max(losses) - cost,
            win_high * max(gains) - min(fall_low, 1 - win_high) * min(losses) - cost,
        )

    @property
    def break_even_ether_per_cpu_hour(self) -> float | None:
        """The price at which the mean profit is zero; infinite if it pays at any, None if at none or not measured."""
        return self._break_even(self.mean_cpu_hours)

    @property
    def break_even_ether_per_exaflop(self) -> float | None:
        """As above, per 10^18 floating point operations."""
        return self._break_even(self.mean_exaflops)

    def _break_even(self, amount: float | None) -> float | None:
        if amount is None or self.mean_payoff_ether <= 0:
            return None
        return self.mean_payoff_ether / amount if amount else math.inf


def _mean_or_none(amounts: Sequence[float | None], unit: float = 1.0) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return fmean(known) / unit if len(known) == len(amounts) else None
