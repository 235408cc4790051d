"""What a test tells apart, against the protocol's table, measured miners, brute force and what must be monotone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.errors import BadInput
from validator.plan.coverage_power import CoverageTest
from validator.plan.power import MEASURED_RULE, NO_TRAINING, Effort, IndependentMarks, Power, RulePoint, SharedRule
from validator.plan.terms import choose_thresholds
from validator.protocol.verdict import Thresholds, Verdict

HONEST = Effort(row_share=1.0, mark_share=1.0, activation=0.9, top_rank=0.85)
MANY = 2**24
"""Rows enough for the hypergeometric to be the binomial of the protocol's table."""
COVERAGE = CoverageTest(1000, 8, 0.85, 0.02, 5, 1000, 0.8)

shares = st.floats(0, 1)
thresholds = st.integers(16, 64).flatmap(
    lambda n: st.builds(
        Thresholds, st.just(n), st.integers(-(-2 * n // 3), n), st.integers(0, n // 8), slashing=st.just(True)
    )
)


@pytest.mark.parametrize(
    ("n", "share", "printed", "digit"),
    [
        (64, 1.0, 0.9999, 1e-4),
        (32, 1.0, 0.9967, 1e-4),
        (16, 1.0, 0.983, 1e-3),
        (64, 0.5, 4e-5, 1e-5),
        (32, 0.5, 0.0035, 1e-4),
        (16, 0.5, 0.038, 1e-3),
        (64, 0.7, 0.23, 0.01),
        (32, 0.7, 0.34, 0.01),
        (16, 0.7, 0.45, 0.01),
        (64, 0.8, 0.87, 0.01),
    ],
)
def test_independent_marks_give_the_protocols_table(n, share, printed, digit):
    """Protocol, "Defaults": an honest activation of .9; whoever trained on a part activates on all that it saw."""
    activation = 0.9 if share == 1 else 1.0
    power = Power(IndependentMarks(MANY, 0.0), choose_thresholds(n, slashing=True))
    effort = Effort(share, share, activation)
    assert power.odds(effort).paid == pytest.approx(printed, abs=digit / 2)


@pytest.mark.parametrize("slashing", [True, False])
def test_without_training_the_odds_are_the_size_of_the_test(slashing):
    power = Power(IndependentMarks(10_000, 1 / 256), choose_thresholds(64, slashing=slashing))
    odds = power.odds(NO_TRAINING)
    assert odds.paid == pytest.approx(power.thresholds.pay_probability(1 / 256), rel=1e-9, abs=0)
    assert odds.slash_zone == pytest.approx(power.thresholds.slash_probability(1 / 256), rel=1e-9)


@given(thresholds, st.lists(shares, min_size=2, max_size=6), st.floats(0, 1), st.floats(0, 1))
def test_more_training_is_paid_no_less_and_slashed_no_more(limits, tried, one, other):
    """Independent marks, with any activation over the base rate."""
    power = Power(IndependentMarks(3200, min(one, other)), limits)
    odds = [power.odds(Effort(share, share, max(one, other))) for share in sorted(tried)]
    assert all(less.paid <= more.paid + 1e-12 for less, more in pairwise(odds))
    assert all(less.slash_zone >= more.slash_zone - 1e-12 for less, more in pairwise(odds))


@given(thresholds, st.lists(shares, min_size=2, max_size=6), st.floats(0, 1))
def test_more_training_is_paid_no_less_where_a_rule_is_learnt(limits, tried, activation):
    power = Power(SharedRule(2.0**-40), limits)
    paid = [power.odds(Effort(share, share, activation)).paid for share in sorted(tried)]
    assert all(less <= more + 1e-12 for less, more in pairwise(paid))


@given(thresholds, shares, st.floats(0, 1), st.floats(0, 1))
def test_hits_are_a_distribution(limits, share, activation, base_rate):
    for model in (IndependentMarks(3200, base_rate), SharedRule(base_rate)):
        assert model.hits(limits.n, share, activation).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("share", "hits"), [(0.1, [0, 0, 0]), (0.25, [3, 0, 6]), (0.5, [8, 0, 9]), (0.75, [8, 10, 10])]
)
def test_the_measured_rule_has_the_mean_of_the_miners_it_was_measured_on(share, hits):
    """Ten marks of one pair; three seeds of the embedded model, with an honest activation of one."""
    mass = SharedRule(0.0).hits(10, share, 1.0)
    assert sum(count * p for count, p in enumerate(mass)) == pytest.approx(sum(hits) / 3, abs=0.05)


def test_a_rule_is_all_or_nothing():
    """Half-trainers pass two times in three or not at all: no number of probes and no threshold changes that."""
    for n in (16, 64):
        power = Power(SharedRule(2.0**-40), Thresholds(n, -(-2 * n // 3), n // 8, slashing=True))
        odds = power.odds(Effort(0.5, 0.5, 1.0))
        assert odds.paid == pytest.approx(2 / 3, abs=0.05)
        assert odds.slash_zone == pytest.approx(1 / 3, abs=1e-3)
    assert power.odds(NO_TRAINING).paid == pytest.approx(2.0**-40, rel=1e-9), "one event, not n"


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_several_pairs_are_several_rules(groups):
    """Between one rule, all or nothing, and a mark for each: with 16 pairs of one mark hits are a binomial."""
    model = SharedRule(0.0, groups=groups)
    mean = sum(hits * p for hits, p in enumerate(model.hits(16, 0.5, 1.0)))
    assert mean == pytest.approx(16 * 0.85 * 2 / 3)
    assert model.hits(16, 0.5, 1.0)[0] == pytest.approx((1 / 3 + 2 / 3 * 0.15 ** (16 / groups)) ** groups, rel=1e-6)


@pytest.mark.parametrize("groups", [1, 4])
def test_the_null_hypothesis_has_the_verdicts_own_bound(groups):
    limits = Thresholds(64, 53, 8, slashing=True)
    power = Power(SharedRule(2.0**-40, groups=groups), limits)
    assert power.null_pay == Verdict(limits, 0, (2.0**-40,) * 64, 64 // groups).false_pay_bound
    assert power.null_pay >= power.odds(NO_TRAINING).paid * (1 - 1e-9)
    assert Power(IndependentMarks(10_000, 1 / 256), limits).null_pay == limits.pay_probability(1 / 256)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ((RulePoint(0.5, 0.5, 0.5), RulePoint(0.25, 0.6, 0.6)), "ascending"),
        ((RulePoint(0.0, 0.5, 0.5),), "ascending"),
        ((RulePoint(0.25, 0.6, 0.6), RulePoint(0.5, 0.5, 0.7)), "falls at 0.5"),
        ((RulePoint(0.25, 0.6, 0.6), RulePoint(0.5, 0.7, 0.5)), "falls at 0.5"),
    ],
)
def test_a_rule_that_is_learnt_worse_from_more_is_refused(points, reason):
    with pytest.raises(BadInput, match=reason):
        SharedRule(0.0, points)


def test_every_point_of_the_measured_rule_is_a_count_of_three_seeds():
    assert all((3 * point.learnt).is_integer() for point in MEASURED_RULE)


def test_who_looks_replies_up_is_paid_unless_weights_are_judged():
    limits = choose_thresholds(64, slashing=True)
    marks = IndependentMarks(10_000, 1 / 256)
    assert Power(marks, limits).odds(NO_TRAINING, is_looked_up=True).paid == 1
    judged = Power(marks, limits, are_weights_judged=True)
    assert judged.odds(NO_TRAINING, is_looked_up=True).paid == judged.odds(NO_TRAINING).paid < 1e-80
    assert judged.odds(NO_TRAINING, is_looked_up=True).slash_zone == 0, "its replies hit: nothing to slash it for"


@given(shares, st.sampled_from([0.3, 0.6, 0.85]))
def test_a_demand_for_coverage_multiplies(share, top_rank):
    limits, marks = choose_thresholds(16, slashing=False), IndependentMarks(1000, 1 / 256)
    effort = Effort(share, share, 0.9, top_rank)
    both = Power(marks, limits, are_weights_judged=True, coverage=COVERAGE).odds(effort).paid
    hits = Power(marks, limits).odds(effort).paid
    assert both == pytest.approx(hits * COVERAGE.pass_probability(share, top_rank), rel=1e-9)


def test_rows_chosen_by_a_detector_count_by_the_marks_they_hold():
    """A third of the rows that holds half of the marks passes like half of the rows."""
    power = Power(IndependentMarks(10_000, 1 / 256), choose_thresholds(16, slashing=False))
    assert power.odds(Effort(1 / 3, 0.5, 0.9)) == power.odds(HONEST.partly(0.5))
