"""What each step of a round costs whoever takes it, so that one can see what it costs to trouble the others."""

from collections.abc import Callable
from typing import NamedTuple

from contracts import TaskState
from tests.contracts.market import Market
from tests.contracts.pyevm import PyEvm
from tests.contracts.rounds import COMMITTEE, Round


class Step(NamedTuple):
    name: str
    by: str
    before: TaskState | None
    """The state that the round is in; None: not opened yet."""
    call: Callable[[Market, Round], object]
    gas: tuple[int, int]
    """At n = 16 over 300 rows and at n = 64 over 3,200 rows, rounded up."""


def _settle_paid(market: Market, round_: Round) -> None:
    market.settle(round_, hits=round_.terms.n)


def _settle_otherwise(market: Market, round_: Round) -> None:
    market.settle(round_, hits=0)


def _answer(market: Market, round_: Round) -> None:
    market.answer(round_, hits=round_.terms.n)


def _judge(market: Market, round_: Round) -> None:
    market.judge(round_, [market.verdict(round_, member) for member in COMMITTEE[:2]])


def _poke(market: Market, round_: Round) -> None:
    market.expire(round_)
    market.poke(round_)


STEPS = [
    Step("`open_task`", "validator", None, Market.open, (145_000, 145_000)),
    Step("`accept`", "miner", TaskState.OPEN, Market.accept, (50_000, 50_000)),
    Step("`submit`", "miner", TaskState.ACCEPTED, Market.submit, (65_000, 65_000)),
    Step("`settle`, paid", "validator", TaskState.SUBMITTED, _settle_paid, (155_000, 390_000)),
    Step("`settle`, every row proved", "validator", TaskState.SUBMITTED, _settle_otherwise, (310_000, 1_380_000)),
    Step("`challenge`", "validator", TaskState.SUBMITTED, Market.challenge, (85_000, 140_000)),
    Step("`answer`, prepaid by a", "miner", TaskState.CHALLENGED, _answer, (70_000, 125_000)),
    Step("`judge`, a quorum of 2", "anyone", TaskState.JUDGING, _judge, (90_000, 90_000)),
    Step("`dispute`", "anyone", TaskState.SLASH_PENDING, Market.dispute, (100_000, 150_000)),
    Step("`poke`", "anyone", TaskState.SUBMITTED, _poke, (65_000, 65_000)),
]


def measure(n: int, k: int) -> list[tuple[Step, int]]:
    """Gas of each of `STEPS` for n marks in k rows on py-evm, whose gas is a real chain's."""
    chain = PyEvm()
    market = Market(chain)
    measured = []
    for step in STEPS:
        round_ = market.make_round(n=n, k=k) if step.before is None else market.reach(step.before, n=n, k=k)
        step.call(market, round_)
        measured.append((step, chain.gas_used))
    return measured


def render() -> str:
    lines = [
        "## What each step costs\n",
        "Gas, measured for n = 16 over 300 rows and n = 64 over 3,200, rounded up. No other number here holds it.\n",
        "| step | paid by | n = 16 | n = 64 |",
        "|---|---|---|---|",
    ]
    lines += (f"| {step.name} | {step.by} | {step.gas[0]:,} | {step.gas[1]:,} |" for step in STEPS)
    return "\n".join(lines) + "\n"
