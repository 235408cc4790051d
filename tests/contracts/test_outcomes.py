"""The outcome table of the protocol, every row and column to the wei, and the whole way to each row."""

from typing import NamedTuple

import pytest

from contracts import TaskState
from tests.contracts.evm import Event
from tests.contracts.market import Holdings, Market
from tests.contracts.rounds import AUDITOR, COMMITTEE, MINER, NOBODY, Round
from validator.protocol.commitment import Terms


class Row(NamedTuple):
    """Who gets each of the five amounts: a party, `back` (its owner), `burned`, or `none` (was never locked)."""

    reward: str
    fee: str
    miner_bond: str
    availability_bond: str
    validator_bond: str


TABLE = {
    TaskState.OPEN_LAPSED: Row("payer", "payer", "none", "none", "back"),
    TaskState.MINER_LAPSED: Row("payer", "payer", "back", "burned", "back"),
    TaskState.VALIDATOR_LAPSED: Row("payer", "payer", "back", "back", "reward to miner, rest burned"),
    TaskState.PAID: Row("miner", "validator", "back", "back", "back"),
    TaskState.REFUNDED: Row("payer", "validator", "back", "back", "back"),
    TaskState.SLASHED: Row("payer", "validator", "burned", "back", "back"),
    TaskState.DISPUTED: Row("payer", "payer", "back", "back", "reward to miner, rest burned"),
}

# Every way into an outcome: the running state, the hits that were signed or answered, the call that ends it.
WAYS = [
    (TaskState.OPEN, None, "poke", TaskState.OPEN_LAPSED),
    (TaskState.ACCEPTED, None, "poke", TaskState.MINER_LAPSED),
    (TaskState.CHALLENGED, None, "poke", TaskState.MINER_LAPSED),
    (TaskState.SUBMITTED, None, "poke", TaskState.VALIDATOR_LAPSED),
    (TaskState.ANSWERED, 16, "poke", TaskState.VALIDATOR_LAPSED),
    (TaskState.SUBMITTED, 12, "settle", TaskState.PAID),
    (TaskState.ANSWERED, 16, "settle", TaskState.PAID),
    (TaskState.JUDGING, 16, "judge", TaskState.PAID),
    (TaskState.JUDGING, 16, "poke", TaskState.REFUNDED),
    (TaskState.SUBMITTED, 11, "settle", TaskState.REFUNDED),
    (TaskState.CHALLENGED, 5, "answer, settle", TaskState.REFUNDED),
    (TaskState.SLASH_PENDING, 0, "poke", TaskState.SLASHED),
    (TaskState.CHALLENGED, 0, "answer, settle, poke", TaskState.SLASHED),
    (TaskState.SLASH_PENDING, 0, "dispute", TaskState.DISPUTED),
    (TaskState.CHALLENGED, 0, "answer, settle, dispute", TaskState.DISPUTED),
]


def expected(terms: Terms, row: Row, is_answered: bool) -> Holdings:
    """What the round as a whole has moved, from before `open_task` on, read off the table."""
    answer_fee = terms.answer_fee if is_answered else 0
    rest_of_bond = terms.validator_bond - answer_fee
    moved = {"payer": -(terms.reward + terms.fee), "validator": -terms.validator_bond, "miner": answer_fee}
    stake = burned = 0
    moved[row.reward] += terms.reward
    moved[row.fee] += terms.fee
    for bond, share in ((row.miner_bond, terms.miner_bond), (row.availability_bond, terms.availability_bond)):
        if bond == "burned":
            stake -= share
            burned += share
    if row.validator_bond == "back":
        moved["validator"] += rest_of_bond
    else:
        moved["miner"] += terms.reward
        burned += rest_of_bond - terms.reward
    return Holdings(moved["payer"], moved["validator"], moved["miner"], stake, burned)


def go(market: Market, round_: Round, calls: str, hits: int | None) -> list[Event]:
    events: list[Event] = []
    for call in calls.split(", "):
        if call == "poke":
            market.expire(round_)
            events = market.poke(round_)
        elif call == "judge":
            events = market.judge(round_, [market.verdict(round_, member) for member in COMMITTEE])
        elif call == "dispute":
            events = market.dispute(round_)
        else:
            events = getattr(market, call)(round_, hits)
    return events


@pytest.mark.parametrize(("state", "hits", "calls", "outcome"), WAYS)
def test_every_way_into_an_outcome_pays_its_row_of_the_table(
    market: Market, state: TaskState, hits: int | None, calls: str, outcome: TaskState
) -> None:
    before, stakes_before = market.holdings(), market.miner()
    round_ = market.reach(state)
    *_, closed = go(market, round_, calls, hits)
    is_answered = market.task(round_).is_answered
    assert is_answered == (state is TaskState.ANSWERED or "answer" in calls)

    moved = market.holdings().since(before)
    assert market.task(round_).state is outcome
    assert moved == expected(round_.terms, TABLE[outcome], is_answered)
    assert sum(moved) == 0
    assert market.miner().locked == 0
    assert market.miner().running == 0
    assert market.miner().epoch == stakes_before.epoch

    assert closed.name == "TaskClosed"
    answer_fee = round_.terms.answer_fee if is_answered else 0
    assert closed.args == {
        "task_id": round_.task_id,
        "outcome": outcome,
        "to_payer": moved.payer + round_.terms.reward + round_.terms.fee,
        "to_validator": moved.validator + round_.terms.validator_bond,
        "to_miner": moved.miner - answer_fee,
        "burned": moved.burned,
    }


def test_every_row_of_the_table_is_reached() -> None:
    assert {outcome for *_, outcome in WAYS} == set(TABLE) == {state for state in TaskState if state.is_terminal}


@pytest.mark.parametrize(("state", "hits", "calls", "outcome"), WAYS)
def test_after_every_outcome_everybody_takes_out_all_they_own(
    market: Market, state: TaskState, hits: int | None, calls: str, outcome: TaskState
) -> None:
    """C9: nothing stays behind, so nothing was stuck and nothing was made up."""
    supply_wei = sum(market.chain.balance(address) for address in (*market.addresses, market.address, NOBODY))
    round_ = market.reach(state)
    go(market, round_, calls, hits)
    take_all_out(market)
    assert market.task(round_).state is outcome
    assert market.chain.balance(market.address) == 0
    assert sum(market.chain.balance(address) for address in (*market.addresses, NOBODY)) == supply_wei


def take_all_out(market: Market) -> None:
    for address in market.addresses:
        market.call(address, "request_unstake", market.miner(address).stake)
    market.chain.now = market.miner().unstake_ready_at
    for address in market.addresses:
        if market.miner(address).unstaking:
            market.call(address, "unstake")
        market.call(address, "withdraw", market.credits(address))


def test_the_whole_happy_path(market: Market) -> None:
    round_ = market.make_round(n=64, k=200)
    market.open(round_)
    market.accept(round_)
    market.submit(round_)
    market.settle(round_, hits=60)
    assert market.task(round_).state is TaskState.PAID
    take_all_out(market)
    assert market.chain.balance(market.address) == 0


def test_one_party_in_several_roles_keeps_the_books(market: Market) -> None:
    """E6: a party that slashes itself has burned its own stake and gained nothing."""
    market.call(MINER.address, "deposit", value_wei=10**9)
    before = market.credits(MINER.address) + market.miner().stake
    round_ = market.retarget(market.make_round(), payer=MINER.address, validator=MINER.address)
    round_ = market.recommit(round_)
    order = market.order(round_)
    market.call(MINER.address, "open_task", round_.terms.as_tuple(), order, market.sign_order(MINER, order))
    market.accept(round_)
    market.submit(round_)
    market.settle(round_, hits=0, sender=MINER.address)
    market.expire(round_)
    market.poke(round_, sender=AUDITOR.address)
    after = market.credits(MINER.address) + market.miner().stake
    assert market.task(round_).state is TaskState.SLASHED
    assert before - after == round_.terms.miner_bond


def test_a_single_wei_is_burned_too(market: Market) -> None:
    round_ = market.reach(TaskState.ACCEPTED, reward=2, availability_bond=1)
    before = market.holdings()
    market.expire(round_)
    market.poke(round_)
    assert market.holdings().since(before).burned == 1


def test_forced_ether_changes_no_outcome(market: Market) -> None:
    """E3."""
    before = market.holdings()
    round_ = market.reach(TaskState.SLASH_PENDING)
    market.force_ether(123_456)
    market.expire(round_)
    market.poke(round_)
    assert market.holdings().since(before) == expected(round_.terms, TABLE[TaskState.SLASHED], is_answered=False)
