"""What a task costs and brings, by the figures that the benchmarks measure."""

import json
from pathlib import Path

import pytest

from validator.edges.chain import Fees
from validator.edges.contract import GAS_LIMITS
from validator.operator.costs import (
    CHALLENGE_GAS,
    OPEN_GAS,
    SETTLE_PAID_GAS,
    SETTLE_REFUNDED_GAS,
    estimate_task,
    surplus_wei,
)
from validator.types import Wei

CELLS = json.loads((Path(__file__).parents[2] / "benchmarks" / "results.json").read_text())
FEES = Fees(Wei(10**9), Wei(10**8))


def gas(cell: str) -> dict[str, int]:
    measured: dict[str, int] = next(cells[cell] for cells in (CELLS, *CELLS.values()) if cell in cells)["gas"]
    return measured


def test_the_gas_is_what_the_benchmarks_measured():
    """Rounded up by at most five per cent, so that a change of the contract is noticed here."""
    pairs = [(OPEN_GAS, gas("gas/calls")["open_task"][0]), (CHALLENGE_GAS, gas("gas/calls")["challenge"][0])]
    for marks in (16, 32, 64):
        measured = gas(f"gas/settle/{marks}/100000")
        pairs += [(SETTLE_PAID_GAS[marks], measured["paid"]), (SETTLE_REFUNDED_GAS[marks], measured["refunded"])]
    for ours, measured_gas in pairs:
        assert measured_gas <= ours <= measured_gas * 1.05


def test_no_call_takes_more_gas_than_its_limit():
    assert GAS_LIMITS["open_task"] > OPEN_GAS
    assert GAS_LIMITS["challenge"] > CHALLENGE_GAS
    assert max(SETTLE_REFUNDED_GAS.values()) < GAS_LIMITS["settle"]


def test_a_task_is_reckoned_at_the_fees_of_the_next_block():
    cost = estimate_task(10**18, 64, FEES)
    assert cost.fee_wei == 5 * 10**16
    assert cost.bond_wei == 125 * 10**16 + 25 * 10**13
    assert cost.paid_wei == (140_000 + 375_000) * 11 * 10**8
    assert cost.worst_wei == (140_000 + 80_000 + 1_770_000) * 21 * 10**8


@pytest.mark.parametrize(("probes", "marks"), [(16, 16), (17, 32), (32, 32), (33, 64), (64, 64)])
def test_marks_between_two_measurements_cost_what_more_marks_do(probes: int, marks: int):
    assert estimate_task(1, probes, FEES) == estimate_task(1, marks, FEES)


@pytest.mark.parametrize(
    ("credit_wei", "places", "surplus"), [(0, 8, 0), (80, 8, 0), (79, 8, 0), (95, 8, 15), (95, 0, 95)]
)
def test_surplus_is_what_no_free_place_needs(credit_wei: int, places: int, surplus: int):
    """H1: what is not at work need not be within reach of the hot key."""
    assert surplus_wei(credit_wei, 10, places) == surplus
