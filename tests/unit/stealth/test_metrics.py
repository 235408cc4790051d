"""Figures of detectors: both ends, ties, intervals, and what chance alone gives."""

import random

import pytest

from validator.stealth.metrics import (
    Ranking,
    auc_interval,
    compute_auc,
    exact_interval,
    order_rows,
    rank_marks,
)


def test_both_ends_of_an_order_are_measured():
    scores = [9.0, 1.0, 8.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 0.0]
    ranking = rank_marks(scores, {0, 9}, seed=0)
    assert (ranking.places, ranking.auc) == ((1, 10), 0.5)
    assert [ranking.hits(end) for end in ("most", "least")] == [1, 1]
    first, last = rank_marks(scores, {0, 2}, seed=0), rank_marks(scores, {1, 9}, seed=0)
    assert (first.hits("most"), first.hits("least"), first.share_kept(0.5, "most")) == (2, 0, 0.1)
    assert (last.hits("least"), last.share_kept(0.5, "least"), last.share_kept(1.0, "least")) == (2, 0.1, 0.2)
    assert (first.auc, last.auc) == (1.0, 0.0)
    assert first.chance == 0.4


def test_half_and_three_quarters_of_the_marks_are_counted_in_whole_marks():
    ranking = Ranking(100, (10, 20, 30, 40, 50), 0.5, 0.01)
    assert [ranking.share_kept(held, "most") for held in (0.5, 0.75, 1.0)] == [0.3, 0.4, 0.5]
    assert ranking.share_kept(0.5, "least") == 0.71


def test_equal_scores_are_ordered_by_the_seed_and_by_nothing_else():
    assert order_rows([0.0] * 50, seed=1) == order_rows([0.0] * 50, seed=1) != order_rows([0.0] * 50, seed=2)
    means = [sum(rank_marks([0.0] * 50, range(5), seed=seed).places) / 5 for seed in range(200)]
    assert sum(means) / len(means) == pytest.approx(25.5, abs=1.5)
    assert rank_marks([0.0] * 50, range(5), seed=1).auc == 0.5


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="no number"):
        rank_marks([1.0, float("nan"), 0.0], {0}, seed=0)


def test_a_ranking_is_what_its_json_says():
    ranking = rank_marks([3.0, 1.0, 2.0, 2.0], {0, 2}, seed=3)
    assert Ranking.from_json(ranking.as_json()) == ranking


def test_auc_counts_pairs_and_delong_gives_its_variance():
    """Against the definition, pair by pair; the variance against that of AUC over many samples."""
    dice = random.Random(0)

    def sample() -> tuple[list[float], list[float]]:
        return [dice.gauss(1, 1) for _ in range(16)], [dice.gauss(0, 1) for _ in range(100)]

    marked, unmarked = [1.0, 2.0, 2.0], [0.0, 1.0, 2.0, 3.0]
    pairs = [(a > b) + 0.5 * (a == b) for a in marked for b in unmarked]
    assert compute_auc(marked, unmarked)[0] == pytest.approx(sum(pairs) / len(pairs))
    found = [compute_auc(*sample()) for _ in range(400)]
    mean = sum(auc for auc, _ in found) / 400
    observed = sum((auc - mean) ** 2 for auc, _ in found) / 399
    assert sum(variance for _, variance in found) / 400 == pytest.approx(observed, rel=0.2)
    covered = sum(low <= mean <= high for low, high in (auc_interval(*one) for one in found))
    assert covered >= 0.9 * 400


def test_perfect_separation_is_not_taken_for_certainty():
    auc, variance = compute_auc([2.0] * 8 + [3.0] * 8, [0.0] * 100)
    low, high = auc_interval(auc, variance)
    assert auc == high == 1.0
    assert 0.9 < low < 0.99


def test_the_exact_interval_is_clopper_and_pearsons():
    assert exact_interval(0, 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    assert exact_interval(10, 10) == pytest.approx((0.025 ** (1 / 10), 1.0))


def test_an_order_that_knows_nothing_finds_what_chance_finds():
    dice = random.Random(5)
    rankings = [
        rank_marks([dice.random() for _ in range(200)], dice.sample(range(200), 10), seed=0) for _ in range(300)
    ]
    assert sum(ranking.hits("most") for ranking in rankings) / 3000 == pytest.approx(0.1, abs=0.02)
    assert sum(ranking.share_kept(0.5, "least") for ranking in rankings) / 300 == pytest.approx(0.455, abs=0.03)
