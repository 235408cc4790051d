"""What a tournament showed: the cells of its table, the cheapest cheat that pays, comparisons, inputs of ROC curves.

Rates, profits and their intervals are the cells' own (`cells.py`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from scipy.stats import fisher_exact, mannwhitneyu

from validator.plan.many_tests import holm
from validator.tournament.cells import HONEST, Cell, Prices, Rate, Stakes, Trial
from validator.tournament.rounds import Result

MARGIN_SHARE = 0.05
"""Of the reward, by which a cheat earns more than honest work if it is said to pay: the processor time of equal work
differs by a tenth from run to run, and honest work costs half of the reward by default.
"""
DEFAULT_HONEST_COST_SHARE = 0.5
"""What honest work costs, as a share of the reward, where no price is given: a reward twice the cost."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Is a cheat paid less often than honest miners? Fisher's exact test, one-sided."""

    cheat: Cell
    p_value: float
    adjusted_p_value: float
    """By Holm, over all comparisons of the tournament: of all that are under 0.05, none is wrong with 95%."""


@dataclass(frozen=True)
class Roc:
    """What a threshold on one score can tell apart, whatever the threshold."""

    scheme: str
    parameters: str
    strategy: str
    score: str
    """hits, or trained share."""
    honest: tuple[float, ...]
    cheat: tuple[float, ...]

    @property
    def points(self) -> list[tuple[float, float]]:
        """Share of cheats let through, share of honest miners let through: from the strictest threshold to none."""
        thresholds = sorted({*self.honest, *self.cheat}, reverse=True)
        return [(0.0, 0.0), *((_share_from(self.cheat, t), _share_from(self.honest, t)) for t in thresholds)]

    @property
    def area(self) -> float:
        """P(an honest miner scores more than a cheat), ties by half: Mann and Whitney's U."""
        return float(mannwhitneyu(self.honest, self.cheat).statistic) / (len(self.honest) * len(self.cheat))


@dataclass(frozen=True)
class Statistics:
    """Everything that is said about a tournament."""

    prices: Prices
    cells: tuple[Cell, ...]
    """Ordered by scheme and parameters; honest first, then by how often they are paid."""

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Scheme and parameters that were played, in order."""
        return list(dict.fromkeys((cell.scheme, cell.parameters) for cell in self.cells))

    def under(self, scheme: str, parameters: str) -> list[Cell]:
        return [cell for cell in self.cells if (cell.scheme, cell.parameters) == (scheme, parameters)]

    def honest(self, scheme: str, parameters: str) -> Cell | None:
        return next((cell for cell in self.under(scheme, parameters) if cell.is_honest), None)

    def profitable_cheats(self, scheme: str, parameters: str) -> list[Cell]:
        """Those that earn more than nothing, and clearly more than honest work; the cheapest first."""
        honest = self.honest(scheme, parameters)
        margin = MARGIN_SHARE * honest.stakes.reward_ether if honest else 0.0
        floor = max(0.0, honest.profit.mean + margin if honest and honest.profit else 0.0)
        paying = [
            (cell.mean_cost_ether or 0.0, cell.strategy, cell)
            for cell in self.under(scheme, parameters)
            if cell.is_cheat and cell.profit and cell.profit.mean > floor
        ]
        return [cell for _cost, _strategy, cell in sorted(paying, key=lambda found: found[:2])]

    def cheapest_profitable_cheat(self, scheme: str, parameters: str) -> Cell | None:
        return next(iter(self.profitable_cheats(scheme, parameters)), None)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every cheat against the honest miners of its setting."""
        pairs = [
            (cell, honest)
            for cell in self.cells
            if cell.is_cheat and (honest := self.honest(cell.scheme, cell.parameters))
        ]
        p_values = [_fisher(cell.paid, honest.paid) for cell, honest in pairs]
        adjusted = holm(p_values)
        return [Comparison(cell, p, q) for (cell, _honest), p, q in zip(pairs, p_values, adjusted, strict=True)]

    def rocs(self, scheme: str, parameters: str) -> list[Roc]:
        """Honest miners against each cheat: by hits, and by the trained share where weights were judged."""
        honest = self.honest(scheme, parameters)
        if honest is None:
            return []
        rocs = []
        for cell in self.under(scheme, parameters):
            if not cell.is_cheat:
                continue
            where = (scheme, parameters, cell.strategy)
            rocs.append(Roc(*where, "hits", _hits(honest), _hits(cell)))
            if any(trial.trained_share is not None for trial in (*honest.trials, *cell.trials)):
                rocs.append(Roc(*where, "trained share", _shares(honest), _shares(cell)))
        return rocs


def compute_statistics(results: Iterable[Result], prices: Prices | None = None) -> Statistics:
    """Of the results of a store. Without prices, those at which an honest miner's work costs half of its reward."""
    miners: dict[tuple[str, str, str, int], list[Result]] = defaultdict(list)
    for result in results:
        miners[result.scheme, result.parameters, result.strategy, result.seed].append(result)
    trials: dict[tuple[str, str, str], list[Trial]] = defaultdict(list)
    for (scheme, parameters, strategy, _seed), together in sorted(miners.items()):
        trials[scheme, parameters, strategy].append(Trial.of(together))
    prices = prices or prices_by_cost_share(trials, DEFAULT_HONEST_COST_SHARE)
    payoffs = [trial.payoff_ether for found in trials.values() for trial in found]
    reward = max([0.0, *payoffs])
    # The default bond is the reward (plan/terms.py).
    stakes = Stakes(reward, max([0.0, *(-payoff for payoff in payoffs)]) or reward)
    cells = [Cell(*setting, tuple(found), prices, stakes) for setting, found in trials.items()]
    cells.sort(key=lambda cell: (cell.scheme, cell.parameters, *_rank(cell)))
    return Statistics(prices, tuple(cells))


def prices_by_cost_share(trials: Mapping[tuple[str, str, str], Sequence[Trial]], cost_share: float) -> Prices:
    """A price of processor time at which honest trials that were paid cost this share of what they were paid.

    Zero if none was, or none measured its time.
    """
    paid = [
        trial
        for found in trials.values()
        for trial in found
        if trial.intent == HONEST and trial.verdict == "paid" and trial.cpu_hours
    ]
    hours = sum(trial.cpu_hours or 0.0 for trial in paid)
    return Prices(ether_per_cpu_hour=cost_share * sum(trial.payoff_ether for trial in paid) / hours if hours else 0.0)


def _fisher(cheat: Rate, honest: Rate) -> float:
    table = [[cheat.count, cheat.trials - cheat.count], [honest.count, honest.trials - honest.count]]
    return float(fisher_exact(table, alternative="less").pvalue)


def _rank(cell: Cell) -> tuple[object, ...]:
    return not cell.is_honest, -cell.paid.value, -cell.mean_hits, cell.strategy


def _hits(cell: Cell) -> tuple[float, ...]:
    return tuple(float(trial.hits) for trial in cell.trials)


def _shares(cell: Cell) -> tuple[float, ...]:
    """A model that was not judged has shown nothing."""
    return tuple(trial.trained_share or 0.0 for trial in cell.trials)


def _share_from(scores: Sequence[float], threshold: float) -> float:
    return sum(score >= threshold for score in scores) / len(scores)
