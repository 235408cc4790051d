"""The anvil chain does what the fast chain does, and mines several transactions into one block in a given order."""

import pytest

from contracts import TaskState
from tests.contracts.anvil import Anvil, Call, RpcError
from tests.contracts.evm import GENESIS_S, Reverted, reverts
from tests.contracts.market import Market
from tests.contracts.rounds import AUDITOR, EVERYBODY, MINER, OUTSIDER, PAYER, VALIDATOR


def lead_to_a_slash(market: Market) -> list[object]:
    """A round with a refusal and a wait in it, and all that can be seen of it."""
    events = []
    round_ = market.reach(TaskState.SUBMITTED)
    with reverts("poke: too early"):
        market.poke(round_)
    with reverts(""):
        market.call(OUTSIDER.address, "unstake", value_wei=1)
    events += market.settle(round_, hits=0)
    market.expire(round_)
    events += market.poke(round_)
    events += market.call(MINER.address, "withdraw", 1_000)
    balances = [market.chain.balance(actor.address) for actor in EVERYBODY]
    return [market.address, round_.task_id, events, balances, market.task(round_), market.holdings(), market.miner()]


def test_a_round_leaves_the_same_on_both_chains(anvil: Anvil, market: Market) -> None:
    """Addresses too: what was signed for the contract on one chain counts on the other."""
    assert lead_to_a_slash(Market(anvil)) == lead_to_a_slash(market)


def test_later_deployments_have_the_same_addresses_too(anvil: Anvil, market: Market) -> None:
    returns_nothing = bytes.fromhex("60006000f3")
    on_anvil = Market(anvil)
    assert [anvil.deploy(returns_nothing) for _ in range(2)] == [market.chain.deploy(returns_nothing) for _ in range(2)]
    assert on_anvil.address == market.address


def test_blocks_may_share_a_time_but_not_go_back(anvil: Anvil) -> None:
    block_s = []
    for now in (GENESIS_S, GENESIS_S + 7, GENESIS_S + 7):
        anvil.now = now
        for _ in range(2):
            anvil.transact(PAYER.address, OUTSIDER.address, b"", 0)
            block_s.append(int(anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) - GENESIS_S)
    assert block_s == [0, 0, 7, 7, 7, 7]
    with pytest.raises(RpcError, match="lower than previous block's timestamp"):
        anvil.now = GENESIS_S + 6


def test_a_rolled_back_chain_is_where_it_was(anvil: Anvil) -> None:
    market = Market(anvil)
    round_ = market.reach(TaskState.OPEN)
    now, block, holdings = anvil.now, anvil.rpc("eth_blockNumber"), market.holdings()
    with market.rolled_back():
        market.expire(round_)
        market.poke(round_)
        assert market.task(round_).state is TaskState.OPEN_LAPSED
    assert (market.task(round_).state, market.holdings()) == (TaskState.OPEN, holdings)
    assert (anvil.now, anvil.rpc("eth_blockNumber")) == (now, block)
    market.accept(round_)
    assert int(anvil.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16) == now


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_one_block_holds_calls_in_the_order_given(anvil: Anvil, order: tuple[int, ...]) -> None:
    calls = [Call(actor.address, OUTSIDER.address, b"", 1) for actor in (PAYER, VALIDATOR, MINER, AUDITOR)]
    for call in calls:
        anvil.fund(call.sender, 1)
    before = int(anvil.rpc("eth_blockNumber"), 16)
    assert anvil.mine_together([calls[i] for i in order]) == [[]] * 4
    block = anvil.rpc("eth_getBlockByNumber", "latest", True)
    assert int(block["number"], 16) == before + 1
    assert [transaction["from"] for transaction in block["transactions"]] == [calls[i].sender.lower() for i in order]


def test_one_sender_may_call_several_times_in_a_block(anvil: Anvil) -> None:
    market = Market(anvil)
    too_much = market.calldata("withdraw", 2**255)
    all_of_it = market.calldata("withdraw", market.credits(PAYER.address))
    calls = [Call(PAYER.address, market.address, data) for data in (too_much, all_of_it, all_of_it)]
    refused, paid, again = anvil.mine_together(calls)
    assert isinstance(refused, Reverted)
    assert isinstance(again, Reverted)
    assert (str(refused), str(again)) == ("credits: too little", "credits: too little")
    assert isinstance(paid, list)
    assert len(paid) == 1
