"""Who earns what, to the wei, and the bond from which on honest training earns most."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.plan.economics import (
    DECLINE,
    HONEST,
    MINER_GAS,
    Cheat,
    Costs,
    Stakes,
    Strategy,
    find_least_reward,
    find_paying,
    find_smallest_bond,
    list_strategies,
    partial,
)
from validator.plan.power import Effort, IndependentMarks, Odds, Power, SharedRule
from validator.plan.terms import choose_thresholds

ETHER = 10**18
WHOLE = Effort(1.0, 1.0, 0.9, 0.85)
COSTS = Costs(training_wei=ETHER // 2, fixed_share=0.0, inference_wei=0, lookup_wei=0, gas_price_wei=0)
STAKES = Stakes(ETHER, ETHER, ETHER // 2)

probabilities = st.floats(0, 1)
odds = st.builds(
    lambda paid, rest: Odds(paid, (1 - paid) * rest), probabilities, st.one_of(st.just(0.0), probabilities)
)
strategies = st.builds(Strategy, st.just("a cheat"), odds, st.integers(0, 2 * ETHER))
listings = st.builds(
    lambda honest, cheats: [replace(honest, name=HONEST), Strategy(DECLINE, Odds(0.0, 0.0), 0), *cheats],
    strategies,
    st.lists(strategies, max_size=6),
)


@given(listings, st.integers(0, 2 * ETHER))
def test_the_smallest_bond_is_the_boundary(listed, reward_wei):
    """Just below it a cheat pays, at it none does; where there is none, something pays whatever the bond is."""
    bond = find_smallest_bond(listed, reward_wei)
    if bond is None:
        for any_bond in (0, 1, reward_wei // 2, reward_wei, 10 * ETHER, 2**96 - 1):
            assert find_paying(listed, Stakes(reward_wei, any_bond, any_bond))
        return
    assert not find_paying(listed, Stakes(reward_wei, bond, bond))
    assert bond == 0 or find_paying(listed, Stakes(reward_wei, bond - 1, bond - 1))


@given(st.floats(0.95, 1), st.integers(85 * ETHER // 100, 95 * ETHER // 100))
def test_the_smallest_bond_of_a_real_test_is_the_boundary(activation, cost_wei):
    """Half-trainers of a shared pair, whom bonds do deter."""
    power = Power(SharedRule(2.0**-40), choose_thresholds(64, slashing=True))
    honest = Effort(1.0, 1.0, activation)
    listed = list_strategies(power, honest, [partial(0.5, honest)], replace(COSTS, training_wei=cost_wei))
    listed = [strategy for strategy in listed if not strategy.is_looking_up]
    bond = find_smallest_bond(listed, ETHER)
    assert bond
    assert not find_paying(listed, Stakes(ETHER, bond, bond))
    assert find_paying(listed, Stakes(ETHER, bond - 1, bond - 1))


@pytest.mark.parametrize(("miner_bond", "availability_bond", "lost"), [(9, 5, 5), (5, 9, 5), (0, 9, 0)])
def test_a_miner_that_has_failed_picks_the_cheaper_end(miner_bond, availability_bond, lost):
    """Protocol, "What no protocol here removes": it grades itself, and signs or is silent."""
    failed = Strategy("failed", Odds(0.0, 1.0), 0)
    assert failed.profit_wei(Stakes(100, miner_bond, availability_bond)) == -lost


def test_profits_are_exact():
    strategy = Strategy("any", Odds(0.25, 0.5), 7, lapses=0.125)
    assert strategy.profit_wei(Stakes(101, 9, 5)) == Fraction(101, 4) - Fraction(5, 2) - Fraction(5, 8) - 7


def test_every_listed_strategy_is_there_with_its_cost():
    costs = Costs(training_wei=1000, fixed_share=0.25, inference_wei=10, lookup_wei=3, gas_price_wei=0)
    power = Power(IndependentMarks(10_000, 1 / 256), choose_thresholds(64, slashing=True))
    cheats = [partial(0.5, WHOLE), Cheat("half of the epochs", 0.5, replace(WHOLE, activation=0.3))]
    listed = list_strategies(power, WHOLE, cheats, costs)
    assert [(strategy.name, strategy.cost_wei) for strategy in listed] == [
        ("honest training", 1010),
        ("declining the task", 0),
        ("accepting and silence", 0),
        ("serving the base model", 10),
        ("looking replies up, without training", 3),
        ("training on 0.5 of the rows", 635),
        ("half of the epochs", 635),
    ]
    assert [strategy.odds.paid for strategy in listed if strategy.is_looking_up] == [1.0]
    assert [strategy.lapses for strategy in listed if strategy.lapses] == [1.0]


def test_gas_is_paid_by_whoever_takes_part():
    listed = list_strategies(
        Power(IndependentMarks(10_000, 1 / 256), choose_thresholds(64, slashing=True)),
        WHOLE,
        [],
        Costs(0, 0.0, 0, 0, gas_price_wei=10**9),
    )
    costs = {strategy.name: strategy.cost_wei for strategy in listed}
    assert costs[HONEST] == MINER_GAS * 10**9 > costs["accepting and silence"] > costs[DECLINE] == 0


def test_looking_up_pays_whenever_it_is_cheaper_than_training():
    """Whatever the bonds and the thresholds are, as long as only replies are looked at."""
    power = Power(IndependentMarks(10_000, 1 / 256), choose_thresholds(64, slashing=True))
    for lookup_wei, pays in ((COSTS.training_wei - ETHER // 1000, True), (COSTS.training_wei, False)):
        listed = list_strategies(power, replace(WHOLE, activation=1.0), [], replace(COSTS, lookup_wei=lookup_wei))
        paying = find_paying(listed, Stakes(ETHER, 10**6 * ETHER, 10**6 * ETHER))
        assert [strategy.is_looking_up for strategy in paying] == [True] * pays
        assert (find_smallest_bond(listed, ETHER) is None) == pays


def test_judged_weights_make_looking_up_pay_no_more_than_its_weights_do():
    power = Power(IndependentMarks(10_000, 1 / 256), choose_thresholds(64, slashing=True), are_weights_judged=True)
    listed = list_strategies(power, WHOLE, [partial(0.5, WHOLE)], COSTS)
    looked_up = [strategy for strategy in listed if strategy.is_looking_up]
    assert [strategy.name for strategy in looked_up] == [
        "looking replies up, without training",
        "looking replies up, training on 0.5 of the rows",
    ]
    assert all(strategy.odds.paid < 1e-5 and strategy.odds.slash_zone == 0 for strategy in looked_up)
    assert find_paying(listed, STAKES) == []


def test_bonds_deter_who_is_slashed_and_nobody_else():
    """A half-trainer of a shared pair: paid with 2/3, slashed with 1/3, for half of the cost."""
    honest = Strategy(HONEST, Odds(1.0, 0.0), 900)
    cheat = Strategy("half", Odds(0.5, 0.5), 450)
    doubtful = Strategy("half, of marks", Odds(0.75, 0.0), 450)
    assert find_smallest_bond([honest, cheat], 1000) is not None
    assert find_paying([honest, cheat], Stakes(1000, 0, 500)) == []
    assert find_smallest_bond([honest, replace(cheat, odds=Odds(0.6, 0.4))], 1000) == 125
    assert find_smallest_bond([honest, doubtful], 1000) is None, "doubt costs a miner nothing"


def test_a_bond_can_be_too_large_for_honest_miners():
    """One that is slashed now and then declines where the bond weighs more than its profit."""
    honest = Strategy(HONEST, Odds(63 / 64, 1 / 64), 984)
    cheat = Strategy("a cheat", Odds(1 / 2, 1 / 32), 490)
    decline = Strategy(DECLINE, Odds(0.0, 0.0), 0)
    assert find_smallest_bond([honest, cheat], 1000) == 616
    assert find_smallest_bond([honest, decline, cheat], 1000) is None


@given(listings, st.integers(0, ETHER), st.integers(0, ETHER))
def test_the_least_reward_is_the_boundary(listed, one_wei, other_wei):
    least = find_least_reward(listed, Stakes(0, one_wei, other_wei))
    if least is None:
        for reward_wei in (0, ETHER, 10 * ETHER, 2**96 - 1):
            assert find_paying(listed, Stakes(reward_wei, one_wei, other_wei))
        return
    assert not find_paying(listed, Stakes(least, one_wei, other_wei))
    assert least == 0 or find_paying(listed, Stakes(least - 1, one_wei, other_wei))
