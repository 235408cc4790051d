"""Rankings added up, and what "no detector" may be said of."""

import random
from itertools import combinations

import pytest

from validator.stealth.metrics import Ranking, rank_marks
from validator.stealth.summary import find_breaches, pool, pool_all


def by_chance(dice: random.Random, rows: int = 300, marks: int = 16) -> Ranking:
    return rank_marks([dice.random() for _ in range(rows)], dice.sample(range(rows), marks), seed=0)


def test_the_p_value_of_pooled_hits_is_exact():
    """Against every way to choose the marks of two small tasks."""
    rankings = [Ranking(6, (1, 2), 1.0, 0.01), Ranking(5, (1, 5), 0.5, 0.01)]
    hits = [[sum(place <= 4 for place in chosen) for chosen in combinations(range(1, n + 1), 2)] for n in (6, 5)]
    sums = [a + b for a in hits[0] for b in hits[1]]
    found = pool("any", rankings, "most")
    assert found.hits == 3
    assert found.p_value == pytest.approx(sum(one >= 3 for one in sums) / len(sums))
    assert pool("any", rankings, "least").hits == 1


def test_what_is_pooled_counts_every_mark_once():
    found = pool("any", [Ranking(100, (1, 50), 0.7, 0.01), Ranking(10, (5,), 0.5, 0.03)], "most")
    assert (found.tasks, found.marks, found.recall) == (2, 3, pytest.approx(1 / 3))
    assert found.auc == pytest.approx(0.6)
    assert (found.kept_for_half, found.kept_for_three_quarters) == (0.5, 0.5)
    assert found.kept_for_half_interval[0] <= 0.5 <= found.kept_for_half_interval[1]


def test_detectors_that_know_nothing_break_no_bar_beyond_chance():
    """Twenty of them, both ends, fifteen campaigns: a significant breach in less than one is the size of the test."""
    dice = random.Random(1)
    alarms = 0
    for _ in range(15):
        pooled = pool_all({f"{number}": [by_chance(dice) for _ in range(2)] for number in range(20)})
        alarms += any(is_significant for _, is_significant in find_breaches(pooled, by_auc=False))
    assert alarms <= 3


@pytest.mark.parametrize("by_auc", [False, True])
@pytest.mark.parametrize("end", ["most", "least"])
def test_a_detector_that_finds_marks_at_either_end_is_named(by_auc, end):
    dice = random.Random(2)
    sign = 1 if end == "most" else -1
    good = [rank_marks([sign * (i < 16) + dice.random() / 2 for i in range(300)], range(16), seed=0) for _ in range(3)]
    pooled = pool_all({"chance": [by_chance(dice) for _ in range(3)], "good": good})
    breaches = find_breaches(pooled, by_auc=by_auc)
    assert ("good", end, True) in [(one.detector, one.end, significant) for one, significant in breaches]
    assert not any(significant for one, significant in breaches if one.detector == "chance")
