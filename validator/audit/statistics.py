"""What all tasks together say of each validator and miner: exact rates, and hits against the declared plan.

Rule kept: a task is read once and leaves small integers behind.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.signal import convolve
from scipy.stats import binom, binomtest

from validator.audit.findings import Finding
from validator.audit.report import AccountReport, HitsTest, PicksTest, Rate, TaskReport, WeightsTest
from validator.plan.many_tests import holm

PLANNED_HIT_RATE = 0.9
"""Of a miner that learnt the dataset (protocol, "Defaults")."""

Role = Literal["validator", "miner"]


@dataclass
class _Tally:
    """What is kept of an account's tasks."""

    outcomes: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    """Tasks that were accepted, submitted, challenged."""
    histogram: Counter[int] = field(default_factory=Counter)
    paid: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(n, kPay) -> paid tasks."""
    paid_hits: int = 0
    weights: Counter[tuple[int, str]] = field(default_factory=Counter)
    """(n, p0) -> paid tasks whose weights were probed, each probe with a draw of its own."""
    weights_hits: int = 0
    picks: Counter[str] = field(default_factory=Counter)
    """As in a task's verdict."""

    def add(self, task: TaskReport) -> None:
        self.outcomes[task.outcome] += 1
        self.events.update({event.event for event in task.timeline})
        verdict = task.verdict
        if verdict is None:
            return
        self.histogram[verdict.hits] += 1
        self.picks.update(verdict.picks)
        if task.outcome != "paid" or not verdict.k_pay <= verdict.hits <= verdict.n:
            return
        self.paid[verdict.n, verdict.k_pay] += 1
        self.paid_hits += verdict.hits
        if verdict.weights_hits is not None and verdict.probes_per_draw == 1 and verdict.p0 is not None:
            self.weights[verdict.n, verdict.p0] += 1
            self.weights_hits += verdict.weights_hits


@dataclass
class Statistics:
    """Fed with every task; `accounts` is what they add up to."""

    _tallies: dict[tuple[Role, str], _Tally] = field(default_factory=dict)
    _findings: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, task: TaskReport) -> None:
        roles: tuple[tuple[Role, str], ...] = (("validator", task.validator), ("miner", task.miner))
        for key in roles:
            self._tallies.setdefault(key, _Tally()).add(task)

    def add_findings(self, found: Iterable[Finding]) -> None:
        for finding in found:
            if finding.account is not None:
                self._findings.setdefault(finding.account, Counter())[finding.severity.value] += 1

    def accounts(self) -> tuple[AccountReport, ...]:
        """Validators first, then miners, those with most tasks first."""
        return (*self._accounts("validator"), *self._accounts("miner"))

    def _accounts(self, role: Role) -> list[AccountReport]:
        tallies = {address: tally for (kind, address), tally in self._tallies.items() if kind == role}
        p_hits = {address: few_hits_p(tally.paid, tally.paid_hits) for address, tally in tallies.items() if tally.paid}
        p_weights = {
            address: untrained_p(tally.weights, tally.weights_hits)
            for address, tally in tallies.items()
            if tally.weights
        }
        p_picks = {address: picks_p(tally.picks) for address, tally in tallies.items() if tally.picks}
        picks = dict(zip(p_picks, holm(list(p_picks.values())), strict=True)) if role == "validator" else {}
        hits = dict(zip(p_hits, holm(list(p_hits.values())), strict=True))
        weights = dict(zip(p_weights, holm(list(p_weights.values())), strict=True))
        found = [
            AccountReport(
                account=address,
                role=role,
                tasks=tally.outcomes.total(),
                outcomes=dict(sorted(tally.outcomes.items())),
                challenged=_rate(tally.events["Challenged"], tally.events["ModelSubmitted"]),
                miner_lapsed=_rate(tally.outcomes["miner lapsed"], tally.events["TaskAccepted"]),
                not_settled=_rate(tally.outcomes["validator lapsed"], tally.events["ModelSubmitted"]),
                hits=_hits_test(tally, p_hits[address], hits[address]) if address in hits else None,
                weights=_weights_test(tally, p_weights[address], weights[address]) if address in weights else None,
                picks=_picks_test(tally, p_picks[address], picks[address]) if address in picks else None,
                findings=dict(self._findings.get(address, {})),
            )
            for address, tally in tallies.items()
        ]
        return sorted(found, key=lambda account: (-account.tasks, account.account))


def few_hits_p(paid: Counter[tuple[int, int]], hits: int) -> float:
    """P(so few hits or fewer) in these paid tasks, if every probe hits with the planned rate, given that all paid.

    `paid` counts tasks by (n, kPay). Exact: the misses of a paid task are a binomial cut off at n - kPay, and the
    distribution of their sum is the convolution of these. The transform that long sums take is exact to 1e-15.
    """
    mass, misses = np.ones(1), -hits
    for (n, k_pay), count in paid.items():
        one = binom.pmf(np.arange(n - k_pay + 1), n, 1 - PLANNED_HIT_RATE)
        mass = convolve(mass, _power(one / one.sum(), count))
        misses += n * count
    return float(min(1.0, max(0.0, mass[misses:].sum())))


def untrained_p(weights: Counter[tuple[int, str]], hits: int) -> float:
    """P(so many hits or more) of weights that are independent of the draws: at most p0 for each probe."""
    probes = sum(n * count for (n, _p0), count in weights.items())
    return float(binom.sf(hits - 1, probes, max(float(p0) for _n, p0 in weights)))


def picks_p(picks: Counter[str]) -> float:
    """P(some place is drawn so often, or so seldom) if every draw is uniform: an exact bound over all places."""
    totals: Counter[int] = Counter()
    for name, count in picks.items():
        totals[int(name.partition(":")[0])] += count
    smallest = min(
        binomtest(picks[f"{k}:{index}"], total, 1 / k).pvalue for k, total in totals.items() for index in range(k)
    )
    return float(min(1.0, smallest * sum(totals.keys())))


def _power(mass: np.ndarray, count: int) -> np.ndarray:
    """The mass function of a sum of `count` independent variables of one distribution."""
    total = np.ones(1)
    while count:
        if count & 1:
            total = convolve(total, mass)
        mass, count = convolve(mass, mass) if count > 1 else mass, count >> 1
    return total


def _rate(count: int, of: int) -> Rate:
    if of == 0:
        return Rate(count=0, of=0, low=0.0, high=1.0)
    interval = binomtest(count, of).proportion_ci(method="exact")
    return Rate(count=count, of=of, low=float(interval.low), high=float(interval.high))


def _hits_test(tally: _Tally, p_value: float, adjusted: float) -> HitsTest:
    return HitsTest(
        histogram={str(hits): count for hits, count in sorted(tally.histogram.items())},
        paid_tasks=tally.paid.total(),
        paid_probes=sum(n * count for (n, _k_pay), count in tally.paid.items()),
        paid_hits=tally.paid_hits,
        p_value=p_value,
        adjusted_p_value=adjusted,
    )


def _picks_test(tally: _Tally, p_value: float, adjusted: float) -> PicksTest:
    return PicksTest(draws=tally.picks.total(), p_value=p_value, adjusted_p_value=adjusted)


def _weights_test(tally: _Tally, p_value: float, adjusted: float) -> WeightsTest:
    return WeightsTest(
        tasks=tally.weights.total(),
        probes=sum(n * count for (n, _p0), count in tally.weights.items()),
        hits=tally.weights_hits,
        p_value=p_value,
        adjusted_p_value=adjusted,
    )
