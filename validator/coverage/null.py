"""Exact null distributions of the rank statistics, as log10 of p-values that may be far below what a float holds.

Null hypothesis: the returned model is independent of the picks; then ranks are independent, each uniform on 0..k-1.

Both statistics are sums of independent small integers. Their tails are summed from the mass function, which is
convolved directly after exponential tilting (Esscher 1932: under q(x) ~ p(x) exp(theta x) with the mean at the observed
sum, the tail is an ordinary probability times a factor that is known in closed form). All terms are positive, so
nothing cancels: the relative error stays near 1e-12 however small the tail is. A convolution by FFT would lose
everything under 1e-16.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import inf, log

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from validator.coverage.ranks import Histogram

Mass = tuple[float, ...]
"""Probabilities of 0, 1, 2, ... ."""

_LN_10 = log(10.0)
_TRIMMED = 1e-40
"""Mass of the tilted distribution that is cut off at either end: far under what the result's last digit holds."""
_MAX_TILT = 80.0


def rank_sum_log10_p(histograms: Mapping[int, Histogram]) -> float:
    """log10 P(sum of ranks <= the observed one): small where the picks were learnt. 0.0 without any row."""
    # Ranks counted from the other end are uniform too, so that the lower tail becomes an upper one.
    groups = tuple((_uniform(k), sum(counts)) for k, counts in sorted(histograms.items()))
    goodness = sum((k - 1 - rank) * count for k, counts in histograms.items() for rank, count in enumerate(counts))
    return log_upper_tail(groups, goodness) / _LN_10


def top_rank_log10_p(histograms: Mapping[int, Histogram]) -> float:
    """log10 P(as many rows of rank 0 as observed, or more): Poisson-binomial where the k differ."""
    groups = tuple(((1 - 1 / k, 1 / k), sum(counts)) for k, counts in sorted(histograms.items()))
    return log_upper_tail(groups, sum(counts[0] for counts in histograms.values())) / _LN_10


def combine_log10_p(*log10_ps: float) -> float:
    """Of several tests of one null hypothesis: their number times the smallest p (Bonferroni), at most 1."""
    return min(0.0, log(len(log10_ps)) / _LN_10 + min(log10_ps))


@lru_cache(maxsize=4096)
def log_upper_tail(groups: tuple[tuple[Mass, int], ...], threshold: int) -> float:
    """ln P(X >= threshold), X the sum of independent integers: `count` of them with each of the mass functions."""
    groups = tuple((mass, count) for mass, count in groups if count)
    largest = sum((len(mass) - 1) * count for mass, count in groups)
    if threshold <= 0:
        return 0.0
    if threshold > largest:
        return -inf
    if threshold == largest:
        return sum(count * log(mass[-1]) for mass, count in groups)
    tilt = _find_tilt(groups, threshold)
    tilted, lowest, log_factor = np.ones(1), 0, 0.0
    for mass, count in groups:
        log_weights = np.log(mass) + tilt * np.arange(len(mass))
        normaliser = _log_sum(log_weights)
        log_factor += count * normaliser
        group, offset = _power(np.exp(log_weights - normaliser), count)
        tilted, lowest = _convolve(tilted, lowest, group, offset)
    sums = lowest + np.arange(len(tilted))
    reached = sums >= threshold
    # p(x) = q(x) exp(log_factor - tilt x); what is left in the exponent beside the threshold is not positive.
    beyond = float(np.sum(tilted[reached] * np.exp(-tilt * (sums[reached] - threshold))))
    return min(0.0, log_factor - tilt * threshold + log(beyond))


@lru_cache(maxsize=64)
def _uniform(k: int) -> Mass:
    return (1 / k,) * k


def _find_tilt(groups: tuple[tuple[Mass, int], ...], threshold: int) -> float:
    """The theta under which the mean is the threshold; 0 where the threshold is no large sum at all."""

    def excess(tilt: float) -> float:
        mean = 0.0
        for mass, count in groups:
            places = np.arange(len(mass))
            log_weights = np.log(mass) + tilt * places
            weights = np.exp(log_weights - log_weights.max())
            mean += count * float(weights @ places / weights.sum())
        return mean - threshold

    return 0.0 if excess(0.0) >= 0 else float(brentq(excess, 0.0, _MAX_TILT))


def _power(mass: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], int]:
    """The mass function of a sum of `count`, and the sum that its first entry is of, by repeated squaring."""
    result, offset = np.ones(1), 0
    square, square_offset = mass, 0
    while count:
        if count & 1:
            result, offset = _convolve(result, offset, square, square_offset)
        count >>= 1
        if count:
            square, square_offset = _convolve(square, square_offset, square, square_offset)
    return result, offset


def _convolve(
    left: NDArray[np.float64], left_offset: int, right: NDArray[np.float64], right_offset: int
) -> tuple[NDArray[np.float64], int]:
    """NumPy convolves directly, term by term. Ends that hold next to nothing are cut off, or tails would be as long as
    all sums that there are.
    """
    mass = np.convolve(left, right)
    first = int(np.searchsorted(np.cumsum(mass), _TRIMMED))
    last = len(mass) - int(np.searchsorted(np.cumsum(mass[::-1]), _TRIMMED))
    return mass[first:last], left_offset + right_offset + first


def _log_sum(logs: NDArray[np.float64]) -> float:
    highest = float(logs.max())
    return highest + log(float(np.sum(np.exp(logs - highest))))
