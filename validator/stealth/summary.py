"""Rankings of one detector over many tasks, added up; and which detectors break a bar, corrected for their number.

The null hypothesis is that the detector's order is independent of which rows are marked: then the hits among the first
2n rows of a task are hypergeometric, those of several tasks their sum, and the mean of AUC is one half.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.stats import binom, hypergeom, norm

from validator.stealth.metrics import ENDS, End, Interval, Ranking, auc_interval, exact_interval

MAX_AUC = 0.60
MAX_RECALL_OVER_CHANCE = 2.0
MIN_KEPT_FOR_HALF = 0.30
"""The bars: no detector may reach this AUC (coverage); none may find more than twice chance among 2n rows, or hold half
of the marks with less of the data than this (canaries)."""
_FALSE_ALARM = 0.05


@dataclass(frozen=True, slots=True)
class Pooled:
    """One end of one detector over several tasks.

    `p_value` is of the hits at 2n (exact, one-sided); `auc` is of this end, the plain mean over tasks, with DeLong's
    interval; `kept_for_half` is the median over all marks of the share of the data that must be kept to hold one, with
    an interval by order statistics.
    """

    detector: str
    end: End
    tasks: int
    marks: int
    hits: int
    chance: float
    recall_interval: Interval
    p_value: float
    auc: float
    auc_interval: Interval
    auc_p_value: float
    kept_for_half: float
    kept_for_half_interval: Interval
    kept_for_three_quarters: float

    @property
    def recall(self) -> float:
        return self.hits / self.marks


def pool(detector: str, rankings: Sequence[Ranking], end: End) -> Pooled:
    """Add up rankings of different tasks (at least one), looked at from one end."""
    marks = sum(ranking.marks for ranking in rankings)
    hits = sum(ranking.hits(end) for ranking in rankings)
    upper_auc = float(np.mean([ranking.auc for ranking in rankings]))
    auc = upper_auc if end == "most" else 1 - upper_auc
    variance = sum(ranking.auc_variance for ranking in rankings) / len(rankings) ** 2
    kept = sorted(place / ranking.rows for ranking in rankings for place in ranking.places_from(end))
    low, high = (int(binom.ppf(tail, marks, 0.5)) for tail in (0.025, 0.975))
    return Pooled(
        detector=detector,
        end=end,
        tasks=len(rankings),
        marks=marks,
        hits=hits,
        chance=sum(ranking.marks * ranking.chance for ranking in rankings) / marks,
        recall_interval=exact_interval(hits, marks),
        p_value=_chance_of_hits(hits, rankings),
        auc=auc,
        auc_interval=auc_interval(auc, variance),
        auc_p_value=float(norm.sf((auc - 0.5) / math.sqrt(variance))),
        kept_for_half=kept[math.ceil(marks / 2) - 1],
        kept_for_half_interval=(kept[max(0, low - 1)], kept[min(marks - 1, high)]),
        kept_for_three_quarters=kept[math.ceil(0.75 * marks) - 1],
    )


def _chance_of_hits(hits: int, rankings: Sequence[Ranking]) -> float:
    """P(at least so many hits) under the null: the exact law of the sum of the tasks' hypergeometric hits."""
    laws = [
        hypergeom.pmf(np.arange(ranking.marks + 1), ranking.rows, ranking.marks, min(ranking.rows, 2 * ranking.marks))
        for ranking in rankings
    ]
    return float(min(1.0, reduce(np.convolve, laws)[hits:].sum()))


def pool_all(rankings: Mapping[str, Sequence[Ranking]]) -> list[Pooled]:
    """Both ends of every detector."""
    return [pool(name, of_one, end) for name, of_one in rankings.items() for end in ENDS]


def find_breaches(pooled: Sequence[Pooled], *, by_auc: bool) -> list[tuple[Pooled, bool]]:
    """What breaks the bar of coverage (`by_auc`) or of canaries, and whether it is more than chance among so many.

    The second is Holm's step-down test at 5% over everything in `pooled`, of AUC or of hits and AUC both (two tests
    each), so that a breach that is not significant is one that a few more seeds may take back.
    """
    tests = [
        (p_value, number)
        for number, one in enumerate(pooled)
        for p_value in ((one.auc_p_value,) if by_auc else (one.p_value, one.auc_p_value))
    ]
    significant: set[int] = set()
    for rank, (p_value, number) in enumerate(sorted(tests)):
        if p_value > _FALSE_ALARM / (len(tests) - rank):
            break
        significant.add(number)
    return [
        (one, number in significant)
        for number, one in enumerate(pooled)
        if (one.auc >= MAX_AUC if by_auc else _breaks_canary_bar(one))
    ]


def _breaks_canary_bar(one: Pooled) -> bool:
    return one.recall > MAX_RECALL_OVER_CHANCE * one.chance or one.kept_for_half < MIN_KEPT_FOR_HALF
