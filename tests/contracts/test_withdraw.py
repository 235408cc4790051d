"""`withdraw`: credit out, to its owner, once, whatever the owner's code does."""

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from vyper.compiler import compile_code

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import MINER, PAYER, VALIDATOR
from validator.protocol import typed_data
from validator.types import UnixSeconds

WALLET = """
@external
@payable
def run(target: address, data: Bytes[2048]):
    raw_call(target, data, value=msg.value)

@external
@payable
def __default__():
"""
REENTERS = """
    is_done: bool = raw_call(
        msg.sender, abi_encode(convert(400, uint256), method_id=method_id("withdraw(uint256)")), revert_on_failure=False
    )
"""
INSISTS = "    assert is_done"
REVERTS = "    raise"
BURNS_ALL_GAS = "    assert msg.value == 0, UNREACHABLE"
REVERTS_WITH_1_MB = "    raw_revert(abi_encode(empty(uint256[32768])))"


class Wallet:
    """An account that is a contract: does what it is told, and on receiving ether what `on_ether` says."""

    def __init__(self, market: Market, on_ether: str) -> None:
        initcode = compile_code(WALLET + on_ether, output_formats=["bytecode"])["bytecode"]
        self.address = market.chain.deploy(bytes.fromhex(initcode[2:]))
        market.addresses.append(self.address)
        self._market = market

    def call(self, name: str, *args: object, value_wei: int = 0) -> None:
        data = self._market.calldata(name, *args)
        run = keccak(b"run(address,bytes)")[:4] + encode(["address", "bytes"], [self._market.address, data])
        self._market.send(self.address, PAYER.address, run, value_wei)


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
