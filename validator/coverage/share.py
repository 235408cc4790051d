"""Which share of the rows a model was trained on, from its rank histogram and an honest reference.

A row scores w[rank] with fixed weights

    w_j  proportional to  (q_j - 1/k) / (d q_j + (1 - d) / k),

q the honest reference's rank distribution, centred under the uniform one, so that a row that was not trained on scores
0 in the mean whatever the model is, and scaled so that one of an honest run scores 1. Any d gives an unbiased estimate;
this is the efficient score of the mixture's share at d = 0.75, because shares must be told apart best where tasks are
refused or paid. With d = 0, which is q_j - 1/k, an honest miner's share has nearly twice the error on the embedded
model and moves more with how well a run has learnt: a row that was not trained on shows by the worst ranks, which
rows that were trained on hardly have, however well they were learnt.

With a share s trained on, the mean score S of m rows has

    E S    = s mu(s)
    Var S  = V(s) = v(s) / m + s^2 tau^2 + s^2 Var(mu^(s))

mu(s) is linear between the two calibrated shares h and 1, and goes on so below (a miner that trains on fewer rows
learns each of them a little better): mu(s) = (1 - a) mu_1 + a mu_h with a = (1 - s) / (1 - h). v(s) is the variance of
one score under the mixture (1 - s) uniform + s q(s): chance hits, and the sampling of rows. tau^2 is the variance of mu
between runs: the sample variance B_g of the R_g run means at each calibrated share g, less its part W_g / m_g from
within the runs, pooled, at least 0. Var(mu^(s)) is the reference's own uncertainty, from the variances
(tau^2 + W_g / m_g) / R_g of its two means.

The interval is the set of all s with |S - s mu(s)| <= t sqrt(V(s)), t of Student's distribution: Fieller's construction
for a ratio whose denominator is estimated (E. C. Fieller, "Some problems in interval estimation", Journal of the Royal
Statistical Society B 16, 1954), with the degrees of freedom of Welch and Satterthwaite (F. E. Satterthwaite, "An
approximate distribution of estimates of variance components", Biometrics Bulletin 2, 1946), since V(s) adds up
variances that rest on different numbers of runs and rows:

    nu = V^2 / (sum over g of (c B_g / 2)^2 / (R_g - 1) + (v / m)^2 / (m - 1))
    c  = s^2 (1 + (1 - a)^2 / R_1 + a^2 / R_h)

v(s) counts the membership of rows as random; where every row is marked the realised share varies less, so the interval
errs on the wide side between 0 and 1, and not at its ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import t as student

from validator.coverage.ranks import Histogram
from validator.coverage.reference import CalibrationRun, Reference
from validator.errors import BadInput

CONFIDENCE = 0.95
DESIGN_SHARE = 0.75
"""d: where the weights tell shares apart best."""
SEARCHED = (-1.0, 2.0)
"""Where interval ends are looked for; an end that stands at one of these was not found between them."""
_STEP = 0.01

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """The trained share, not clipped: it is what the scores say, and may lie outside [0, 1] by chance."""

    share: float
    low: float
    high: float
    """The two-sided 95% interval."""
    lower_bound: float
    """One-sided, 95%."""
    degrees_of_freedom: float
    """At the estimate."""

    @property
    def low_bps(self) -> int:
        """The one-sided lower bound in hundredths of a per cent, clipped and rounded down: what terms compare."""
        return floor(10_000 * clip(self.lower_bound))

    def __str__(self) -> str:
        low, high = clip(self.low), clip(self.high)
        return f"{clip(self.share):.1%} of the rows ({low:.1%} to {high:.1%}; at least {self.low_bps / 100:.1f}%)"


@dataclass(frozen=True, slots=True)
class EpochView:
    """How likely one rank histogram is under "all rows, so many epochs", for each calibrated number, and under "so much
    of the rows, all epochs", at the share that fits best; log10 likelihoods of the counts, so only differences speak.

    Runs differ by more than these multinomials know, so a difference under about 2 says nothing.
    """

    epochs: dict[int, float]
    share: float
    log10_likelihood_of_share: float


def clip(share: float) -> float:
    return min(1.0, max(0.0, share))


class ShareModel:
    """The mixture that a reference describes. BadInput where it cannot tell shares apart."""

    def __init__(self, reference: Reference) -> None:
        self.k = reference.k
        self._partial_share = reference.partial_share
        whole, partial = reference.at(1.0), reference.at(reference.partial_share)
        self._distributions = _pool(whole), _pool(partial)
        honest, uniform = self._distributions[0], 1 / self.k
        score = (honest - uniform) / (DESIGN_SHARE * honest + (1 - DESIGN_SHARE) * uniform)
        score -= score.mean()
        signal = float(score @ honest)
        if signal <= 0:
            raise BadInput("the reference's honest runs learnt nothing that shows: no share can be told")
        self.weights: Array = score / signal
        self._groups = _RunGroup.of(whole, self.weights), _RunGroup.of(partial, self.weights)
        self._tau2 = max(0.0, sum(group.between - group.within for group in self._groups) / 2)
        slope = (self._groups[0].mean - self._groups[1].mean) / (1 - self._partial_share)
        if self._groups[0].mean + slope <= 0:
            raise BadInput("the reference's runs learnt so much less of more rows that no share can be told")

    @property
    def tau(self) -> float:
        """Standard deviation between runs of the mean score of a trained row, which is 1 in the mean at share 1."""
        return sqrt(self._tau2)

    def mean_score(self, histogram: Histogram) -> float:
        counts = np.asarray(histogram, dtype=np.float64)
        return float(counts @ self.weights / counts.sum())

    def trained_score(self, share: float) -> float:
        """mu(s)."""
        a = self._partiality(share)
        return (1 - a) * self._groups[0].mean + a * self._groups[1].mean

    def distribution(self, share: float) -> Array:
        """q(s): the rank distribution of a row that was trained on."""
        a = self._partiality(share)
        mixed = np.clip((1 - a) * self._distributions[0] + a * self._distributions[1], 0.0, None)
        return np.asarray(mixed / mixed.sum())

    def mixture(self, share: float) -> Array:
        """The rank distribution of any row."""
        return clip(share) * self.distribution(share) + (1 - clip(share)) / self.k

    def posterior(self, share: float) -> tuple[float, ...]:
        """P(the row was trained on | its rank), by rank, where `share` of all rows were."""
        joint = clip(share) * self.distribution(share)
        return tuple((joint / self.mixture(share)).tolist())

    def estimate(self, histogram: Histogram) -> ShareEstimate:
        """The share that a task's rank histogram says; BadInput for another number of candidates or under 2 rows."""
        rows = sum(histogram)
        if len(histogram) != self.k:
            raise BadInput(f"marks with {len(histogram)} candidates and a reference of {self.k} do not fit")
        if rows < 2:
            raise BadInput("a share needs at least 2 scored rows")
        score = self.mean_score(histogram)

        def excess(share: float) -> float:
            return score - share * self.trained_score(share)

        def margin(share: float, confidence: float) -> float:
            variance, freedom = self._variance(share, rows)
            return float(student.ppf(confidence, freedom)) * sqrt(variance)

        share = _root(lambda s: -excess(s), SEARCHED[0], 1)
        two_sided = (1 + CONFIDENCE) / 2
        return ShareEstimate(
            share=share,
            low=_root(lambda s: excess(s) - margin(s, two_sided), share, -1),
            high=_root(lambda s: -excess(s) - margin(s, two_sided), share, 1),
            lower_bound=_root(lambda s: excess(s) - margin(s, CONFIDENCE), share, -1),
            degrees_of_freedom=self._variance(share, rows)[1],
        )

    def _partiality(self, share: float) -> float:
        """a: 0 at share 1, 1 at the other calibrated share."""
        return (1 - clip(share)) / (1 - self._partial_share)

    def _variance(self, share: float, rows: int) -> tuple[float, float]:
        """V(s) and its degrees of freedom."""
        a = self._partiality(share)
        mixture = self.mixture(share)
        of_rows = float(mixture @ self.weights**2 - (mixture @ self.weights) ** 2) / rows
        parts = (1 - a) ** 2, a**2
        between = share**2 * (1 + sum(part / group.runs for part, group in zip(parts, self._groups, strict=True)))
        within = sum(part * group.within / group.runs for part, group in zip(parts, self._groups, strict=True))
        variance = of_rows + between * self._tau2 + share**2 * within
        spread = of_rows**2 / (rows - 1)
        for group in self._groups:
            spread += (between * max(group.between, group.within) / 2) ** 2 / (group.runs - 1)
        return variance, variance**2 / spread


@dataclass(frozen=True, slots=True)
class _RunGroup:
    """Calibration runs at one share: mean of the run means, their variance, and the part of it from within runs."""

    runs: int
    mean: float
    between: float
    within: float

    @classmethod
    def of(cls, runs: tuple[CalibrationRun, ...], weights: Array) -> "_RunGroup":
        means, within = [], []
        for run in runs:
            counts = np.asarray(run.trained, dtype=np.float64)
            rows = counts.sum()
            means.append(float(counts @ weights / rows))
            within.append(float(counts @ weights**2 / rows - means[-1] ** 2) / rows)
        return cls(len(runs), float(np.mean(means)), float(np.var(means, ddof=1)), float(np.mean(within)))


def view_epochs(model: ShareModel, reference: Reference, histogram: Histogram) -> EpochView:
    """The epochs that the reference has runs of, beside the share that makes the histogram likeliest."""
    by_epochs = {
        epochs: _log10_likelihood(histogram, _pool(reference.at(1.0, epochs))) for epochs in reference.calibrated_epochs
    }
    shares = np.linspace(0.0, 1.0, 1001)
    likelihoods = [_log10_likelihood(histogram, model.mixture(float(share))) for share in shares]
    best = int(np.argmax(likelihoods))
    return EpochView(by_epochs, float(shares[best]), likelihoods[best])


def _log10_likelihood(histogram: Histogram, distribution: Array) -> float:
    return float(np.asarray(histogram) @ np.log(distribution)) / log(10)


def _pool(runs: tuple[CalibrationRun, ...]) -> Array:
    """The rank distribution of the rows trained on, half a row added at each rank (Jeffreys' prior)."""
    counts = np.sum([run.trained for run in runs], axis=0) + 0.5
    return np.asarray(counts / counts.sum())


def _root(function: Callable[[float], float], start: float, direction: int) -> float:
    """Where the function first reaches 0 from `start` on in this direction; the end of SEARCHED if nowhere."""
    end = SEARCHED[direction > 0]
    place = start
    if function(place) >= 0:
        return place
    while place != end:
        following = place + direction * _STEP
        following = min(following, end) if direction > 0 else max(following, end)
        if function(following) >= 0:
            return float(brentq(function, place, following, xtol=1e-12))
        place = following
    return end
