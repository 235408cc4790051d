"""n, kPay and kSlash: legal, the smallest that keep what was asked, and plain about what cannot be kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.errors import BadInput
from validator.plan.choice import (
    Targets,
    choose_coverage,
    choose_k_slash,
    choose_probes,
    find_problem,
    least_k_pay,
    list_error_rates,
)
from validator.plan.coverage_power import CoverageTest
from validator.plan.power import Effort, IndependentMarks, Power, SharedRule
from validator.protocol.verdict import Thresholds

ALL = range(16, 65)
HONEST = Effort(1.0, 1.0, 0.9, 0.85)
MARKS = IndependentMarks(10_000, 1 / 256)

rates = st.floats(1e-6, 0.5)
targets = st.builds(
    Targets,
    false_refuse=rates,
    false_pay=rates,
    false_slash=rates,
    partial=st.floats(0.05, 0.95),
    least_activation=st.floats(0, 0.9),
)
models = st.sampled_from([MARKS, IndependentMarks(300, 0.04), SharedRule(2.0**-40)])


def asking(**changes):
    asked = {"false_refuse": 0.01, "false_pay": 0.01, "false_slash": 1e-6, "partial": 0.5, "least_activation": 0.45}
    return Targets(**(asked | changes))


def kept(thresholds, model, asked):
    """Whether every rate that was asked for is kept."""
    return all(error.is_kept for error in list_error_rates(Power(model, thresholds), HONEST, asked))


@given(models, targets, st.sampled_from([None, True, False]), st.integers(16, 64))
def test_no_terms_are_proposed_that_the_contract_refuses(model, asked, slashing, most):
    """Protocol, "Terms": 16 <= n <= 64, 2n <= 3 kPay, kPay <= n, 8 kSlash <= n."""
    chosen = choose_probes(model, HONEST, asked, counts=range(16, most + 1), slashing=slashing)
    assert 16 <= chosen.n <= most
    assert 2 * chosen.n <= 3 * chosen.k_pay <= 3 * chosen.n
    assert 0 <= 8 * chosen.k_slash <= chosen.n
    assert find_problem(chosen) is None
    assert slashing is None or chosen.slashing == slashing


@pytest.mark.parametrize("asked", [asking(), asking(false_pay=1e-4), asking(partial=0.6), asking(false_refuse=1e-4)])
def test_the_smallest_number_of_probes_that_keeps_the_rates_is_taken(asked):
    chosen = choose_probes(MARKS, HONEST, asked, counts=ALL)
    assert kept(chosen, MARKS, asked)
    for n in range(16, chosen.n):
        for k_pay in range(least_k_pay(n), n + 1):
            assert not kept(Thresholds(n, k_pay, 0, slashing=False), MARKS, asked), (n, k_pay)


@pytest.mark.parametrize(
    ("model", "asked", "broken"),
    [
        (MARKS, asking(partial=0.9), {"paid", "not paid"}),
        (SharedRule(2.0**-40), asking(), {"paid", "not paid"}),
        (IndependentMarks(10_000, 0.8), asking(least_activation=0.85), {"paid", "not paid"}),
    ],
)
def test_what_no_test_can_keep_is_said_with_the_nearest(model, asked, broken):
    """Replies cannot tell nine tenths from the whole, a shared pair not even half of it."""
    chosen = choose_probes(model, HONEST, asked, counts=ALL)
    errors = list_error_rates(Power(model, chosen), HONEST, asked)
    assert {error.event for error in errors if not error.is_kept} <= broken
    assert not all(error.is_kept for error in errors)


@given(models, targets, st.integers(16, 64))
def test_slashing_is_as_wide_as_is_safe_for_honest_miners(model, asked, n):
    k_slash = choose_k_slash(model, n, asked)
    weak = Effort(1.0, 1.0, asked.least_activation)

    def slashed(k):
        return Power(model, Thresholds(n, n, k, slashing=True)).odds(weak).slash_zone

    assert k_slash is None or (slashed(k_slash) <= asked.false_slash and 8 * k_slash <= n)
    following = 0 if k_slash is None else k_slash + 1
    assert 8 * following > n or slashed(following) > asked.false_slash


@pytest.mark.parametrize(("n", "k_slash"), [(64, 8), (16, None)])
def test_the_protocols_reason_for_slashing_at_64_probes_only(n, k_slash):
    """Protocol, "Defaults": at n = 64 a false slash stays under 1e-6 down to a true hit rate of .41."""
    assert choose_k_slash(IndependentMarks(10_000, 0.0), n, asking(least_activation=0.41)) == k_slash


@pytest.mark.parametrize(
    ("n", "k_pay", "k_slash", "reason"),
    [
        (15, 15, 0, "16 to 64, not 15"),
        (65, 65, 0, "16 to 64, not 65"),
        (64, 42, 0, "43 to 64, not 42"),
        (16, 17, 0, "11 to 16, not 17"),
        (64, 48, 9, "0 to 8, not 9"),
        (16, 12, -1, "0 to 2, not -1"),
    ],
)
def test_thresholds_that_the_contract_refuses_are_refused_here(n, k_pay, k_slash, reason):
    with pytest.raises(BadInput, match=reason):
        choose_probes(MARKS, HONEST, asking(), counts=[n], k_pay=k_pay, k_slash=k_slash)


def test_what_is_given_is_kept():
    chosen = choose_probes(MARKS, HONEST, asking(), counts=ALL, k_pay=40, k_slash=2, slashing=False)
    assert (chosen.k_pay, chosen.k_slash, chosen.slashing) == (40, 2, False)
    assert chosen.n >= 40


def test_no_number_of_probes_is_left():
    with pytest.raises(BadInput, match="no number of probes"):
        choose_probes(MARKS, HONEST, asking(), counts=[])


@pytest.mark.parametrize(("partial", "marks"), [(0.5, 250), (0.5, 10_000), (0.75, 2_500), (0.9, 10_000)])
def test_the_demand_for_coverage_keeps_both_rates_with_room_on_both_sides(partial, marks):
    asked = asking(partial=partial)
    test = choose_coverage(CoverageTest(marks, 8, 0.85, 0.01, 5, 2_000, 0.0), HONEST, asked)
    assert partial < test.min_coverage < 1
    assert test.pass_probability(partial, 0.85) <= asked.false_pay
    assert 1 - test.pass_probability(1.0, 0.85) <= asked.false_refuse / 2


def test_too_few_coverage_marks_break_a_rate_that_the_report_names():
    asked = asking(partial=0.9)
    test = choose_coverage(CoverageTest(250, 8, 0.85, 0.02, 5, 1_000, 0.0), HONEST, asked)
    power = Power(MARKS, Thresholds(64, 48, 8, slashing=True), are_weights_judged=True, coverage=test)
    assert [error.event for error in list_error_rates(power, HONEST, asked) if not error.is_kept]


def test_every_error_rate_names_its_event_and_its_hypothesis():
    power = Power(MARKS, Thresholds(64, 48, 8, slashing=True))
    errors = {(error.event, error.given): error.probability for error in list_error_rates(power, HONEST, asking())}
    assert errors == {
        ("not paid", "trained on all rows; each mark activates with 0.9"): pytest.approx(1 - 0.9999, abs=1e-4),
        ("paid", "trained on 0.5 of the rows; each mark activates with 0.9"): pytest.approx(1.15e-6, rel=0.01),
        ("paid", "independent of the draws (null hypothesis)"): pytest.approx(0, abs=1e-90),
        ("slashed", "trained on all rows; each mark activates with only 0.45"): pytest.approx(2.6e-8, rel=0.1),
        ("not slashed, having signed", "independent of the draws (null hypothesis)"): pytest.approx(0, abs=1e-10),
    }
