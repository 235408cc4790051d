"""The hypothesis test: what n replies say about a model, as an object that keeps its inputs and its error rates.

Null hypothesis: the model that answered is independent of the validator's secret draws. Then a probe hits with
probability at most p0 (exact, by construction of the draws; protocol, "Marks"), and where every row has a draw of its
own the number of hits is at most Poisson-binomial. Where m rows share one draw their probes are ONE event, and m
answers may hold several different guesses; the bound for that is proved at `Verdict.bound_hits`.

Rule kept: the zone is decided by the terms' two thresholds alone, exactly as the contract decides it; the p-value
explains the zone and never moves money.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.stats import binom, binomtest, poisson_binom


class Zone(StrEnum):
    """The three zones of the protocol's heading "Terms"."""

    PAID = "paid"
    REFUNDED = "refunded"
    SLASHED = "slashed"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How hits are judged: `hits >= k_pay` pays, `hits <= k_slash` slashes if `slashing`, between them doubt moves no
    reward.
    """

    n: int
    k_pay: int
    k_slash: int
    slashing: bool

    def zone(self, hits: int) -> Zone:
        if not 0 <= hits <= self.n:
            raise ValueError(f"{hits} hits of {self.n} probes")
        if hits >= self.k_pay:
            return Zone.PAID
        if self.slashing and hits <= self.k_slash:
            return Zone.SLASHED
        return Zone.REFUNDED

    def pay_probability(self, hit_rate: float) -> float:
        """P(paid) for a miner whose probes hit independently with probability `hit_rate`."""
        return float(binom.sf(self.k_pay - 1, self.n, hit_rate))

    def slash_probability(self, hit_rate: float) -> float:
        """P(slashed) for a miner whose probes hit independently with probability `hit_rate`."""
        return float(binom.cdf(self.k_slash, self.n, hit_rate)) if self.slashing else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judged transcript.

    `p0` holds the upper bound on the hit probability of each probe under the null hypothesis. `probes_per_draw` is 1
    where every probe has a draw of its own, n where all share one, m where each m of them do (the last may be fewer).
    """

    thresholds: Thresholds
    hits: int
    p0: tuple[float, ...]
    probes_per_draw: int

    def __post_init__(self) -> None:
        if len(self.p0) != self.thresholds.n:
            raise ValueError(f"{len(self.p0)} null probabilities for {self.thresholds.n} probes")
        if not 1 <= self.probes_per_draw <= self.thresholds.n:
            raise ValueError(f"{self.probes_per_draw} of {self.thresholds.n} probes cannot share a draw")

    @property
    def zone(self) -> Zone:
        return self.thresholds.zone(self.hits)

    @property
    def p_value(self) -> float:
        """Upper bound on P(at least this many hits | null hypothesis)."""
        return self.bound_hits(self.hits)

    @property
    def tail(self) -> float:
        """P(X >= hits) for independent probes; a p-value only if `probes_per_draw` is 1 (paper.md, item 4)."""
        return self._tail(self.hits)

    def bound_hits(self, hits: int) -> float:
        """Upper bound on P(at least so many hits | null hypothesis), attained for m = 1 and m = n.

        A model that is independent of the draws may be taken as a fixed list of answers. Among the m answers to the
        probes of one draw at most floor(m / x) different ones stand x times or more, and the draw is any one of them
        with probability at most p0: P(x or more hits of this draw) <= min(1, floor(m / x) p0), whatever the answers.
        A variable with exactly this survival function is stochastically above the hits of the draw; draws are
        independent, so the sum of such variables is above all hits. Its mass function is convolved directly (all terms
        are positive, nothing is lost in the tail). Markov's inequality, E[hits] / hits, holds besides.
        """
        if hits == 0 or self.probes_per_draw == 1:
            return self._tail(hits)
        p0, mass = max(self.p0), np.ones(1)
        for size in group_sizes(self.thresholds.n, self.probes_per_draw):
            survival = np.array([1.0, *(min(1.0, size // x * p0) for x in range(1, size + 1)), 0.0])
            mass = np.convolve(mass, survival[:-1] - survival[1:])
        return min(1.0, float(np.sum(mass[hits:])), sum(self.p0) / hits)

    def _tail(self, hits: int) -> float:
        if len(set(self.p0)) == 1:
            return float(binomtest(hits, self.thresholds.n, self.p0[0], alternative="greater").pvalue)
        # Summed from the mass function: 1 - cdf would lose everything under 1e-16.
        return float(np.sum(poisson_binom.pmf(np.arange(hits, self.thresholds.n + 1), list(self.p0))))

    def hit_rate_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval for the model's true hit rate on such probes."""
        interval = binomtest(self.hits, self.thresholds.n).proportion_ci(confidence_level=confidence, method="exact")
        return float(interval.low), float(interval.high)

    @property
    def false_pay_bound(self) -> float:
        """Type-1 error: P(paid | null hypothesis), the size of this test."""
        return self.bound_hits(self.thresholds.k_pay)

    def __str__(self) -> str:
        low, high = self.hit_rate_interval()
        return (
            f"{self.zone}: {self.hits} of {self.thresholds.n} probes hit (pay at {self.thresholds.k_pay}, slash at "
            f"{self.thresholds.k_slash}), p = {self.p_value:.3g}, hit rate {low:.2f} to {high:.2f} (95%)"
        )


def group_sizes(n: int, probes_per_draw: int) -> list[int]:
    """How n probes fall into groups that share a draw, the largest first."""
    whole, rest = divmod(n, probes_per_draw)
    return [probes_per_draw] * whole + ([rest] if rest else [])


def count_hits(head_hashes: Sequence[bytes], reply_hashes: Sequence[bytes]) -> int:
    """Replies that are hits: `replyHash == headHash`, pair by pair."""
    return sum(head == reply for head, reply in zip(head_hashes, reply_hashes, strict=True))
