"""Choosing n, kPay and kSlash for error rates that are asked for, inside the bounds that the contract checks.

Every error rate has a name: the event, and what is supposed to be true when it happens. The smallest n that keeps what
was asked is taken; at that n, the thresholds whose rates have the most room. Where no n keeps it, the nearest is taken
and `ErrorRate.is_kept` says which rates are not.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from validator.errors import BadInput
from validator.plan.coverage_power import CoverageTest
from validator.plan.power import NO_TRAINING, Effort, HitModel, Power
from validator.plan.terms import MAX_PROBES, MIN_PROBES
from validator.protocol.verdict import Thresholds


@dataclass(frozen=True, slots=True)
class Targets:
    """The error rates that are asked for, as probabilities, and what they are rates of.

    `partial` is the share of the rows such that whoever trained on it or on less must not be paid. An honest miner must
    not be slashed even where its marks activate no better than at `least_activation`.
    """

    false_refuse: float
    false_pay: float
    false_slash: float
    partial: float
    least_activation: float


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """The probability of an event under a hypothesis; `at_most` is what was asked for, None where nothing was."""

    event: str
    given: str
    probability: float
    at_most: float | None

    @property
    def is_kept(self) -> bool:
        return self.at_most is None or self.probability <= self.at_most


def find_problem(thresholds: Thresholds) -> str | None:
    """Why `open_task` would refuse them (protocol, "Terms"), if it would."""
    n, k_pay, k_slash = thresholds.n, thresholds.k_pay, thresholds.k_slash
    if not MIN_PROBES <= n <= MAX_PROBES:
        return f"the number of probes is {MIN_PROBES} to {MAX_PROBES}, not {n}"
    if not least_k_pay(n) <= k_pay <= n:
        return f"with {n} probes the contract takes a kPay of {least_k_pay(n)} to {n}, not {k_pay}"
    if not 0 <= k_slash <= n // 8:
        return f"with {n} probes the contract takes a kSlash of 0 to {n // 8}, not {k_slash}"
    return None


def least_k_pay(n: int) -> int:
    """2n <= 3 kPay."""
    return -(-2 * n // 3)


def choose_k_slash(hit_model: HitModel, n: int, targets: Targets) -> int | None:
    """The largest kSlash at which an honest miner is safe; None where even slashing at no hit is too much."""
    mass = hit_model.hits(n, 1.0, targets.least_activation)
    safe = np.flatnonzero(np.cumsum(mass)[: n // 8 + 1] <= targets.false_slash)
    return int(safe[-1]) if len(safe) else None


def choose_probes(
    hit_model: HitModel,
    honest: Effort,
    targets: Targets,
    *,
    counts: Iterable[int],
    are_weights_judged: bool = False,
    coverage: CoverageTest | None = None,
    slashing: bool | None = None,
    k_pay: int | None = None,
    k_slash: int | None = None,
) -> Thresholds:
    """Thresholds for the first of `counts` that keeps the targets, else for the one that comes nearest.

    `slashing` None: wherever an honest miner is safe. `k_pay` and `k_slash` are kept where they are given; BadInput
    where the contract takes them with none of `counts`.
    """
    nearest: tuple[float, Thresholds] | None = None
    problem: str | None = None
    for n in counts:
        safe = choose_k_slash(hit_model, n, targets) if k_slash is None else k_slash
        is_slashing = safe is not None if slashing is None else slashing
        for candidate in range(least_k_pay(n), n + 1) if k_pay is None else (k_pay,):
            thresholds = Thresholds(n, candidate, safe or 0, is_slashing)
            if reason := find_problem(thresholds):
                problem = reason
                continue
            excess = _excess(Power(hit_model, thresholds, are_weights_judged, coverage), honest, targets)
            if nearest is None or excess < nearest[0]:
                nearest = excess, thresholds
        if nearest is not None and nearest[0] <= 1:
            break
    if nearest is None:
        raise BadInput(problem or "no number of probes is left to choose from")
    return nearest[1]


def choose_coverage(coverage: CoverageTest, honest: Effort, targets: Targets) -> CoverageTest:
    """The middle, in whole hundredths, of the demands that keep both rates: as far from either error as can be.

    Half of the rate of false refusals is left for the hits. Where no demand keeps both, the middle of those that keep
    just one, and the error rates say so.
    """

    def demanding(hundredths: int) -> CoverageTest:
        return replace(coverage, min_coverage=hundredths / 100)

    def is_paid_falsely(hundredths: int) -> bool:
        return demanding(hundredths).pass_probability(targets.partial, honest.top_rank) > targets.false_pay

    def is_honest_safe(hundredths: int) -> bool:
        return 1 - demanding(hundredths).pass_probability(1.0, honest.top_rank) <= targets.false_refuse / 2

    hundredths = range(101)
    # Both answers change once: the first demand that partial training does not meet, the last that honest work does.
    low = bisect_left(hundredths, True, key=lambda demand: not is_paid_falsely(demand))
    high = bisect_left(hundredths, True, key=lambda demand: not is_honest_safe(demand)) - 1
    return demanding(max(1, min(100, (low + high) // 2)))


def list_error_rates(power: Power, honest: Effort, targets: Targets) -> list[ErrorRate]:
    """Every error of the test: the hypotheses are what a model was trained on, the events what becomes of its miner."""
    activation = f"each mark activates with {honest.activation:g}"
    if power.coverage is not None:
        activation += f", rank 0 in {honest.top_rank:g} of the coverage marks"
    weak = replace(honest, activation=targets.least_activation)
    part, nothing = power.odds(honest.partly(targets.partial)), power.odds(NO_TRAINING)
    rates = [
        ErrorRate("not paid", f"trained on all rows; {activation}", 1 - power.odds(honest).paid, targets.false_refuse),
        ErrorRate(
            "paid",
            f"trained on {targets.partial:g} of the rows; {activation}",
            part.paid,
            targets.false_pay,
        ),
        ErrorRate("paid", "independent of the draws (null hypothesis)", power.null_pay, targets.false_pay),
    ]
    if power.thresholds.slashing:
        rates += [
            ErrorRate(
                "slashed",
                f"trained on all rows; each mark activates with only {targets.least_activation:g}",
                power.odds(weak).slash_zone,
                targets.false_slash,
            ),
            ErrorRate(
                "not slashed, having signed", "independent of the draws (null hypothesis)", 1 - nothing.slash_zone, None
            ),
        ]
    return rates


def _excess(power: Power, honest: Effort, targets: Targets) -> float:
    """The worse of both error rates as a multiple of what was asked for: at most 1 keeps both."""
    refused = 1 - power.odds(honest).paid
    paid = max(power.odds(honest.partly(targets.partial)).paid, power.null_pay)
    return max(refused / targets.false_refuse, paid / targets.false_pay)
