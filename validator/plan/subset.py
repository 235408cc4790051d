"""The subset attack: training on some of the rows, in the hope that they hold marks enough (paper, 6.1 and E.1).

A miner that cannot tell marked rows from others and takes `taken` of `rows` at random holds B of the `marks`, which is
hypergeometric. The paper prints P(B >= rN), and half of its figures are P(B > rN); both are here by name, and both
count marked *rows*. A miner passes by *hits*: a held mark hits with the activation, any other with the base
activation, which is what `chance_of_passing` adds. The binomial of the paper's second formula must read
C(K - N, K_subset - k), as here.
"""

from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, hypergeom

Probabilities = NDArray[np.float64]


class Convention(StrEnum):
    """What has to hold for a test with ratio r of N marks to be passed."""

    AT_LEAST = "P(B >= rN)"
    MORE_THAN = "P(B > rN)"


def marks_needed(marks: int, ratio: Fraction | float | str, convention: Convention) -> int:
    """The smallest B that the convention takes. A float stands for the decimal that it is printed as."""
    target = Fraction(str(ratio)) * marks
    return ceil(target) if convention is Convention.AT_LEAST else floor(target) + 1


def marks_held(rows: int, marks: int, taken: int) -> Probabilities:
    """P(B = 0), ..., P(B = marks) for `taken` rows drawn at random without replacement."""
    held: Probabilities = hypergeom.pmf(np.arange(marks + 1), rows, marks, taken)
    return held


def binomial_masses(n: int, rate: float) -> Probabilities:
    """P(column successes of row trials), (n + 1) by (n + 1)."""
    # SciPy overflows at the smallest floats.
    counts = np.arange(n + 1)
    masses: Probabilities = binom.pmf(counts[None, :], counts[:, None], rate if rate > 1e-100 else 0.0)
    return masses


@lru_cache(maxsize=256)
def hits_given_held(marks: int, activation: float, base_activation: float) -> Probabilities:
    """P(hits = column | B = row), (marks + 1) by (marks + 1): a sum of two independent binomials.

    The convolution is the plain sum of products: by FFT, tails under 1e-16 would be lost.
    """
    known, unknown = binomial_masses(marks, activation), binomial_masses(marks, base_activation)
    table = np.array([np.convolve(known[b], unknown[marks - b])[: marks + 1] for b in range(marks + 1)])
    table.flags.writeable = False
    return table


def sum_tail(mass: Probabilities, start: int) -> float:
    """P(at least `start`), summed from the far end, never as 1 - cdf, so that small tails are kept."""
    return min(1.0, float(mass[start:][::-1].sum()))


def chance_of_holding(rows: int, marks: int, taken: int, needed: int) -> float:
    """The paper's figure: P(B >= needed), however the marks then activate."""
    return sum_tail(marks_held(rows, marks, taken), needed)


def chance_of_passing(
    rows: int, marks: int, taken: int, needed: int, *, activation: float = 1.0, base_activation: float = 0.0
) -> float:
    """The corrected figure: P(hits >= needed) where each held mark activates on its own, and others at the base rate.

    For marks that are learnt one by one (`canary`). A shared pair is learnt as a rule and follows no such formula.
    """
    return sum_tail(marks_held(rows, marks, taken) @ hits_given_held(marks, activation, base_activation), needed)


def share_for_chance(
    rows: int, marks: int, needed: int, chance: float, *, activation: float = 1.0, base_activation: float = 0.0
) -> float | None:
    """The smallest share of the rows that passes with probability `chance` or more; None if even all rows do not.

    Without activations this is the paper's "x% of the data for a y% chance".
    """

    def is_enough(taken: int) -> bool:
        passing = chance_of_passing(rows, marks, taken, needed, activation=activation, base_activation=base_activation)
        return passing >= chance

    if not is_enough(rows):
        return None
    low, high = 0, rows
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low / rows
