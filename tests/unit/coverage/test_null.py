"""Null distributions against integers of any length: no simulation, no floats on the other side."""

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.coverage.null import combine_log10_p, log_upper_tail, rank_sum_log10_p, top_rank_log10_p
from validator.coverage.ranks import Histogram

LN_10 = 2.302585092994046
RELATIVE_ERROR = 1e-10


def count_sums(groups: dict[int, int], largest: int) -> int:
    """In how many ways `groups[k]` ranks under k, for each k, have a sum up to `largest`."""
    ways = [1]
    for k, count in groups.items():
        for _ in range(count):
            longer, running = [], 0
            for total in range(min(largest + 1, len(ways) + k - 1)):
                running += ways[total] if total < len(ways) else 0
                running -= ways[total - k] if 0 <= total - k < len(ways) else 0
                longer.append(running)
            ways = longer
    return sum(ways[: largest + 1])


def exact_rank_sum(groups: dict[int, int], rank_sum: int) -> Fraction:
    outcomes = 1
    for k, count in groups.items():
        outcomes *= k**count
    return Fraction(count_sums(groups, rank_sum), outcomes)


def exact_top_ranks(groups: dict[int, int], top: int) -> Fraction:
    ways, outcomes = [1], 1
    for k, count in groups.items():
        outcomes *= k**count
        of_group = [comb(count, x) * (k - 1) ** (count - x) for x in range(count + 1)]
        ways = [
            sum(ways[x - y] * of_group[y] for y in range(count + 1) if 0 <= x - y < len(ways))
            for x in range(len(ways) + count)
        ]
    return Fraction(sum(ways[top:]), outcomes)


def histogram(k: int, rows: int, rank_sum: int) -> Histogram:
    """Some histogram of that many rows with that sum of ranks."""
    counts = [0] * k
    full, rest = divmod(rank_sum, k - 1)
    counts[k - 1] = full
    if rest:
        counts[rest] += 1
    counts[0] = rows - sum(counts)
    assert counts[0] >= 0
    return tuple(counts)


def relative_error(log10_p: float, exact: Fraction) -> float:
    with localcontext() as context:
        context.prec = 60
        log10_exact = (Decimal(exact.numerator) / Decimal(exact.denominator)).log10()
        return float(abs(Decimal(log10_p) - log10_exact)) * LN_10


@pytest.mark.parametrize(
    ("rows", "rank_sum"), [(1000, 0), (1000, 1), (1000, 50), (1000, 400), (300, 700), (200, 699), (200, 900), (1, 0)]
)
def test_rank_sum_keeps_ten_digits_however_small_it_is(rows, rank_sum):
    log10_p = rank_sum_log10_p({8: histogram(8, rows, rank_sum)})
    assert relative_error(log10_p, exact_rank_sum({8: rows}, rank_sum)) < RELATIVE_ERROR


def test_a_tail_of_1e_minus_900_is_no_zero():
    assert -900.2 < rank_sum_log10_p({8: histogram(8, 1000, 1)}) < -900.0


@pytest.mark.parametrize("rank_sum", [0, 5, 60, 200, 257])
def test_rank_sum_of_rows_that_differ_in_k(rank_sum):
    groups = {3: 40, 5: 30, 8: 20}
    first = min(rank_sum, 2 * 40)
    second = min(rank_sum - first, 4 * 30)
    third = rank_sum - first - second
    histograms = {3: histogram(3, 40, first), 5: histogram(5, 30, second), 8: histogram(8, 20, third)}
    assert relative_error(rank_sum_log10_p(histograms), exact_rank_sum(groups, rank_sum)) < RELATIVE_ERROR


@pytest.mark.parametrize("top", [1000, 999, 853, 300, 125, 60, 1])
def test_top_rank_count_keeps_ten_digits(top):
    log10_p = top_rank_log10_p({8: (top, 1000 - top, *[0] * 6)})
    assert relative_error(log10_p, exact_top_ranks({8: 1000}, top)) < RELATIVE_ERROR


@pytest.mark.parametrize("top", [0, 3, 20, 40, 59, 60])
def test_top_rank_count_is_poisson_binomial_where_k_differ(top):
    of_four = min(top, 40)
    histograms = {4: (of_four, 40 - of_four, 0, 0), 9: (top - of_four, 20 - (top - of_four), *[0] * 7)}
    assert relative_error(top_rank_log10_p(histograms), exact_top_ranks({4: 40, 9: 20}, top)) < RELATIVE_ERROR


@given(st.lists(st.integers(2, 5), min_size=1, max_size=5), st.data())
def test_both_tests_are_the_share_of_all_outcomes_that_are_as_extreme(options, data):
    ranks = [data.draw(st.integers(0, k - 1)) for k in options]
    histograms: dict[int, list[int]] = {k: [0] * k for k in options}
    for k, rank in zip(options, ranks, strict=True):
        histograms[k][rank] += 1
    frozen = {k: tuple(counts) for k, counts in histograms.items()}
    outcomes = list(product(*map(range, options)))
    smaller = sum(sum(outcome) <= sum(ranks) for outcome in outcomes)
    more = sum(outcome.count(0) >= ranks.count(0) for outcome in outcomes)
    assert 10 ** rank_sum_log10_p(frozen) == pytest.approx(smaller / len(outcomes), rel=1e-9)
    assert 10 ** top_rank_log10_p(frozen) == pytest.approx(more / len(outcomes), rel=1e-9)


def test_a_large_dataset_is_judged_too():
    """At the middle, where the exact value is known by symmetry: P(S <= mean) is half of 1 + P(S = mean)."""
    groups = ((((1 / 8,) * 8), 10_000),)
    upper, above = (log_upper_tail(groups, threshold) for threshold in (35_000, 35_001))
    assert 2.718281828459045**upper + 2.718281828459045**above == pytest.approx(1.0, rel=1e-9)


def test_no_rows_say_nothing():
    assert rank_sum_log10_p({}) == top_rank_log10_p({}) == 0.0


@pytest.mark.parametrize(
    ("parts", "combined"), [((-3.0, -1.0), -2.69897), ((-0.1, -0.2), 0.0), ((-900.0, -2.0), -899.69897)]
)
def test_two_tests_of_one_hypothesis_cost_a_factor_of_two(parts, combined):
    assert combine_log10_p(*parts) == pytest.approx(combined, abs=1e-5)
