"""The planned bound beside the one that the product computes, and what must hold of any such bound."""

from dataclasses import replace
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tests.unit.coverage.simulated import World, whole
from validator.coverage.share import ShareModel
from validator.errors import BadInput
from validator.plan.coverage_power import CoverageTest

TEST = CoverageTest(
    marks=1000,
    candidates=8,
    top_rank=0.8,
    run_spread=0.02,
    reference_runs=5,
    reference_marks=1000,
    min_coverage=0.85,
)
KNOWN = replace(TEST, run_spread=0.0, reference_marks=10**12)
"""Runs are alike, and known: only the marks are random."""


@pytest.mark.parametrize(("share", "demand"), [(0.75, 0.85), (0.9, 0.85), (1.0, 0.85), (0.8, 0.85), (0.9, 0.75)])
def test_the_products_own_bound_tells_no_less_than_the_planned_one(share, demand):
    """Simulated calibrations and miners, whole histograms, `low_bps` as a committee signs it.

    Within six points, and 99% of chance: the product estimates the spread between runs, which the plan is told.
    """
    dice, world, rounds = np.random.default_rng(7), World(strength=0.8, tau=0.02, gain=0.0), 60
    reached = sum(
        ShareModel(world.reference(dice)).estimate(whole(world.run(share, 1000, dice))).low_bps >= 10_000 * demand
        for _ in range(rounds)
    )
    planned = replace(TEST, min_coverage=demand).pass_probability(share, 0.8)
    band = 0.06 + 2.6 * sqrt(planned * (1 - planned) / rounds)
    if share > demand:
        assert reached / rounds >= planned - band
    else:
        assert reached / rounds <= planned + band


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 1.0])
def test_with_a_known_reference_passing_is_a_binomial_tail(share):
    rate = 1 / 8 + share * (0.8 - 1 / 8)
    exact = binom.sf(KNOWN.top_needed - 1, 1000, rate)
    assert KNOWN.pass_probability(share, 0.8) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("test", [TEST, KNOWN, replace(TEST, marks=100), replace(TEST, reference_runs=2)])
def test_the_bound_is_over_the_truth_about_as_often_as_it_says(test, share):
    """5%: it leans on a normal limit, as the product's does, so a skewed count of few marks takes up to 7%."""
    assert replace(test, min_coverage=share).pass_probability(share, 0.8) <= 0.07


tests = st.builds(
    CoverageTest,
    marks=st.integers(2, 20_000),
    candidates=st.integers(2, 16),
    top_rank=st.floats(0.51, 1),
    run_spread=st.floats(0, 0.1),
    reference_runs=st.integers(2, 50),
    reference_marks=st.integers(2, 10_000),
    min_coverage=st.floats(0, 1),
)


@given(tests, st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_more_training_reaches_a_demand_no_less_often(test, shares):
    passing = [test.pass_probability(share, test.top_rank) for share in sorted(shares)]
    assert all(less <= more + 1e-12 for less, more in pairwise(passing))
    assert all(0 <= probability <= 1 for probability in passing)


@given(tests)
def test_no_demand_asks_for_nothing(test):
    assert replace(test, min_coverage=0.0).pass_probability(0.0, test.top_rank) == pytest.approx(1)


@pytest.mark.parametrize(
    ("easier", "harder"),
    [
        (TEST, replace(TEST, min_coverage=0.9)),
        (TEST, replace(TEST, marks=200)),
        (TEST, replace(TEST, run_spread=0.05)),
        (TEST, replace(TEST, reference_runs=2)),
        (replace(TEST, reference_marks=10_000), replace(TEST, reference_marks=100)),
    ],
)
def test_what_makes_a_demand_harder_for_honest_miners(easier, harder):
    assert easier.pass_probability(1.0, 0.8) > harder.pass_probability(1.0, 0.8)


def test_fewer_epochs_show_as_less_coverage():
    assert TEST.pass_probability(1.0, 0.5) < 1e-6 < 0.9 < TEST.pass_probability(1.0, 0.8)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"marks": 1}, "2 marks or more"),
        ({"candidates": 1}, "at least 2 candidates"),
        ({"top_rank": 0.125}, "what chance gives too"),
        ({"reference_runs": 1}, "2 calibration runs"),
        ({"reference_marks": 1}, "2 marks or more"),
        ({"min_coverage": 1.5}, "0 to 1"),
        ({"run_spread": 1.0}, "0 to 1"),
    ],
)
def test_a_coverage_test_that_makes_no_sense(changes, reason):
    with pytest.raises(BadInput, match=reason):
        replace(TEST, **changes)
