"""From scores to ranks: uniform whatever the scores are, if they know nothing of the picks."""

from collections import Counter
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from validator.coverage.ranks import Ranks, rank_picks
from validator.errors import BadInput

SCORES = st.floats(-5, 5) | st.sampled_from([0.0, 1.0, inf, -inf, nan])


def test_rank_is_the_number_of_larger_changes():
    changes = [(0.1, 0.5, -2.0), None, (3.0, 1.0)]
    ranks = rank_picks(changes, [3, 3, 2], [2, 0, 0], seed=1)
    assert ranks.ranks == (2, None, 0)
    assert ranks.dropped == 1
    assert ranks.histograms == {2: (1, 0), 3: (0, 0, 1)}


@given(st.lists(SCORES, min_size=1, max_size=9), st.integers(0, 2**32))
def test_every_rank_belongs_to_exactly_one_pick(scores, seed):
    """So a uniform pick has a uniform rank, with ties, infinities and NaN too: exact, without any simulation."""
    k = len(scores)
    found = [rank_picks([tuple(scores)], [k], [pick], seed).ranks[0] for pick in range(k)]
    assert sorted(found) == list(range(k))


def test_a_change_that_is_no_number_is_the_smallest():
    assert rank_picks([(nan, 1.0, -3.0)], [3], [0], seed=1).ranks == (2,)


@pytest.mark.parametrize("pick", [0, 3, 7])
def test_ties_are_broken_uniformly_wherever_the_pick_stands(pick):
    rows = 4000
    ranks = rank_picks([(0.0,) * 8] * rows, [8] * rows, [pick] * rows, seed=5)
    counts = Counter(ranks.ranks)
    assert chisquare([counts[rank] for rank in range(8)]).pvalue > 1e-4


def test_the_seed_alone_decides_ties_and_a_dropped_mark_moves_none():
    changes = [(0.0,) * 8] * 50
    first = rank_picks(changes, [8] * 50, [3] * 50, seed=1)
    assert first == rank_picks(changes, [8] * 50, [3] * 50, seed=1)
    assert first != rank_picks(changes, [8] * 50, [3] * 50, seed=2)
    dropped = rank_picks([None, *changes[1:]], [8] * 50, [3] * 50, seed=1)
    assert dropped.ranks[1:] == first.ranks[1:]


def test_a_histogram_of_some_marks_counts_those_alone():
    ranks = Ranks((0, 1, None, 1), (2, 2, 2, 2))
    assert ranks.histogram_of([1, 2, 3]) == (0, 2)
    assert ranks.histogram_of([]) == (0, 0)
    with pytest.raises(BadInput, match="different numbers of candidates"):
        Ranks((0, 1), (2, 3)).histogram_of([0])


def test_scores_for_another_number_of_candidates_are_a_mistake():
    with pytest.raises(ValueError, match="2 changes for 3 candidates"):
        rank_picks([(1.0, 2.0)], [3], [0], seed=1)
