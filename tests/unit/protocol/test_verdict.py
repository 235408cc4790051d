"""The hypothesis test against exact arithmetic: fractions and brute force, no simulation."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import digest
from validator.plan.terms import choose_thresholds
from validator.protocol.verdict import Thresholds, Verdict, Zone, count_hits, group_sizes

DEMO = Thresholds(n=16, k_pay=12, k_slash=1, slashing=True)
P0 = Fraction(1, 256)


def exact_tail(hits: int, n: int, p: Fraction) -> Fraction:
    return sum((comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(hits, n + 1)), Fraction(0))


def brute_force_tail(hits: int, p0: tuple[Fraction, ...]) -> Fraction:
    total = Fraction(0)
    for outcome in product((False, True), repeat=len(p0)):
        if sum(outcome) >= hits:
            weight = Fraction(1)
            for is_hit, p in zip(outcome, p0, strict=True):
                weight *= p if is_hit else 1 - p
            total += weight
    return total


def verdict(hits: int, p0: tuple[float, ...] = (1 / 256,) * 16, probes_per_draw: int = 1) -> Verdict:
    n = len(p0)
    return Verdict(Thresholds(n, -(-3 * n // 4), n // 16, True), hits, p0, probes_per_draw)


@pytest.mark.parametrize(
    ("hits", "zone"),
    [
        (0, Zone.SLASHED),
        (1, Zone.SLASHED),
        (2, Zone.REFUNDED),
        (11, Zone.REFUNDED),
        (12, Zone.PAID),
        (16, Zone.PAID),
    ],
)
def test_zones_on_both_sides_of_each_threshold(hits, zone):
    assert DEMO.zone(hits) is zone


@pytest.mark.parametrize("hits", [0, 1])
def test_without_slashing_doubt_and_failure_are_the_same(hits):
    gentle = Thresholds(n=16, k_pay=12, k_slash=1, slashing=False)
    assert gentle.zone(hits) is Zone.REFUNDED
    assert gentle.slash_probability(0.0) == 0.0


@pytest.mark.parametrize("hits", [-1, 17])
def test_impossible_counts_are_refused(hits):
    with pytest.raises(ValueError, match="hits of 16"):
        DEMO.zone(hits)


@pytest.mark.parametrize("n", [16, 32, 64])
@pytest.mark.parametrize("p", [Fraction(1, 256), Fraction(1, 16), Fraction(9, 10)])
def test_p_value_is_the_exact_binomial_tail(n, p):
    for hits in range(n + 1):
        exact = exact_tail(hits, n, p)
        assert verdict(hits, (float(p),) * n).p_value == pytest.approx(float(exact), rel=1e-9, abs=0)


def test_the_protocols_example_is_this_small():
    """Protocol, "Defaults": 12 hits of 16 at 2^-8 have p < 2^-85."""
    assert 0 < verdict(12).p_value < 2**-85


@given(st.lists(st.sampled_from([4, 16, 64, 256]), min_size=1, max_size=10), st.data())
def test_p_value_of_unequal_probes_is_the_sum_over_all_outcomes(denominators, data):
    p0 = tuple(Fraction(1, denominator) for denominator in denominators)
    hits = data.draw(st.integers(0, len(p0)))
    exact = float(brute_force_tail(hits, p0))
    assert verdict(hits, tuple(map(float, p0))).p_value == pytest.approx(exact, rel=1e-9, abs=0)


def test_unequal_probes_keep_their_precision_far_out_in_the_tail():
    p0 = (1 / 256,) * 8 + (1 / 65536,) * 8
    assert verdict(16, p0).p_value == pytest.approx(2.0 ** -(8 * 8 + 16 * 8), rel=1e-9, abs=0)


@pytest.mark.parametrize("hits", range(17))
def test_a_shared_signature_is_one_event(hits):
    """Protocol, "Marks": one lucky guess hits every probe, and n answers may hold n // hits different guesses."""
    shared = verdict(hits, (1e-6,) * 16, 16)
    assert shared.p_value == (pytest.approx(16 // hits * 1e-6) if hits else 1.0)
    assert shared.false_pay_bound == 1e-6
    assert shared.tail == verdict(hits, (1e-6,) * 16).p_value


def partitions(total: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """How often each of several different guesses may stand among so many answers."""
    if total == 0:
        yield ()
    for first in range(min(total, largest or total), 0, -1):
        yield from ((first, *rest) for rest in partitions(total - first, first))


def best_adversary(n: int, m: int, values: int) -> list[Fraction]:
    """By hits: the greatest P(so many or more) over all ways to answer n probes, m for each of several independent
    draws from so many values.
    """
    best = [Fraction(0)] * (n + 1)
    strategies = [list(partitions(size)) for size in group_sizes(n, m)]
    for strategy in product(*strategies):
        mass = {0: Fraction(1)}
        for guesses in strategy:
            counts = Counter(guesses[:values])  # Beyond all values there is nothing left to guess.
            of_group = {0: Fraction(values - len(guesses[:values]), values)}
            for count, times in counts.items():
                of_group[count] = Fraction(times, values)
            summed: Counter[int] = Counter()
            for (a, p), (b, q) in product(mass.items(), of_group.items()):
                summed[a + b] += p * q
            mass = dict(summed)
        for hits in range(n + 1):
            best[hits] = max(best[hits], sum((p for count, p in mass.items() if count >= hits), Fraction(0)))
    return best


@pytest.mark.parametrize("values", [2, 5, 64])
@pytest.mark.parametrize(("n", "m"), [(6, 1), (6, 2), (6, 3), (7, 3), (8, 4), (9, 5), (8, 8), (9, 9)])
def test_no_way_to_guess_beats_the_bound_for_groups(n, m, values):
    """Every way to spread guesses over the probes, by exact arithmetic; the bound is attained where it must be."""
    p0 = (1 / values,) * n
    exact = [float(p) for p in best_adversary(n, m, values)]
    bounds = [verdict(hits, p0, m).p_value for hits in range(n + 1)]
    assert all(bound >= p * (1 - 1e-12) for bound, p in zip(bounds, exact, strict=True))
    if m == 1 or (m == n and values >= n):
        assert bounds == pytest.approx(exact, rel=1e-9)
    assert bounds[n] == pytest.approx(exact[n], rel=1e-9), "all probes hit: one guess for each draw, nothing better"


@pytest.mark.parametrize("m", [2, 4, 16, 64])
@pytest.mark.parametrize("p0", [2.0**-4, 2.0**-8, 2.0**-16])
def test_the_bound_for_groups_is_under_the_two_simple_ones(m, p0):
    """Whole groups counted (at least ceil(h / m) of them hold a hit, each with at most m p0), and Markov's."""
    draws = -(-64 // m)
    for hits in range(1, 65):
        p_value = verdict(hits, (p0,) * 64, m).p_value
        whole_groups = float(exact_tail(-(-hits // m), draws, min(Fraction(1), m * Fraction(p0))))
        assert 0 < p_value <= min(whole_groups, 64 * p0 / hits) * (1 + 1e-9)


@given(st.integers(1, 16))
def test_more_hits_never_make_the_null_hypothesis_likelier(m):
    values = [verdict(count, probes_per_draw=m).p_value for count in range(17)]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)
    assert values[0] == 1


def test_size_of_the_test_is_the_chance_of_paying_a_model_that_never_saw_the_data():
    assert verdict(0).false_pay_bound == pytest.approx(float(exact_tail(12, 16, P0)), rel=1e-9)
    mixed = verdict(0, (1 / 256,) * 15 + (1 / 4,))
    assert mixed.false_pay_bound == pytest.approx(float(brute_force_tail(12, (P0,) * 15 + (Fraction(1, 4),))))
    assert verdict(0, (2**-40,) * 16, 4).false_pay_bound == pytest.approx(4 * 2.0**-120, rel=1e-6)


@pytest.mark.parametrize(
    ("n", "honest", "half", "most"), [(64, 0.9999, 4e-5, 0.23), (32, 0.9967, 0.0035, 0.34), (16, 0.983, 0.038, 0.45)]
)
def test_error_rates_are_those_of_the_protocols_table(n, honest, half, most):
    thresholds = choose_thresholds(n, slashing=True)
    assert thresholds.pay_probability(0.9) == pytest.approx(honest, abs=1e-4 if n == 64 else 5e-4)
    assert thresholds.pay_probability(0.5) == pytest.approx(half, rel=0.15)
    assert thresholds.pay_probability(0.7) == pytest.approx(most, abs=0.006)


def test_a_false_slash_at_64_probes_is_rarer_than_one_in_a_million():
    """W1's mirror: protocol, "Defaults", down to a true hit rate of .41."""
    thresholds = choose_thresholds(64, slashing=True)
    assert thresholds.slash_probability(0.41) < 1e-6
    assert thresholds.slash_probability(1 / 256) > 1 - 1e-9


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.2059), (16, 0.7941, 1.0), (8, 0.2465, 0.7535)])
def test_hit_rate_interval_is_clopper_pearsons(hits, low, high):
    assert verdict(hits).hit_rate_interval() == pytest.approx((low, high), abs=1e-4)


def test_a_verdict_needs_a_null_probability_for_every_probe():
    with pytest.raises(ValueError, match="15 null probabilities for 16 probes"):
        Verdict(DEMO, 3, (0.1,) * 15, 1)


@pytest.mark.parametrize("m", [0, 17])
def test_a_draw_is_shared_by_some_of_the_probes(m):
    with pytest.raises(ValueError, match=f"{m} of 16 probes cannot share a draw"):
        verdict(3, probes_per_draw=m)


def test_a_verdict_prints_its_inputs_and_its_zone():
    text = str(Verdict(DEMO, 12, (1 / 256,) * 16, 1))
    assert text.startswith("paid: 12 of 16 probes hit (pay at 12, slash at 1), p = ")


def test_hits_are_counted_pair_by_pair():
    a, b, miss = digest("a"), digest("b"), bytes(32)
    assert count_hits([a, b, a], [a, miss, b]) == 1
    assert count_hits([a, b], [b, a]) == 0
    with pytest.raises(ValueError, match=r"shorter|longer"):
        count_hits([a, b], [a])
