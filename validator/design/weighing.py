"""Whether honest training is what pays best under a test, and what would help where it is not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from validator.amounts import MAX_WEI, describe_ether
from validator.design.choosing import ChosenTest, choose_test, possible_counts
from validator.design.options import CANARY, CANARY_AND_COVERAGE, JUDGED, DesignOptions
from validator.errors import BadInput
from validator.plan.economics import (
    Cheat,
    Costs,
    Stakes,
    Strategy,
    find_least_reward,
    find_paying,
    find_smallest_bond,
    list_strategies,
    partial,
    train_less,
)
from validator.plan.power import Effort
from validator.plan.terms import compute_availability_bond
from validator.types import Wei

_STEPS = 20
"""Partial trainers are listed in steps of one twentieth of the rows."""
_NAMED = 3
"""Paying cheats that are refusals of their own; the rest are in the list of strategies."""
_NO_WAY_OUT = "nothing alone helps, not bonds, reward, probes, kPay or judges: combine them, or ask for fewer epochs"


@dataclass(frozen=True, slots=True)
class Economics:
    """Strategies with honest training first; `paying` earn more than it, the most profitable first.

    Where look-up is acknowledged it is among the strategies and never among `paying`. `smallest_bond_wei` is what both
    bonds must at least be, None where no bond deters. `undeterred` is the most profitable share over `partial`, which
    the test is not asked to tell from the whole, where that earns more than honest training.
    """

    stakes: Stakes
    costs: Costs
    strategies: tuple[Strategy, ...]
    paying: tuple[Strategy, ...]
    smallest_bond_wei: Wei | None
    undeterred: Strategy | None
    ways_out: tuple[str, ...]

    @property
    def honest(self) -> Strategy:
        return self.strategies[0]

    def gain_wei(self, strategy: Strategy) -> int:
        """What it earns over honest training, rounded down."""
        return int(strategy.profit_wei(self.stakes) - self.honest.profit_wei(self.stakes))

    def describe_paying(self) -> list[str]:
        """The worst of them, in words."""
        return [
            f"{strategy.name} earns {describe_ether(self.gain_wei(strategy))} more than {self.honest.name}"
            for strategy in self.paying[:_NAMED]
        ]


def weigh(options: DesignOptions, test: ChosenTest) -> Economics:
    """BadInput unless `options` name a reward and the cost of training."""
    stakes, costs = _stakes(options), _costs(options)
    strategies = _strategies(options, test)
    paying = find_paying(_listed(options, strategies), stakes)
    bond = find_smallest_bond(_listed(options, strategies), stakes.reward_wei)
    if bond is not None and bond > MAX_WEI:
        bond = None
    above = [step / _STEPS for step in range(1, _STEPS) if step / _STEPS > options.partial]
    undeterred = [
        strategy for share in (*above, 0.99) for strategy in train_less(test.power, partial(share, test.honest), costs)
    ]
    return Economics(
        stakes=stakes,
        costs=costs,
        strategies=tuple(strategies),
        paying=tuple(paying),
        smallest_bond_wei=bond,
        undeterred=next(iter(find_paying(_listed(options, [strategies[0], *undeterred]), stakes)), None),
        ways_out=(tuple(_find_ways_out(options, test, bond)) or (_NO_WAY_OUT,)) if paying else (),
    )


def _strategies(options: DesignOptions, test: ChosenTest) -> list[Strategy]:
    return list_strategies(test.power, test.honest, _cheats(options, test.honest), _costs(options))


def _listed(options: DesignOptions, strategies: list[Strategy]) -> list[Strategy]:
    """Without what the operator has acknowledged to be out of the test's reach."""
    return [strategy for strategy in strategies if not (options.is_lookup_accepted and strategy.is_looking_up)]


def _stakes(options: DesignOptions) -> Stakes:
    if options.reward_wei is None:
        raise BadInput("economics need a reward")
    bond, availability = options.miner_bond_wei, options.availability_bond_wei
    return Stakes(
        options.reward_wei,
        options.reward_wei if bond is None else bond,
        compute_availability_bond(options.reward_wei) if availability is None else availability,
    )


def _costs(options: DesignOptions) -> Costs:
    if options.training_wei is None:
        raise BadInput("economics need the cost of training")
    return Costs(
        options.training_wei, options.fixed_cost, options.inference_wei, options.lookup_wei, options.gas_price_wei
    )


def _cheats(options: DesignOptions, honest: Effort) -> list[Cheat]:
    """Every way to train less that is known of: fewer epochs, the rows that look marked, shares up to `partial`."""
    cheats = []
    for work, activation, top_rank in options.fewer_epochs:
        effort = Effort(1.0, 1.0, activation, top_rank)
        cheats.append(Cheat(f"{work:g} of the epochs", work, effort))
    for kept, held in options.selective:
        effort = replace(honest, row_share=kept, mark_share=held)
        cheats.append(Cheat(f"training on the {kept:g} of the rows that look most marked", kept, effort))
    shares = [0.01, *(step / _STEPS for step in range(1, _STEPS) if step / _STEPS < options.partial), options.partial]
    return cheats + [partial(share, honest) for share in shares]


def _find_ways_out(options: DesignOptions, test: ChosenTest, bond: Wei | None) -> Iterator[str]:
    """What would make honest training the most profitable: each is tried, and only what works is named."""
    stakes, thresholds = _stakes(options), test.power.thresholds
    strategies = _strategies(options, test)

    def is_sound(**changes: Any) -> bool:
        try:
            changed = replace(options, **changes)
            return not find_paying(_listed(changed, _strategies(changed, choose_test(changed))), _stakes(changed))
        except BadInput:  # A reward over twice the bond that was asked for, for one.
            return False

    if bond is not None:
        availability = max(bond, compute_availability_bond(stakes.reward_wei))
        yield f"a miner bond of {describe_ether(bond)} and an availability bond of {describe_ether(availability)}"
    least = find_least_reward(_listed(options, strategies), stakes)
    if least is not None and least <= MAX_WEI and is_sound(reward_wei=least):
        yield f"a reward of at least {describe_ether(least)}"
    larger = [n for n in possible_counts(replace(options, probes=None)) if n > thresholds.n]
    more = next((n for n in larger if is_sound(probes=n, k_pay=None, k_slash=None)), None)
    if more is not None:
        yield f"more probes: --probes {more}"
    higher = range(thresholds.k_pay + 1, thresholds.n + 1)
    stricter = next((k for k in higher if is_sound(probes=thresholds.n, k_pay=k)), None)
    if stricter is not None:
        refused = 1 - replace(test.power, thresholds=replace(thresholds, k_pay=stricter)).odds(test.honest).paid
        yield f"a higher kPay: --probes {thresholds.n} --k-pay {stricter}, which refuses {refused:.2g} of honest miners"
    if not options.are_weights_judged:
        scheme = CANARY_AND_COVERAGE if options.scheme == CANARY else options.scheme
        if is_sound(weights=JUDGED, scheme=scheme, probes=None, k_pay=None, k_slash=None):
            yield "weights that a committee judges: --weights judged"
    if is_sound(is_lookup_accepted=True):
        yield "or say that you know: --accept-lookup (this test then deters only miners that do not look replies up)"
