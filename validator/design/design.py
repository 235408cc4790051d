"""From what is asked to a test, its error rates, its power and its economics, and the reasons to refuse it."""

from bisect import bisect_left
from dataclasses import dataclass

from validator.design.choosing import ChosenTest, choose_test
from validator.design.options import DesignOptions
from validator.design.weighing import Economics, weigh
from validator.plan.choice import ErrorRate, list_error_rates
from validator.plan.subset import chance_of_holding, share_for_chance

CURVE_SHARES = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
CHANCES = (0.01, 0.5, 0.99)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Probabilities where this share of the rows was trained on.

    `bound` is P(the lower bound of coverage reaches the demand), None without coverage; `marks_held` is the paper's
    P(B >= kPay).
    """

    share: float
    paid: float
    slash_zone: float
    bound: float | None
    marks_held: float


@dataclass(frozen=True, slots=True)
class SubsetRow:
    """The share of the rows that gives this chance: by the paper in both conventions, and to be paid by this test."""

    chance: float
    at_least: float | None
    more_than: float | None
    paid: float | None


@dataclass(frozen=True, slots=True)
class Design:
    """A test that somebody may agree to, or the reasons not to: `refusals`, none of which means that it is sound."""

    options: DesignOptions
    test: ChosenTest
    error_rates: tuple[ErrorRate, ...]
    curve: tuple[CurvePoint, ...]
    subset: tuple[SubsetRow, ...]
    economics: Economics | None
    refusals: tuple[str, ...]

    @property
    def is_modelled(self) -> bool:
        """Whether rates rest on how runs of one spec differ, beside what is exact."""
        return self.test.power.coverage is not None


def make_design(options: DesignOptions) -> Design:
    """BadInput for a dataset that is too small, and for terms that the contract does not take."""
    test = choose_test(options)
    errors = tuple(list_error_rates(test.power, test.honest, test.targets))
    economics = None if options.reward_wei is None else weigh(options, test)
    refusals = [
        f"P({error.event} | {error.given}) is {error.probability:.3g}, more than the {error.at_most:.3g} asked for, "
        "and no other test that the options leave comes nearer"
        for error in errors
        if not error.is_kept
    ]
    if economics is not None:
        refusals += economics.describe_paying()
    return Design(
        options=options,
        test=test,
        error_rates=errors,
        curve=_draw_curve(options.rows, test),
        subset=_list_subsets(options.rows, test),
        economics=economics,
        refusals=tuple(refusals),
    )


def _draw_curve(rows: int, test: ChosenTest) -> tuple[CurvePoint, ...]:
    n, k_pay = test.power.thresholds.n, test.power.thresholds.k_pay
    points = []
    for share in sorted({*CURVE_SHARES, test.targets.partial}):
        effort = test.honest.partly(share)
        odds = test.power.odds(effort)
        bound = None if test.coverage is None else test.coverage.pass_probability(share, effort.top_rank)
        points.append(
            CurvePoint(share, odds.paid, odds.slash_zone, bound, chance_of_holding(rows, n, round(share * rows), k_pay))
        )
    return tuple(points)


def _list_subsets(rows: int, test: ChosenTest) -> tuple[SubsetRow, ...]:
    n, k_pay = test.power.thresholds.n, test.power.thresholds.k_pay

    def share_paid(chance: float) -> float | None:
        taken = bisect_left(
            range(rows + 1), chance, key=lambda taken: test.power.odds(test.honest.partly(taken / rows)).paid
        )
        return taken / rows if taken <= rows else None

    return tuple(
        SubsetRow(
            chance,
            share_for_chance(rows, n, k_pay, chance),
            share_for_chance(rows, n, k_pay + 1, chance),
            share_paid(chance),
        )
        for chance in CHANCES
    )
