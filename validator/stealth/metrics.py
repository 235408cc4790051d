"""How well a detector does, at both of its ends: recall among the first 2n rows, AUC, data to keep to hold marks.

`Ranking` keeps what every figure follows from, so that campaigns can add them up (validator/stealth/summary.py).
Rows with equal scores stand in an order drawn from a stated seed, so that no figure depends on the order of the file.
"""

import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from scipy.stats import binomtest, norm, rankdata

End = Literal["most", "least"]
ENDS: tuple[End, End] = ("most", "least")
"""Rows are kept from the most suspicious one downwards, or from the least suspicious one upwards."""
_CONFIDENCE = 0.95
Interval = tuple[float, float]


def order_rows(scores: Sequence[float], *, seed: int) -> list[int]:
    """Indices of the rows, the most suspicious first: what a cheat trains on, or leaves out, is a part of it."""
    keys = random.Random(seed)
    drawn = [keys.random() for _ in scores]
    return sorted(range(len(scores)), key=lambda index: (-scores[index], drawn[index]))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where the marks stand in a detector's order of the rows: `places` ascend from 1, the most suspicious."""

    rows: int
    places: tuple[int, ...]
    auc: float
    auc_variance: float

    @property
    def marks(self) -> int:
        return len(self.places)

    @property
    def chance(self) -> float:
        """Recall at 2n of an order that knows nothing."""
        return min(1.0, 2 * self.marks / self.rows)

    def places_from(self, end: End) -> list[int]:
        """Ascending places counted from one end of the order."""
        return list(self.places) if end == "most" else [self.rows + 1 - place for place in reversed(self.places)]

    def hits(self, end: End) -> int:
        """Marks among the first 2n rows from this end."""
        return sum(place <= 2 * self.marks for place in self.places_from(end))

    def share_kept(self, held: float, end: End) -> float:
        """Share of the data that must be kept, from this end, to hold the share `held` of the marks."""
        return self.places_from(end)[math.ceil(held * self.marks) - 1] / self.rows

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """The ranking of which `as_json` gave this, whatever else is in it."""
        return cls(body["rows"], tuple(body["places"]), body["auc"], body["auc_variance"])

    def as_json(self) -> dict[str, Any]:
        """Everything, and the figures that are looked at."""
        figures = {
            end: {
                "recall_at_2n": self.hits(end) / self.marks,
                "recall_interval": exact_interval(self.hits(end), self.marks),
                "kept_for_half": self.share_kept(0.5, end),
                "kept_for_three_quarters": self.share_kept(0.75, end),
            }
            for end in ENDS
        }
        return (
            asdict(self) | {"chance": self.chance, "auc_interval": auc_interval(self.auc, self.auc_variance)} | figures
        )


def rank_marks(scores: Sequence[float], marked: Collection[int], *, seed: int) -> Ranking:
    """Measure a detector's scores; `marked` are the indices of marked rows, at least one and not all.

    Raises ValueError for a score that is no number: it would stand anywhere.
    """
    if any(math.isnan(score) for score in scores):
        raise ValueError("a detector gave a row no number")
    chosen = set(marked)
    places = [place for place, index in enumerate(order_rows(scores, seed=seed), start=1) if index in chosen]
    auc, variance = compute_auc(
        [score for index, score in enumerate(scores) if index in chosen],
        [score for index, score in enumerate(scores) if index not in chosen],
    )
    return Ranking(len(scores), tuple(places), auc, variance)


def compute_auc(marked: Sequence[float], unmarked: Sequence[float]) -> tuple[float, float]:
    """Share of (marked, unmarked) pairs in which the marked one is greater, ties counting half, and its variance.

    The variance is that of DeLong, DeLong and Clarke-Pearson (1988), by midranks (Sun and Xu, 2014); where the sample
    shows none, that of Hanley and McNeil (1982) at half a mark from the end.
    """
    m, n = len(marked), len(unmarked)
    together = rankdata(np.concatenate([marked, unmarked]))
    above = (together[:m] - rankdata(marked)) / n
    below = 1.0 - (together[m:] - rankdata(unmarked)) / m
    auc = float(above.mean())
    spread = sum(float(np.var(part, ddof=1)) / len(part) if len(part) > 1 else 0.25 for part in (above, below))
    return auc, spread or _hanley_mcneil(1 - 0.5 / min(m, n), m, n)


def _hanley_mcneil(auc: float, m: int, n: int) -> float:
    two_marked, two_unmarked = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    pairs = auc * (1 - auc) + (m - 1) * (two_marked - auc**2) + (n - 1) * (two_unmarked - auc**2)
    return pairs / (m * n)


def auc_interval(auc: float, variance: float, confidence: float = _CONFIDENCE) -> Interval:
    """Two-sided normal, cut to [0, 1]."""
    half = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return max(0.0, auc - half), min(1.0, auc + half)


def exact_interval(hits: int, trials: int, confidence: float = _CONFIDENCE) -> Interval:
    """Clopper and Pearson's, two-sided; wider than need be, since marks are drawn without replacement."""
    found = binomtest(hits, trials).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)
