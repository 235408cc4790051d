"""What a test can tell apart: from what a model was trained on to the chance that it is paid, or in the slash zone.

Rule kept: no probability here is sampled or approximated. Hits are a mixture over the marks that the trained rows hold
(`subset.py`), tails are summed from the mass function, and what is assumed is an argument with a name.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np

from validator.errors import BadInput
from validator.plan.coverage_power import CoverageTest
from validator.plan.subset import Probabilities, binomial_masses, hits_given_held, marks_held, sum_tail
from validator.protocol.verdict import Thresholds, Verdict, group_sizes


@dataclass(frozen=True, slots=True)
class Effort:
    """What a model was trained on, and how well: shares of 1, and rates as probabilities.

    `mark_share` is the share of the probed marks among the trained rows, `row_share` unless a detector chose the rows.
    `activation` is P(hit) of a mark that was trained on, `top_rank` P(rank 0) of a coverage mark in a trained row.
    """

    row_share: float
    mark_share: float
    activation: float
    top_rank: float = 0.0

    def partly(self, share: float) -> "Effort":
        """The same on a random share of the rows."""
        return replace(self, row_share=share, mark_share=share)


NO_TRAINING = Effort(row_share=0.0, mark_share=0.0, activation=0.0)


@dataclass(frozen=True, slots=True)
class Odds:
    """Probabilities of one strategy: to be paid, and to have so few hits that signing them is a slash."""

    paid: float
    slash_zone: float


class HitModel(Hashable, Protocol):
    """How many of n probes a model hits that was trained on a share of the marks."""

    @property
    def base_rate(self) -> float:
        """P(hit) of one mark that was not trained on."""

    def hits(self, n: int, mark_share: float, activation: float) -> Probabilities:
        """P(0 hits), ..., P(n hits)."""

    def bound_pay(self, thresholds: Thresholds) -> float:
        """P(paid | null hypothesis) for the worst model that is independent of the draws."""


@dataclass(frozen=True, slots=True)
class IndependentMarks:
    """`canary`: every mark is learnt or not on its own, and the trained rows hold a hypergeometric number of them.

    Measured in 13 of 13 partial runs of the embedded model: hits were the canaries that it had seen.
    """

    rows: int
    base_rate: float

    def hits(self, n: int, mark_share: float, activation: float) -> Probabilities:
        held = marks_held(self.rows, n, round(mark_share * self.rows))
        mass: Probabilities = held @ hits_given_held(n, activation, self.base_rate)
        return mass

    def bound_pay(self, thresholds: Thresholds) -> float:
        return thresholds.pay_probability(self.base_rate)


@dataclass(frozen=True, slots=True)
class RulePoint:
    """At this share of the marks a shared pair is learnt with probability `learnt`, and then hits with a rate that is
    `relative_activation` times that of an honest miner.
    """

    share: float
    learnt: float
    relative_activation: float


MEASURED_RULE = (
    RulePoint(0.10, 0.0, 0.0),
    RulePoint(0.25, 2 / 3, 0.45),
    RulePoint(0.50, 2 / 3, 0.85),
    RulePoint(0.75, 1.0, 0.93),
)
"""The paper's pair on the embedded model: 500 rows, ten marks, four epochs; three seeds a point, which is little."""


@dataclass(frozen=True, slots=True)
class SharedRule:
    """`backdoor`: one pair for all marks, learnt as a rule or not at all, so hits do not count the trained marks.

    All its probes are hit by chance in one event of probability `base_rate`, whatever was learnt. Between `points` the
    rule is interpolated linearly; it is never learnt from nothing and always from everything. Several pairs (`groups`)
    are several rules, taken as learnt independently, which nobody has measured.
    """

    base_rate: float
    points: tuple[RulePoint, ...] = MEASURED_RULE
    groups: int = 1

    def __post_init__(self) -> None:
        for one, next_one in pairwise(self._all_points):
            if next_one.share <= one.share:
                raise BadInput("the points of a rule stand in ascending order of their shares, between 0 and 1")
            if next_one.learnt < one.learnt or next_one.relative_activation < one.relative_activation:
                raise BadInput(f"a rule is learnt no worse from more rows: it falls at {next_one.share:g}")

    @property
    def _all_points(self) -> tuple[RulePoint, ...]:
        return (RulePoint(0.0, 0.0, 0.0), *self.points, RulePoint(1.0, 1.0, 1.0))

    def hits(self, n: int, mark_share: float, activation: float) -> Probabilities:
        points = self._all_points
        shares = [point.share for point in points]
        learnt = float(np.interp(mark_share, shares, [point.learnt for point in points]))
        relative = float(np.interp(mark_share, shares, [point.relative_activation for point in points]))
        rates, total = binomial_masses(n, activation * relative), np.ones(1)
        for size in group_sizes(n, -(-n // self.groups)):
            mass = learnt * rates[size, : size + 1]
            mass[0] += 1 - learnt
            mass *= 1 - self.base_rate
            mass[size] += self.base_rate
            total = np.convolve(total, mass)
        return total

    def bound_pay(self, thresholds: Thresholds) -> float:
        """A fixed list of answers may name several signatures: the verdict's bound, not the `hits` of one guess."""
        n = thresholds.n
        return Verdict(thresholds, 0, (self.base_rate,) * n, -(-n // self.groups)).false_pay_bound


@dataclass(frozen=True, slots=True)
class Power:
    """A whole test: hits against thresholds, of replies or of `judged` weights, and the coverage that those must show.

    Probed marks and coverage marks are taken as independent given the trained share, since neither choice of rows looks
    at the other.
    """

    hit_model: HitModel
    thresholds: Thresholds
    are_weights_judged: bool = False
    coverage: CoverageTest | None = None
    """Demanded, so None unless weights are judged."""

    def odds(self, effort: Effort, *, is_looked_up: bool = False) -> Odds:
        """With `is_looked_up` the replies come from the data, all of them hits, and only judged weights can tell.

        Nobody looks at other weights before the reward is paid.
        """
        if is_looked_up and not self.are_weights_judged:
            return Odds(paid=1.0, slash_zone=0.0)
        mass = _hits(self.hit_model, self.thresholds.n, effort.mark_share, effort.activation)
        paid = sum_tail(mass, self.thresholds.k_pay)
        if self.coverage is not None:
            paid *= self.coverage.pass_probability(effort.row_share, effort.top_rank)
        is_safe = is_looked_up or not self.thresholds.slashing
        return Odds(paid, 0.0 if is_safe else float(mass[: self.thresholds.k_slash + 1].sum()))

    @property
    def null_pay(self) -> float:
        """P(paid | null hypothesis), at most: the size of the test."""
        bound = self.hit_model.bound_pay(self.thresholds)
        return bound if self.coverage is None else bound * self.coverage.pass_probability(0.0, 0.0)


@lru_cache(maxsize=4096)
def _hits(model: HitModel, n: int, mark_share: float, activation: float) -> Probabilities:
    """Thresholds are looked for one by one, over the same hits."""
    mass = model.hits(n, mark_share, activation)
    mass.flags.writeable = False
    return mass
