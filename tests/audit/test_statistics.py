"""Figures about validators and miners, against exact sums and the library's own."""

from collections import Counter
from fractions import Fraction
from itertools import product
from math import comb
from pathlib import Path

import pytest
from scipy.stats import binom

from contracts import TaskState
from tests.audit.auditing import audit
from tests.audit.chains import PublicNode
from tests.audit.rounds import make_market
from tests.contracts.rounds import MINER, VALIDATOR
from validator.audit.report import AccountReport, Report
from validator.audit.statistics import few_hits_p, picks_p, untrained_p

RATE = Fraction(9, 10)


def exact_few_hits(tasks: list[tuple[int, int]], hits: int) -> Fraction:
    """P(so few hits or fewer | all were paid), by enumerating every combination."""
    total = Fraction(0)
    masses = []
    for n, k_pay in tasks:
        mass = {x: comb(n, x) * RATE**x * (1 - RATE) ** (n - x) for x in range(k_pay, n + 1)}
        masses.append({x: weight / sum(mass.values()) for x, weight in mass.items()})
    for counts in product(*masses):
        if sum(counts) <= hits:
            weight = Fraction(1)
            for mass, x in zip(masses, counts, strict=True):
                weight *= mass[x]
            total += weight
    return total


@pytest.mark.parametrize(
    ("tasks", "hits"), [([(16, 12)], 12), ([(16, 12)] * 3, 37), ([(16, 12), (16, 11), (17, 16)], 40), ([(16, 12)], 16)]
)
def test_few_hits_are_exactly_as_unlikely_as_that(tasks: list[tuple[int, int]], hits: int):
    assert few_hits_p(Counter(tasks), hits) == pytest.approx(float(exact_few_hits(tasks, hits)), rel=1e-9)


def test_a_thousand_tasks_are_no_trouble():
    """The mean of what is planned is about one half as likely to be missed as not; far under it is impossible."""
    paid = Counter({(16, 12): 1_000})
    mean = sum(x * binom.pmf(x, 16, 0.9) for x in range(12, 17)) / binom.sf(11, 16, 0.9)
    assert few_hits_p(paid, round(1_000 * mean)) == pytest.approx(0.5, abs=0.03)
    assert few_hits_p(paid, 12_500) < 1e-12
    assert few_hits_p(paid, 16_000) == pytest.approx(1.0)


def test_untrained_weights_hit_as_chance_has_it():
    weights = Counter({(16, "6.250000e-02"): 4})
    assert untrained_p(weights, 3) == pytest.approx(float(binom.sf(2, 64, 1 / 16)))
    assert untrained_p(weights, 60) < 1e-60
    assert untrained_p(weights, 0) == 1.0


def test_draws_that_are_not_drawn_are_seen():
    """64 times the first of two: 2 x 2^-64, over two places."""
    assert picks_p(Counter({"2:0": 64})) == pytest.approx(4 * 2.0**-64)
    assert picks_p(Counter({"2:0": 30, "2:1": 34})) > 0.5
    mixed = Counter({"2:0": 32, "2:1": 32, "16:3": 12})
    assert picks_p(mixed) == pytest.approx(18 * float(binom.sf(11, 12, 1 / 16)), rel=1e-6)


@pytest.fixture
async def report(tmp_path: Path) -> Report:
    """Three paid (one after a challenge), one refunded, one that the miner left and one that the validator left."""
    market = make_market()
    for hits in (16, 12, 8):
        market.settle(market.reach(TaskState.SUBMITTED), hits)
    market.settle(market.reach(TaskState.ANSWERED), 16)
    for state in (TaskState.ACCEPTED, TaskState.SUBMITTED, TaskState.OPEN):
        round_ = market.reach(state)
        market.expire(round_)
        market.poke(round_)
    return (await audit(PublicNode(market.chain, market.address), tmp_path))[1]


def test_every_account_has_its_rates(report: Report):
    validator, miner = report.accounts
    assert (validator.role, validator.account) == ("validator", VALIDATOR.address)
    assert (miner.role, miner.account) == ("miner", MINER.address)
    for account in report.accounts:
        assert account.tasks == 7
        assert rates(account) == {"challenged": (1, 5), "miner_lapsed": (1, 6), "not_settled": (1, 5)}
        assert account.hits is not None
        assert account.hits.histogram == {"8": 1, "12": 1, "16": 2}
        assert (account.hits.paid_tasks, account.hits.paid_probes, account.hits.paid_hits) == (3, 48, 44)
        assert account.hits.p_value == pytest.approx(float(exact_few_hits([(16, 12)] * 3, 44)))


def rates(account: AccountReport) -> dict[str, tuple[int, int]]:
    found = {name: getattr(account, name) for name in ("challenged", "miner_lapsed", "not_settled")}
    assert all(rate.low <= rate.count / rate.of <= rate.high for rate in found.values())
    return {name: (rate.count, rate.of) for name, rate in found.items()}


def test_a_summary_counts_everything(report: Report):
    summary = report.summary
    assert summary.tasks == len(report.tasks) == sum(summary.outcomes.values()) == sum(summary.bundles.values())
    assert summary.outcomes == {
        "miner lapsed": 1,
        "open lapsed": 1,
        "paid": 3,
        "refunded": 1,
        "validator lapsed": 1,
    }
    assert summary.is_clean
    assert summary.is_whole
