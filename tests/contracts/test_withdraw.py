"""`withdraw`: credit out, to its owner, once, whatever the owner's code does."""

from collections.abc import Callable

import pytest
from eth_utils.crypto import keccak
from vyper.compiler import compile_code

from contracts import TaskState
from tests.contracts.anvil import Anvil
from tests.contracts.evm import reverts
from tests.contracts.functions import FUNCTIONS, empty_call, selector
from tests.contracts.market import Market
from tests.contracts.races import RACES, Race
from tests.contracts.rounds import EVERYBODY, MINER, OUTSIDER, PAYER, VALIDATOR
from tests.contracts.wallets import (
    BURNS_ALL_GAS,
    INSISTS,
    REENTERS,
    REVERTS,
    REVERTS_WITH_1_MB,
    Wallet,
    wallet_at,
)
from validator.protocol import typed_data
from validator.types import UnixSeconds

FORCES = """
@external
@payable
def force(target: address):
    created: address = raw_create(concat(x"73", convert(target, bytes20), x"ff"), value=msg.value)
"""
STOPS, RETURNS_1_MB = bytes.fromhex("00"), bytes.fromhex("621000005ff3")
MakeRace = Callable[[Market], Race]
VIEWS = [name for name, entry in FUNCTIONS.items() if entry["stateMutability"] == "view"]


def test_pays_the_caller(market: Market) -> None:
    before = market.chain.balance(PAYER.address)
    credit = market.credits(PAYER.address)
    (event,) = market.call(PAYER.address, "withdraw", 400)
    assert market.chain.balance(PAYER.address) == before + 400
    assert market.credits(PAYER.address) == credit - 400
    assert event == ("Withdrawn", {"account": PAYER.address.lower(), "amount": 400})


def test_the_whole_credit_and_nothing_beyond(market: Market) -> None:
    credit = market.credits(PAYER.address)
    with reverts("credits: too little"):
        market.call(PAYER.address, "withdraw", credit + 1)
    with reverts("credits: too little"):
        market.call(PAYER.address, "withdraw", 2**256 - 1)
    market.call(PAYER.address, "withdraw", credit)
    assert market.credits(PAYER.address) == 0


def test_stake_and_escrow_are_out_of_reach(market: Market) -> None:
    """C8."""
    market.reach(TaskState.SLASH_PENDING)
    for actor in (PAYER, MINER):
        market.call(actor.address, "withdraw", market.credits(actor.address))
        with reverts("credits: too little"):
            market.call(actor.address, "withdraw", 1)


@pytest.mark.parametrize("make_race", RACES, ids=lambda race: race.__name__.strip("_"))
@pytest.mark.parametrize("late_s", [0, 1])
def test_nothing_is_let_in_while_ether_is_on_its_way_out(make_race: MakeRace, late_s: int) -> None:
    """E1: every call that would count for the receiver at this moment is refused from inside, and counts afterwards."""
    race = make_race(Market())
    market = race.market
    market.chain.now = race.edge_s + late_s
    for racer in race.racers:
        if racer.play(race.tokens_at(late_s)) is None:
            continue
        with market.rolled_back():
            market.call(racer.sender, "deposit", value_wei=1)
            with wallet_at(market, racer.sender, REENTERS) as wallet:
                wallet.arm(racer.data)
                tries = wallet.tries
                (withdrawn,) = wallet.call("withdraw", 1)
                assert withdrawn.args["amount"] == 1
                assert (wallet.tries, wallet.is_done) == (tries + 1, False)
            market.send(market.address, racer.sender, racer.data)


@pytest.mark.parametrize("name", [*sorted({*VIEWS, "deposit"} - {"network"}), None])
def test_nor_is_a_deposit_or_a_reader(market: Market, name: str | None) -> None:
    """E1: what could be read in the middle of a payment would be half true; but for `network`, which never changes."""
    data, value_wei = (empty_call(name), int(name == "deposit")) if name else (b"", 1)
    wallet = Wallet(market, REENTERS)
    wallet.call("deposit", value_wei=1_000)
    wallet.arm(data, value_wei)
    wallet.call("withdraw", 400)
    assert (wallet.tries, wallet.is_done) == (1, False)
    assert (market.credits(wallet.address), market.chain.balance(wallet.address)) == (600, 400)


def test_every_function_is_tried_from_inside() -> None:
    tried = {
        racer.data[:4]
        for race in (make_race(Market()) for make_race in RACES)
        for racer in race.racers
        for late_s in (0, 1)
        if racer.play(race.tokens_at(late_s)) is not None
    }
    assert tried == {selector(name) for name in FUNCTIONS.keys() - {*VIEWS, "deposit"}}


def test_a_receiver_that_reenters_gets_its_credit_once(market: Market) -> None:
    """E1."""
    wallet = Wallet(market, REENTERS)
    wallet.call("deposit", value_wei=1_000)
    wallet.call("withdraw", 400)
    assert market.credits(wallet.address) == 600
    assert market.chain.balance(wallet.address) == 400


def test_a_receiver_that_insists_on_reentering_gets_nothing(market: Market) -> None:
    """E1."""
    wallet = Wallet(market, REENTERS + INSISTS)
    wallet.call("deposit", value_wei=1_000)
    with reverts("send: receiver reverted"):
        wallet.call("withdraw", 400)
    assert market.credits(wallet.address) == 1_000


@pytest.mark.parametrize("on_ether", [REVERTS, BURNS_ALL_GAS, REVERTS_WITH_1_MB], ids=["reverts", "burns", "1 MB"])
def test_a_griefing_payer_blocks_only_itself(market: Market, on_ether: str) -> None:
    """E2."""
    wallet = Wallet(market, on_ether)
    wallet.call("deposit", value_wei=10_000_000)
    round_ = market.make_round(payer=wallet.address)
    expiry = UnixSeconds(market.chain.now)
    offer = market.sign(VALIDATOR, typed_data.offer(round_.terms, round_.nonce, expiry))
    wallet.call("open_task_with_offer", round_.terms.as_tuple(), expiry, offer)
    market.accept(round_)
    market.submit(round_)
    market.settle(round_, hits=round_.terms.k_slash + 1)
    assert market.task(round_).state is TaskState.REFUNDED
    with reverts("send: receiver reverted"):
        wallet.call("withdraw", 1)
    market.call(VALIDATOR.address, "withdraw", 1)


def test_what_a_receiver_returns_costs_the_contract_nothing(anvil: Anvil) -> None:
    """E2: measured by a trace; the receiver's own gas is its own affair."""
    market = Market(anvil)
    own_gas = []
    for code in (STOPS, RETURNS_1_MB):
        market.chain.set_code(PAYER.address, code)
        market.call(PAYER.address, "withdraw", 400)
        (transaction,) = anvil.rpc("eth_getBlockByNumber", "latest", False)["transactions"]
        withdrawing = anvil.rpc("debug_traceTransaction", transaction, {"tracer": "callTracer"})
        (receiving,) = withdrawing["calls"]
        assert len(receiving.get("output", "0x")) == (2 + 2 * 2**20 if code == RETURNS_1_MB else 2)
        own_gas.append(int(withdrawing["gasUsed"], 16) - int(receiving["gasUsed"], 16))
    assert own_gas[0] == own_gas[1]


def test_ether_that_a_self_destruct_forced_in_is_nobodys(market: Market) -> None:
    """E3: a real SELFDESTRUCT, in a constructor."""
    forces = compile_code(FORCES, output_formats=["bytecode"])["bytecode"]
    factory = market.chain.deploy(bytes.fromhex(forces[2:]))
    before = market.chain.balance(market.address)
    force = keccak(b"force(address)")[:4] + bytes.fromhex(market.address[2:]).rjust(32, b"\0")
    market.chain.transact(OUTSIDER.address, factory, force, 12_345)
    assert market.chain.balance(market.address) == before + 12_345
    market.forced_wei += 12_345
    for actor in EVERYBODY:
        with reverts("credits: too little"):
            market.call(actor.address, "withdraw", market.credits(actor.address) + 1)
        market.call(actor.address, "withdraw", market.credits(actor.address))
    assert market.chain.balance(market.address) == market.miner().stake + 12_345
