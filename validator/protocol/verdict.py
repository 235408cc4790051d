"""The hypothesis test: what n replies say about a model, as an object that keeps its inputs and its error rates.

Null hypothesis: the model that answered is independent of the validator's secret draws. Then a probe hits with
probability at most p0 (exact, by construction of the draws; protocol, "Marks"), and where every row has a draw of its
own the number of hits is at most Poisson-binomial. Where all rows share one signature the probes are ONE event:
n answers can hold at most n / hits different guesses that hit so often, so floor(n / hits) p0 bounds the p-value.

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

    `p0` holds the upper bound on the hit probability of each probe under the null hypothesis; `is_one_event` says that
    all probes share one signature.
    """

    thresholds: Thresholds
    hits: int
    p0: tuple[float, ...]
    is_one_event: bool

    def __post_init__(self) -> None:
        if len(self.p0) != self.thresholds.n:
            raise ValueError(f"{len(self.p0)} null probabilities for {self.thresholds.n} probes")

    @property
    def zone(self) -> Zone:
        return self.thresholds.zone(self.hits)

    @property
    def p_value(self) -> float:
        """Upper bound on P(at least this many hits | null hypothesis)."""
        if self.is_one_event:
            # n answers that know nothing of the signature hold at most n / hits guesses that occur so often.
            return min(1.0, self.thresholds.n // self.hits * max(self.p0)) if self.hits else 1.0
        return self.tail

    @property
    def tail(self) -> float:
        """P(X >= hits) for independent probes; a p-value only if `is_one_event` is false (paper.md, item 4)."""
        if len(set(self.p0)) == 1:
            return float(binomtest(self.hits, self.thresholds.n, self.p0[0], alternative="greater").pvalue)
        # Summed from the mass function: 1 - cdf would lose everything under 1e-16.
        return float(np.sum(poisson_binom.pmf(np.arange(self.hits, self.thresholds.n + 1), list(self.p0))))

    def hit_rate_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval for the model's true hit rate on such probes."""
        interval = binomtest(self.hits, self.thresholds.n).proportion_ci(confidence_level=confidence, method="exact")
        return float(interval.low), float(interval.high)

    @property
    def false_pay_bound(self) -> float:
        """Type-1 error: P(paid | null hypothesis), the size of this test."""
        if self.is_one_event:
            return max(self.p0)
        return self.thresholds.pay_probability(max(self.p0))

    def __str__(self) -> str:
        low, high = self.hit_rate_interval()
        return (
            f"{self.zone}: {self.hits} of {self.thresholds.n} probes hit (pay at {self.thresholds.k_pay}, slash at "
            f"{self.thresholds.k_slash}), p = {self.p_value:.3g}, hit rate {low:.2f} to {high:.2f} (95%)"
        )


def count_hits(head_hashes: Sequence[bytes], reply_hashes: Sequence[bytes]) -> int:
    """Replies that are hits: `replyHash == headHash`, pair by pair."""
    return sum(head == reply for head, reply in zip(head_hashes, reply_hashes, strict=True))
