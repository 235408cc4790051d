"""What a demand for coverage can tell apart: the chance that the lower bound of the trained share reaches it.

The statistic is the number of marks whose drawn word has rank 0 among its k candidates. A mark in a trained row has it
with the reference's rate q, any other with 1/k exactly, so a share s gives the rate s q + (1 - s) / k. The bound
inverts that line with a Clopper-Pearson limit at each end, lower for the marks and upper for the reference, at half of
alpha each (Bonferroni), so it holds at 1 - alpha whatever the two counts are. Marks of trained and other rows are no
binomial sample but a sum of two, which is less spread out (Hoeffding 1956), so the limit errs to the miner's cost,
never to the payer's.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom, hypergeom

from validator.errors import BadInput

ALPHA = 0.05
"""One-sided: the bound is over the true share in at most this many of a hundred models."""
_SPREADS = 9.0
"""Standard deviations that sums over a mass function reach: what lies beyond is under 1e-17."""
_NEGLIGIBLE = 1e-15
"""Differences of probabilities that nobody can see; under it an upper bound is given."""


@dataclass(frozen=True, slots=True)
class CoverageTest:
    """`marks` of `rows` rows carry one; `top_rank` is the honest rate of rank 0, known from `reference_marks` of them.

    `min_coverage` is the trained share that the lower bound must reach (terms: minCoverageBps).
    """

    rows: int
    marks: int
    candidates: int
    top_rank: float
    reference_marks: int
    min_coverage: float

    def __post_init__(self) -> None:
        if not 1 <= self.marks <= self.rows:
            raise BadInput(f"coverage marks are 1 to {self.rows}, one for a row, not {self.marks}")
        if self.reference_marks < 1 or self.candidates < 2:
            raise BadInput("a coverage mark has at least 2 candidates, and a reference at least 1 mark")
        if not 1 / self.candidates < self.top_rank <= 1:
            raise BadInput(
                f"an honest top-rank rate of {self.top_rank:g} is what chance gives too: with {self.candidates} "
                f"candidates it is over {1 / self.candidates:g}; train for more epochs, or measure the reference again"
            )
        if not 0 <= self.min_coverage <= 1:
            raise BadInput(f"a demanded coverage is a share, 0 to 1, not {self.min_coverage:g}")

    def low(self, top: int) -> float:
        """The one-sided lower bound of the trained share where `top` marks have rank 0."""
        chance = 1 / self.candidates
        rate = float(beta.ppf(ALPHA / 2, top, self.marks - top + 1)) if top else 0.0
        seen = round(self.top_rank * self.reference_marks)
        missed = self.reference_marks - seen
        reference = float(beta.ppf(1 - ALPHA / 2, seen + 1, missed)) if missed else 1.0
        return min(1.0, max(0.0, (rate - chance) / (reference - chance)))

    @property
    def top_needed(self) -> int:
        """The fewest marks of rank 0 that reach the demand; `marks` + 1 where not even all of them do."""
        low, high = 0, self.marks + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.low(middle) >= self.min_coverage else (middle + 1, high)
        return low

    def pass_probability(self, row_share: float, top_rank: float) -> float:
        """P(the lower bound reaches the demand) for a model trained on this share, rank 0 at this rate in its rows."""
        return _pass_probability(self, row_share, top_rank)


@lru_cache(maxsize=4096)
def _pass_probability(test: CoverageTest, row_share: float, top_rank: float) -> float:
    needed, marks = test.top_needed, test.marks
    taken = round(row_share * test.rows)
    share = taken / test.rows
    spread = sqrt(marks * share * (1 - share) * (test.rows - marks) / max(1, test.rows - 1))
    held = _window(marks * share, spread, max(0, taken + marks - test.rows), min(taken, marks))

    def given(held: int) -> float:
        top = _window(held * top_rank, sqrt(held * top_rank * (1 - top_rank)), 0, held)
        others = binom.sf(needed - 1 - top, marks - held, 1 / test.candidates)
        return float(binom.pmf(top, held, top_rank) @ others)

    # It grows with the marks held, so its ends bound it, and few shares need the whole sum.
    if given(int(held[0])) > 1 - _NEGLIGIBLE:
        return 1.0
    if (most := given(int(held[-1]))) < _NEGLIGIBLE:
        return most
    mass = hypergeom.pmf(held, test.rows, marks, taken)
    return min(1.0, float(mass @ [given(int(count)) for count in held]))


def _window(mean: float, deviation: float, low: int, high: int) -> NDArray[np.int64]:
    """The counts within `_SPREADS` standard deviations of the mean."""
    reach = _SPREADS * deviation + 1
    return np.arange(max(low, floor(mean - reach)), min(high, ceil(mean + reach)) + 1)
