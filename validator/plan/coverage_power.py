"""What a demand for coverage can tell apart: the chance that the lower bound of the trained share reaches it.

A mark in a trained row has rank 0 with the rate q of its run, any other with 1/k exactly, so a share s of the rows
gives the rate s q + (1 - s) / k. Runs of one spec differ: q is normal between them. The bound is made like that of
`validator/coverage/share.py` (Fieller's, with Student's t and Welch and Satterthwaite's degrees of freedom), of the top
rank alone, and knows q only from calibration runs, whose errors count as more spread of q. The product reads whole rank
histograms, which tell more: it refuses fewer honest miners than is said here, and pays fewer that are under the demand.
As there, which marks lie in trained rows is random, so where every row is marked both errors are a little overstated.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt

import numpy as np
from scipy.stats import binom, norm, t

from validator.errors import BadInput

CONFIDENCE = 0.95
"""Of the lower bound, one-sided."""
_PARTIAL_SHARE = 0.5
"""Calibration runs train on all rows, and as many on this share."""
_RUNS = np.linspace(-8.0, 8.0, 257)
"""How far from the mean runs lie, in standard deviations; what lies beyond is under 1e-14."""
_WEIGHTS = norm.pdf(_RUNS) / norm.pdf(_RUNS).sum()


@dataclass(frozen=True, slots=True)
class CoverageTest:
    """`marks` rows carry one of `candidates` words each; the lower bound of the share must reach `min_coverage`.

    `top_rank` is q of an honest run in the mean, `run_spread` its standard deviation between runs; `reference_runs`
    runs at each calibrated share, with `reference_marks` trained marks each, tell both.
    """

    marks: int
    candidates: int
    top_rank: float
    run_spread: float
    reference_runs: int
    reference_marks: int
    min_coverage: float

    def __post_init__(self) -> None:
        if self.marks < 2 or self.reference_marks < 2:
            raise BadInput("coverage is read off 2 marks or more")
        if self.reference_runs < 2:
            raise BadInput("a reference has 2 calibration runs or more at each share")
        if self.candidates < 2:
            raise BadInput("a coverage mark has at least 2 candidates")
        if not 1 / self.candidates < self.top_rank <= 1:
            raise BadInput(
                f"an honest top-rank rate of {self.top_rank:g} is what chance gives too: with {self.candidates} "
                f"candidates it is over {1 / self.candidates:g}; train for more epochs, or measure the reference again"
            )
        if not 0 <= self.min_coverage <= 1 or not 0 <= self.run_spread < 1:
            raise BadInput("a demanded coverage and a spread between runs are 0 to 1")

    @property
    def top_needed(self) -> int:
        """The fewest marks of rank 0 whose lower bound reaches the demand; over `marks` where not even all do."""
        share, chance = self.min_coverage, 1 / self.candidates
        if share == 0:
            return 0
        rate = chance + share * (self.top_rank - chance)
        of_rows = rate * (1 - rate) / self.marks
        variance = of_rows + share**2 * self.spread**2
        one_run = share**2 * (1 + self._parts) * (self.run_spread**2 + self._within) / 2
        squares = of_rows**2 / (self.marks - 1) + 2 * one_run**2 / (self.reference_runs - 1)
        freedom = variance**2 / squares if squares else np.inf
        margin = float(t.ppf(CONFIDENCE, freedom)) * sqrt(variance)
        return max(0, ceil(self.marks * (rate + margin) - 1e-9))

    @property
    def spread(self) -> float:
        """Standard deviation of a run's q about what the reference says."""
        return sqrt(self.run_spread**2 * (1 + self._parts) + self._within * self._parts)

    @property
    def _parts(self) -> float:
        """What the variance of one calibration run counts for: the demand stands between two calibrated shares."""
        a = (1 - self.min_coverage) / (1 - _PARTIAL_SHARE)
        return ((1 - a) ** 2 + a**2) / self.reference_runs

    @property
    def _within(self) -> float:
        """Variance of a calibration run's rate from its marks alone."""
        return self.top_rank * (1 - self.top_rank) / self.reference_marks

    def pass_probability(self, row_share: float, top_rank: float) -> float:
        """P(the lower bound reaches the demand) for a run on this share whose q is `top_rank` in the mean."""
        return _pass_probability(self, row_share, top_rank)


@lru_cache(maxsize=4096)
def _pass_probability(test: CoverageTest, row_share: float, top_rank: float) -> float:
    chance = 1 / test.candidates
    runs = np.clip(top_rank + test.spread * _RUNS, chance, 1.0)
    passing = binom.sf(test.top_needed - 1, test.marks, chance + row_share * (runs - chance))
    return min(1.0, float(_WEIGHTS @ passing))
