"""What a returned model says about coverage, as an object that keeps its inputs.

Null hypothesis: the returned model is independent of the picks (it never saw the rows that it was paid to train on).

Rule kept: everything here is a function of the rank histograms and the reference, so whoever has both recomputes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from validator.coverage.null import combine_log10_p, rank_sum_log10_p, top_rank_log10_p
from validator.coverage.ranks import Histogram, Ranks, rank_picks
from validator.coverage.reference import Reference
from validator.coverage.share import EpochView, ShareEstimate, ShareModel, view_epochs
from validator.errors import BadInput


@dataclass(frozen=True, slots=True)
class TrainedShare:
    """What only a reference can tell; `by_rank` is P(a row was trained on | its rank), by rank, at the estimate."""

    reference_id: str
    estimate: ShareEstimate
    epochs: EpochView
    by_rank: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CoverageResult:
    """One judged model; p-values are exact, as log10, since they may be far below what a float holds."""

    histograms: dict[int, Histogram]
    """How many rows have each rank, by the number k of candidates; rank 0 is the largest change."""
    seed: int
    """Of the keys that break ties."""
    dropped: int
    """Marks that the training window cuts off."""
    rank_sum_log10_p: float
    top_rank_log10_p: float
    trained: TrainedShare | None
    """None without a reference, or where nothing was scored."""

    @property
    def rows(self) -> int:
        """Scored marks, one for each row."""
        return sum(map(sum, self.histograms.values()))

    @property
    def top_ranks(self) -> int:
        return sum(histogram[0] for histogram in self.histograms.values())

    @property
    def log10_p(self) -> float:
        """Of both tests together: twice the smaller p."""
        return combine_log10_p(self.rank_sum_log10_p, self.top_rank_log10_p)

    @property
    def low_bps(self) -> int:
        """One-sided 95% lower bound of the trained share in hundredths of a per cent; 0 where there is no estimate."""
        return self.trained.estimate.low_bps if self.trained else 0

    def to_json(self) -> bytes:
        return _ADAPTER.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> "CoverageResult":
        """Raises `BadInput` on anything but a result whose parts agree."""
        try:
            return _ADAPTER.validate_json(data)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise BadInput(f"no coverage result: {problem['msg']} at {problem['loc']}") from None

    def __str__(self) -> str:
        share = f"; trained on {self.trained.estimate}" if self.trained else ""
        return f"coverage: {self.top_ranks} of {self.rows} drawn words rank first, log10 p = {self.log10_p:.1f}{share}"


_ADAPTER = TypeAdapter(CoverageResult)


def judge_coverage(
    changes: Sequence[Sequence[float] | None],
    options: Sequence[int],
    picks: Sequence[int],
    *,
    seed: int,
    reference: Reference | None = None,
) -> CoverageResult:
    """Rank the picks by the changes in log-likelihood of all candidates of each mark, and judge the ranks.

    `options` and `picks` are k and the drawn candidate of each mark. Raises `BadInput` for a reference that does not
    fit.
    """
    return judge_ranks(rank_picks(changes, options, picks, seed), seed=seed, reference=reference)


def judge_ranks(ranks: Ranks, *, seed: int, reference: Reference | None = None) -> CoverageResult:
    """As `judge_coverage`, of ranks that are there already."""
    return judge_histograms(ranks.histograms, seed=seed, dropped=ranks.dropped, reference=reference)


def judge_histograms(
    histograms: Mapping[int, Histogram], *, seed: int, dropped: int, reference: Reference | None = None
) -> CoverageResult:
    """What an auditor recomputes."""
    return CoverageResult(
        histograms=dict(histograms),
        seed=seed,
        dropped=dropped,
        rank_sum_log10_p=rank_sum_log10_p(histograms),
        top_rank_log10_p=top_rank_log10_p(histograms),
        trained=_judge_share(histograms, reference) if reference and histograms else None,
    )


def _judge_share(histograms: Mapping[int, Histogram], reference: Reference) -> TrainedShare:
    if set(histograms) != {reference.k}:
        raise BadInput(f"marks with {sorted(histograms)} candidates and a reference of {reference.k} do not fit")
    (histogram,) = histograms.values()
    model = ShareModel(reference)
    estimate = model.estimate(histogram)
    epochs = view_epochs(model, reference, histogram)
    return TrainedShare(reference.id, estimate, epochs, model.posterior(estimate.share))
