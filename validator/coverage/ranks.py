"""From changes in log-likelihood to ranks: where the drawn word stands among its k candidates.

Null hypothesis: the returned model is independent of the picks. Then whatever the scores are, the rank of a uniform
pick among k is uniform on 0..k-1, provided that ties are decided without looking at the pick.

Rule kept: a tie is broken by keys of a stated seed, never by position, which may know what a base model finds
plausible; and counting ties as losses would move the null distribution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from validator.errors import BadInput

Histogram = tuple[int, ...]
"""How many rows have rank 0, 1, ..., k-1."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The rank of each mark in the order of the marks, 0 = the largest change; None where it was not scored."""

    ranks: tuple[int | None, ...]
    options: tuple[int, ...]
    """The k of each mark."""

    @property
    def dropped(self) -> int:
        return self.ranks.count(None)

    @property
    def histograms(self) -> Mapping[int, Histogram]:
        """By k; everything that is said of a whole dataset is a function of these counts."""
        counts = {k: [0] * k for k in sorted(set(self.options))}
        for rank, k in zip(self.ranks, self.options, strict=True):
            if rank is not None:
                counts[k][rank] += 1
        return {k: tuple(histogram) for k, histogram in counts.items() if any(histogram)}

    def histogram_of(self, marks: Sequence[int]) -> Histogram:
        """Of the marks at these indices; BadInput unless all marks have one k."""
        if len(set(self.options)) != 1:
            raise BadInput("marks with different numbers of candidates have no common histogram")
        counts = [0] * self.options[0]
        for mark in marks:
            if (rank := self.ranks[mark]) is not None:
                counts[rank] += 1
        return tuple(counts)


def rank_picks(
    changes: Sequence[Sequence[float] | None], options: Sequence[int], picks: Sequence[int], seed: int
) -> Ranks:
    """Ranks of the picks among the changes of all candidates of their marks, ties broken by the seed's uniform keys.

    `options` names the k of each mark, also of those without changes. A change that is no number (a returned model may
    overflow) counts as the smallest, whichever candidate has it.
    """
    for scores, k in zip(changes, options, strict=True):
        if scores is not None and len(scores) != k:
            raise ValueError(f"{len(scores)} changes for {k} candidates")
    generator = np.random.default_rng(seed)
    ranks: list[int | None] = [None] * len(changes)
    for k in sorted(set(options)):
        marks = [mark for mark, count in enumerate(options) if count == k]
        # Keys are drawn for unscored marks too, so that whether one is scored moves no other's.
        keys = generator.random((len(marks), k))
        table = np.array([changes[mark] or (0.0,) * k for mark in marks], dtype=np.float64)
        found = _rank(table, keys, np.array([picks[mark] for mark in marks]))
        for mark, rank in zip(marks, found.tolist(), strict=True):
            ranks[mark] = None if changes[mark] is None else rank
    return Ranks(tuple(ranks), tuple(options))


def _rank(scores: NDArray[np.float64], keys: NDArray[np.float64], picks: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the number of columns ahead of the picked one."""
    lines = np.arange(len(picks))
    ordered = np.where(np.isnan(scores), -np.inf, scores)
    score, key = ordered[lines, picks, None], keys[lines, picks, None]
    return np.asarray(((ordered > score) | ((ordered == score) & (keys < key))).sum(axis=1))
