"""`poke`: anyone ends any state whose deadline has passed, so nothing can be stuck."""

from copy import copy

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import COMMITTEE, MINER, OUTSIDER, PAYER, VALIDATOR

DEFAULTS = {
    TaskState.OPEN: TaskState.OPEN_LAPSED,
    TaskState.ACCEPTED: TaskState.MINER_LAPSED,
    TaskState.SUBMITTED: TaskState.VALIDATOR_LAPSED,
    TaskState.CHALLENGED: TaskState.MINER_LAPSED,
    TaskState.ANSWERED: TaskState.VALIDATOR_LAPSED,
    TaskState.JUDGING: TaskState.REFUNDED,
    TaskState.SLASH_PENDING: TaskState.SLASHED,
}


@pytest.mark.parametrize(("state", "outcome"), DEFAULTS.items())
@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_every_state_has_a_default_after_its_deadline(
    market: Market, state: TaskState, outcome: TaskState, late_s: int
) -> None:
    """C9."""
    round_ = market.reach(state)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        market.poke(round_)
        assert market.task(round_).state is outcome
        assert market.miner().running == 0
    else:
        with reverts("poke: too early"):
            market.poke(round_)


@pytest.mark.parametrize("sender", [PAYER.address, VALIDATOR.address, MINER.address, OUTSIDER.address])
def test_anyone_may(market: Market, sender: str) -> None:
    round_ = market.reach(TaskState.ACCEPTED)
    market.expire(round_)
    market.poke(round_, sender=sender)
    assert market.task(round_).state is TaskState.MINER_LAPSED


@pytest.mark.parametrize("state", DEFAULTS)
def test_an_outcome_is_final(market: Market, state: TaskState) -> None:
    """E13."""
    round_ = market.reach(state)
    market.expire(round_)
    market.poke(round_)
    outcome = market.task(round_)
    holdings = market.holdings()
    assert outcome.state.is_terminal
    for repeat in (
        lambda: market.poke(round_),
        lambda: market.accept(round_),
        lambda: market.submit(round_),
        lambda: market.challenge(round_),
        lambda: market.answer(round_, hits=16),
        lambda: market.settle(round_, hits=16),
        lambda: market.judge(round_, [market.verdict(round_, MINER)]),
        lambda: market.dispute(round_),
    ):
        with reverts("task: not in this state", "settle: not in this state", "poke: not in this state"):
            repeat()
    assert market.task(round_) == outcome
    assert market.holdings() == holdings


def test_every_running_state_has_a_default() -> None:
    assert set(DEFAULTS) == {state for state in TaskState if state is not TaskState.NONE and not state.is_terminal}


def test_a_task_that_never_was_has_no_default(market: Market) -> None:
    with reverts("poke: not in this state"):
        market.poke(market.make_round())


@pytest.mark.parametrize(("state", "outcome"), DEFAULTS.items())
def test_a_chain_that_splits_off_strands_no_task(market: Market, state: TaskState, outcome: TaskState) -> None:
    """C10: under the other chain id no old signature counts, but whoever is owed money gets it."""
    round_ = market.reach(state)
    addresses = [bytes.fromhex(address[2:]) for address in market.addresses]
    split = copy(market)
    split.chain = market.chain.split_off(market.address, [round_.task_id, *addresses])
    assert split.view("domain_separator") != market.view("domain_separator")
    if state is TaskState.SUBMITTED:
        with reverts("settle: commitment does not open"):
            split.settle(round_, hits=16)
    if state is TaskState.JUDGING:
        with reverts("judge: not a committee member", "judge: signers not ascending"):
            split.judge(round_, [market.verdict(round_, member) for member in COMMITTEE])
    split.expire(round_)
    split.poke(round_)
    assert split.task(round_).state is outcome
    assert market.task(round_).state is state
