"""Rates, profits and comparisons, against figures that were worked out by other means."""

import math

import pytest
from scipy.stats import beta, hypergeom

from tests.unit.tournament.samples import ETHER, result
from validator.plan.many_tests import holm
from validator.tournament.cells import Cell, Prices, Rate
from validator.tournament.statistics import Roc, Statistics, compute_statistics
from validator.types import Wei

FREE = Prices()


def only(statistics: Statistics, strategy: str) -> Cell:
    (cell,) = [cell for cell in statistics.cells if cell.strategy == strategy]
    return cell


def test_a_rate_has_clopper_and_pearsons_interval():
    """Its ends are quantiles of beta distributions; all of 5 is at least 0.025 ** (1 / 5)."""
    assert Rate(5, 5).interval() == (pytest.approx(0.025 ** (1 / 5)), 1.0)
    assert Rate(0, 30).interval() == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))
    low, high = Rate(3, 10).interval(0.9)
    assert (low, high) == (pytest.approx(beta.ppf(0.05, 3, 8)), pytest.approx(beta.ppf(0.95, 4, 7)))


def test_verdicts_are_counted_by_strategy_and_setting():
    results = [
        *(result("honest", seed=seed) for seed in range(5)),
        *(result("partial", verdict, seed) for seed, verdict in enumerate(("paid", "refunded", "slashed", "refunded"))),
        result("honest", "slashed", scheme="backdoor"),
    ]
    statistics = compute_statistics(results)
    assert statistics.settings == [("backdoor", "default"), ("canary", "default")]
    honest, partial = statistics.under("canary", "default")
    assert (honest.strategy, honest.paid, honest.slashed) == ("honest", Rate(5, 5), Rate(0, 5))
    assert (partial.paid, partial.refunded, partial.slashed) == (Rate(1, 4), Rate(2, 4), Rate(1, 4))


def test_profit_is_what_came_less_what_burned_less_the_price_of_the_work():
    results = [result("base", "paid"), result("base", "slashed", 1), result("base", "refunded", 2)]
    per_hour = only(compute_statistics(results, Prices(ether_per_cpu_hour=10.0)), "base")
    assert per_hour.profit is not None
    assert per_hour.profit.mean == pytest.approx(0 - 10 * 36 / 3600)
    both = only(compute_statistics(results, Prices(10.0, 100.0)), "base")
    assert both.mean_cost_ether == pytest.approx(0.1 + 100 * 0.002)


def test_the_interval_of_a_profit_knows_what_was_never_seen():
    """Five of five paid: the sixth may fall, and its bond is worth a reward. At 97.5% each, 0.0125 in each tail."""
    profit = only(compute_statistics([result("cheat", seed=seed) for seed in range(5)], FREE), "cheat").profit
    assert profit is not None
    win_low = 0.0125 ** (1 / 5)
    fall_high = min(1 - 0.0125 ** (1 / 5), 1 - win_low)
    assert (profit.mean, profit.low, profit.high) == (1.0, pytest.approx(win_low - fall_high), 1.0)


def test_the_break_even_price_is_that_at_which_nothing_is_left():
    results = [result("cheat"), result("cheat", "refunded", 1)]
    cell = only(compute_statistics(results, FREE), "cheat")
    assert cell.break_even_ether_per_cpu_hour == pytest.approx(0.5 / 0.01)
    assert cell.break_even_ether_per_exaflop == pytest.approx(0.5 / 0.002)
    priced = only(compute_statistics(results, Prices(ether_per_cpu_hour=50.0)), "cheat").profit
    assert priced is not None
    assert priced.mean == pytest.approx(0.0)
    assert only(compute_statistics([result("cheat", "slashed")]), "cheat").break_even_ether_per_cpu_hour is None
    assert only(compute_statistics([result("cheat", cpu_s=0.0)]), "cheat").break_even_ether_per_cpu_hour == math.inf


def test_where_a_cost_was_not_measured_no_profit_is_told():
    cell = only(compute_statistics([result("cheat"), result("cheat", seed=1, cpu_s=None)], Prices(1.0)), "cheat")
    assert (cell.mean_cpu_hours, cell.profit, cell.break_even_ether_per_cpu_hour) == (None, None, None)
    assert only(compute_statistics([result("cheat", flops=None)], Prices(1.0)), "cheat").profit is not None


def test_without_a_price_honest_work_costs_half_of_its_reward():
    results = [result("honest"), result("honest", "refunded", 1, cpu_s=1e6), result("idle", "refunded", cpu_s=0.0)]
    statistics = compute_statistics(results)
    assert statistics.prices == Prices(ether_per_cpu_hour=pytest.approx(50.0))
    honest = only(compute_statistics(results[:1]), "honest").profit
    assert honest is not None
    assert honest.mean == pytest.approx(0.5)
    assert compute_statistics([result("cheat")]).prices == FREE


def test_the_cheapest_cheat_that_pays_earns_more_than_honest_work():
    results = [
        result("honest"),
        result("lookup", cpu_s=1.0),
        result("cheaper", cpu_s=0.5),
        result("dearer", cpu_s=40.0),
        result("free", "refunded", cpu_s=0.0),
    ]
    statistics = compute_statistics(results)
    paying = statistics.profitable_cheats("canary", "default")
    assert [cell.strategy for cell in paying] == ["cheaper", "lookup"]
    assert statistics.cheapest_profitable_cheat("canary", "default") is paying[0]
    assert compute_statistics(results[:1]).cheapest_profitable_cheat("canary", "default") is None


def test_a_cheat_that_only_differs_by_the_noise_of_a_measurement_is_not_said_to_pay():
    statistics = compute_statistics([result("honest"), result("covert", cpu_s=33.0), result("partial", cpu_s=30.0)])
    assert [cell.strategy for cell in statistics.profitable_cheats("canary", "default")] == ["partial"]


def test_an_honest_miners_mistake_is_no_cheat_that_pays_and_is_judged_by_its_worst():
    results = [
        *(result("honest", cpu_s=100.0, seed=seed) for seed in range(4)),
        *(result("sampling", cpu_s=1.0, seed=seed) for seed in range(4)),
        result("sampling", "refunded", cpu_s=1.0, miner="sampling-2"),
        *(result("lookup", cpu_s=2.0, seed=seed) for seed in range(4)),
    ]
    statistics = compute_statistics(results)
    assert [cell.strategy for cell in statistics.profitable_cheats("canary", "default")] == ["lookup"]
    assert [comparison.cheat.strategy for comparison in statistics.comparisons] == ["lookup"]
    assert {roc.strategy for roc in statistics.rocs("canary", "default")} == {"lookup"}
    assert (only(statistics, "sampling").paid, only(statistics, "honest").paid) == (Rate(3, 4), Rate(4, 4))


def test_miners_of_one_strategy_in_one_round_are_one_trial():
    """Sybils that share one training run: it counts if any was paid, and each bears its part of the cost."""
    sybils = [result("sybil", miner="sybil-1"), result("sybil", "refunded", miner="sybil-2", cpu_s=0.0)]
    cell = only(compute_statistics(sybils, FREE), "sybil")
    assert (cell.paid, cell.mean_payoff_ether, cell.mean_cpu_hours) == (Rate(1, 1), 0.5, pytest.approx(0.005))
    honest = [result("honest", miner="honest-1"), result("honest", "slashed", miner="honest-2")]
    assert only(compute_statistics(honest, FREE), "honest").slashed == Rate(1, 1)


def test_holms_method_on_its_textbook_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_cheats_are_compared_with_the_honest_miners_of_their_setting():
    results = [
        *(result("honest", seed=seed) for seed in range(6)),
        *(result("base", "slashed", seed) for seed in range(4)),
        *(result("lookup", seed=seed) for seed in range(4)),
        result("base", "slashed", scheme="backdoor"),
    ]
    found = {found.cheat.strategy: found for found in compute_statistics(results).comparisons}
    assert set(found) == {"base", "lookup"}
    assert found["base"].p_value == pytest.approx(hypergeom(10, 6, 4).pmf(0))
    assert found["base"].adjusted_p_value == pytest.approx(2 * found["base"].p_value)
    assert found["lookup"].adjusted_p_value == 1.0


def test_a_roc_curve_goes_through_every_threshold():
    roc = Roc("canary", "default", "partial", "hits", honest=(16.0, 15.0), cheat=(15.0, 3.0))
    assert roc.points == [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]
    assert roc.area == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def test_curves_are_drawn_by_hits_and_where_weights_were_judged_by_the_trained_share():
    results = [
        result("honest", trained_share=0.99),
        result("half", hits=12, trained_share=0.5),
        result("silent", "refunded", hits=None),
    ]
    rocs = {(roc.strategy, roc.score): roc for roc in compute_statistics(results).rocs("canary", "default")}
    assert rocs["half", "trained share"].area == 1.0
    assert rocs["silent", "hits"].cheat == (0.0,)
    assert rocs["silent", "trained share"].cheat == (0.0,)
    assert compute_statistics(results[1:]).rocs("canary", "default") == []


def test_stakes_are_ether():
    cell = only(compute_statistics([result("base", "slashed", lost_wei=Wei(ETHER // 2))], FREE), "base")
    assert cell.mean_payoff_ether == -0.5
