"""The paper's subset analysis in both conventions, every figure that is quoted of it, and the corrected formula."""

from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.plan.subset import (
    Convention,
    chance_of_holding,
    chance_of_passing,
    marks_held,
    marks_needed,
    share_for_chance,
)

MORE, LEAST = Convention.MORE_THAN, Convention.AT_LEAST
SMALL, LARGE = (100, 6), (10_000, 50)


@pytest.mark.parametrize(
    ("size", "ratio", "convention", "chance", "printed"),
    [
        (SMALL, 0.5, MORE, 0.01, 0.19),
        (SMALL, 0.5, MORE, 0.50, 0.58),
        (LARGE, 0.5, MORE, 0.01, 0.35),
        (LARGE, 0.5, MORE, 0.50, 0.51),
        (LARGE, 0.5, LEAST, 0.99, 0.65),
        (LARGE, 0.8, LEAST, 0.50, 0.79),
        (LARGE, 0.8, LEAST, 0.99, 0.90),
        (SMALL, 0.5, LEAST, 0.01, 0.10),
        (SMALL, 0.5, LEAST, 0.50, 0.43),
        (LARGE, 0.5, LEAST, 0.01, 0.33),
        (LARGE, 0.5, LEAST, 0.50, 0.49),
    ],
)
def test_the_share_of_data_for_a_chance(size, ratio, convention, chance, printed):
    """The paper's seven figures, each under the convention that gives it, and the four that `>=` throughout gives."""
    rows, marks = size
    share = share_for_chance(rows, marks, marks_needed(marks, ratio, convention), chance)
    assert share == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize(
    ("size", "ratio", "chance", "printed"),
    [
        (SMALL, 0.5, 0.01, 0.19),
        (SMALL, 0.5, 0.50, 0.58),
        (LARGE, 0.5, 0.01, 0.35),
        (LARGE, 0.5, 0.50, 0.51),
        (LARGE, 0.5, 0.99, 0.65),
        (LARGE, 0.8, 0.50, 0.79),
        (LARGE, 0.8, 0.99, 0.90),
    ],
)
def test_no_figure_of_the_paper_holds_in_both_conventions(size, ratio, chance, printed):
    rows, marks = size
    shares = [share_for_chance(rows, marks, marks_needed(marks, ratio, way), chance) for way in Convention]
    assert sum(share == pytest.approx(printed, abs=0.005) for share in shares) == 1


@pytest.mark.parametrize(("share", "printed"), [(0.10, 0.65), (0.25, 0.94)])
@pytest.mark.parametrize("rows", [1_000, 10_000])
def test_the_papers_own_test_is_passed_by_a_tenth_of_the_work(share, printed, rows):
    """Its default: n = 10 probes, of which r = 10% must hit, even if each needed a row of its own."""
    needed = marks_needed(10, 0.1, LEAST)
    assert needed == 1
    assert chance_of_holding(rows, 10, round(share * rows), needed) == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize(("share", "printed"), [(0.10, 0.001), (0.25, 0.076), (0.50, 0.62), (0.75, 0.98)])
def test_what_the_formula_says_of_miners_whose_hits_it_does_not_predict(share, printed):
    """500 rows, ten marks of one pair: measured, half-trainers hit 8, 0 and 9 of 10, with 6, 3 and 6 marks held."""
    assert chance_of_holding(500, 10, round(500 * share), 5) == pytest.approx(printed, abs=0.006)


@pytest.mark.parametrize(
    ("marks", "ratio", "convention", "needed"),
    [(50, 0.8, LEAST, 40), (50, 0.8, MORE, 41), (6, 0.5, LEAST, 3), (10, 0.7, LEAST, 7), (7, "1/3", LEAST, 3)],
)
def test_a_ratio_is_the_decimal_that_it_is_printed_as(marks, ratio, convention, needed):
    """0.7 * 10 is more than 7 in binary: no mark is asked for that the ratio does not ask for."""
    assert marks_needed(marks, ratio, convention) == needed


sizes = st.integers(1, 40).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(1, rows), st.integers(0, rows)))


@given(sizes)
def test_marks_held_are_the_corrected_formula(size):
    """C(N, k) C(K - N, K_subset - k) / C(K, K_subset), in whole numbers."""
    rows, marks, taken = size
    for held, probability in enumerate(marks_held(rows, marks, taken)):
        unmarked = taken - held
        ways = comb(marks, held) * comb(rows - marks, unmarked) if unmarked >= 0 else 0
        assert probability == pytest.approx(float(Fraction(ways, comb(rows, taken))), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("needed", range(5))
def test_passing_is_counted_over_every_subset_and_every_activation(needed):
    """Brute force: 7 rows of which the first 4 are marks, 3 taken, activation 3/4, base activation 1/8."""
    rows, marks, taken, known, unknown = 7, 4, 3, Fraction(3, 4), Fraction(1, 8)
    total = Fraction(0)
    for subset in combinations(range(rows), taken):
        rates = [known if mark in subset else unknown for mark in range(marks)]
        for hits in range(1 << marks):
            if hits.bit_count() >= needed:
                weight = Fraction(1, comb(rows, taken))
                for mark, rate in enumerate(rates):
                    weight *= rate if hits >> mark & 1 else 1 - rate
                total += weight
    passing = chance_of_passing(rows, marks, taken, needed, activation=0.75, base_activation=0.125)
    assert passing == pytest.approx(float(total), rel=1e-12)


@given(sizes, st.integers(0, 40))
def test_with_perfect_activation_and_no_base_activation_passing_is_holding(size, needed):
    rows, marks, taken = size
    passing = chance_of_passing(rows, marks, taken, needed)
    assert passing == pytest.approx(chance_of_holding(rows, marks, taken, needed), rel=1e-9, abs=1e-300)


@given(sizes, st.integers(0, 40), st.floats(0.01, 0.99))
def test_the_share_for_a_chance_is_the_smallest(size, needed, chance):
    rows, marks, _taken = size
    share = share_for_chance(rows, marks, needed, chance)
    if share is None:
        assert needed > marks
        return
    taken = round(share * rows)
    assert chance_of_holding(rows, marks, taken, needed) >= chance * (1 - 1e-9)
    assert taken == 0 or chance_of_holding(rows, marks, taken - 1, needed) < chance * (1 + 1e-9)


def test_a_chance_that_no_share_gives():
    """Even a miner that trained on everything hits 48 of 64 with an activation of one half once in 40,000 tasks."""
    assert share_for_chance(10_000, 64, 48, 0.5, activation=0.5) is None


def test_tails_under_the_resolution_of_a_float_are_kept():
    assert 0 < chance_of_passing(10_000, 64, 0, 48, base_activation=1 / 256) < 2**-300
