"""What the contract checks of the terms: each at its bounds, and past them with a reason of its own."""

from typing import Any

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import FLOORS_S, Market
from tests.contracts.rounds import DURATIONS

MAX_WEI = 2**96 - 1
MAX_UINT = 2**256 - 1
MAX_SECONDS = 366 * 86_400

AT_THE_BOUNDS: list[dict[str, Any]] = [
    {"w": 1},
    {"w": 16, "max_tokens": 16},
    {"max_tokens": MAX_UINT},
    {"n": 16, "k_pay": 11, "k_slash": 2},
    {"n": 16, "k_pay": 16, "k_slash": 0},
    {"n": 64, "k_pay": 43, "k_slash": 8},
    {"n": 17, "k_pay": 12, "k_slash": 2},
    {"n": 18, "k_pay": 12, "k_slash": 2},
    {"weights": 2, "quorum": 1},
    {"weights": 2, "quorum": 16},
    {"weights": 0, "quorum": 0},
    {"min_coverage_bps": 10_000},
    {"reward": 0, "fee": 0, "miner_bond": 0, "availability_bond": 0, "validator_bond": 0, "answer_fee": 0},
    {"reward": 1, "availability_bond": 1, "validator_bond": 1, "answer_fee": 0},
    {"reward": 900, "availability_bond": 450, "validator_bond": 1_000, "answer_fee": 100},
    {"miner_bond": MAX_WEI, "availability_bond": MAX_WEI},
    dict(zip(DURATIONS, FLOORS_S, strict=True)),
    dict.fromkeys(DURATIONS, MAX_SECONDS),
]

PAST_THE_BOUNDS: list[tuple[dict[str, Any], str]] = [
    ({"w": 0}, "terms: w"),
    ({"w": 17}, "terms: w"),
    ({"n": 15, "k_pay": 12}, "terms: n"),
    ({"n": 65, "k_pay": 50}, "terms: n"),
    ({"k_pay": 10}, "terms: k_pay"),
    ({"k_pay": 17}, "terms: k_pay"),
    ({"k_pay": MAX_UINT}, "terms: k_pay"),
    ({"n": 17, "k_pay": 11}, "terms: k_pay"),
    ({"k_slash": 3}, "terms: k_slash"),
    ({"n": 63, "k_slash": 8}, "terms: k_slash"),
    ({"k_slash": MAX_UINT}, "terms: k_slash"),
    ({"max_tokens": 3}, "terms: max_tokens"),
    ({"weights": 3}, "terms: weights"),
    ({"min_coverage_bps": 10_001}, "terms: min_coverage_bps"),
    ({"quorum": 17}, "terms: quorum"),
    ({"weights": 2, "quorum": 0}, "terms: quorum"),
    *(
        ({name: too_large}, "terms: amount too large")
        for name in ("reward", "fee", "miner_bond", "availability_bond", "validator_bond", "answer_fee")
        for too_large in (MAX_WEI + 1, MAX_UINT)
    ),
    ({"reward": 900, "validator_bond": 999, "answer_fee": 100}, "terms: validator_bond"),
    ({"reward": 901, "availability_bond": 450}, "terms: availability_bond"),
    *(({name: floor_s - 1}, "terms: duration too short") for name, floor_s in zip(DURATIONS, FLOORS_S, strict=True)),
    *(({name: MAX_SECONDS + 1}, "terms: duration too long") for name in DURATIONS),
    *(({name: MAX_UINT}, "terms: duration too long") for name in DURATIONS),
]


@pytest.mark.parametrize("terms", AT_THE_BOUNDS)
def test_terms_at_their_bounds_open(market: Market, terms: dict[str, Any]) -> None:
    round_ = market.make_round(k=80, **terms)
    market.open(round_)
    assert market.task(round_).state is TaskState.OPEN


@pytest.mark.parametrize(("terms", "reason"), PAST_THE_BOUNDS)
def test_terms_past_their_bounds_do_not(market: Market, terms: dict[str, Any], reason: str) -> None:
    """E11, V7."""
    with reverts(reason):
        market.open(market.make_round(k=80, **terms))


@pytest.mark.parametrize("index", range(8))
def test_network_durations_have_the_same_ceiling(index: int) -> None:
    parameters = [MAX_SECONDS] * 7
    Market(floors_s=parameters, unstake_delay_s=MAX_SECONDS)
    with reverts("network: duration too long"):
        if index < 7:
            parameters[index] += 1
            Market(floors_s=parameters)
        else:
            Market(unstake_delay_s=MAX_SECONDS + 1)


def test_network_parameters_are_readable() -> None:
    parameters = Market(unstake_delay_s=77).view("network")
    assert parameters[:8] == (*FLOORS_S, 77)
