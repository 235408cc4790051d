"""Accounts with code: who calls counts, not who signed the transaction, so a smart account can hold any role."""

from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from contracts import TaskState
from tests.contracts.evm import Event
from tests.contracts.market import UNSTAKE_DELAY_S, Market
from tests.contracts.rounds import AUDITOR, EVERYBODY, EVIDENCE, GUARDIAN, MINER, OUTSIDER, PAYER, VALIDATOR
from tests.contracts.wallets import TAKES_IT, wallet_code
from validator.protocol import typed_data
from validator.types import UnixSeconds


class Relayed(Market):
    """Every call comes from code at its sender's address, in a transaction that a stranger signed and paid for."""

    def send(self, to: str, sender: str, data: bytes, value_wei: int = 0) -> list[Event]:
        self.chain.set_code(sender, wallet_code(TAKES_IT))
        run = keccak(b"run(address,bytes)")[:4] + encode(["address", "bytes"], [to, data])
        return super().send(sender, OUTSIDER.address, run, value_wei)


def everything_that_asks_who_calls(market: Market) -> tuple[Any, ...]:
    """Each such call once; what they logged and left behind."""
    events = market.call(PAYER.address, "deposit", value_wei=3)
    events += market.call(PAYER.address, "cancel_order", 77)
    events += market.call(MINER.address, "rotate_evidence_key", AUDITOR.address)
    events += market.call(MINER.address, "register", EVIDENCE.address, "https://code.example", b"\x07" * 32)
    answered = market.make_round()
    events += market.open(answered)
    events += market.accept(answered)
    events += market.submit(answered)
    events += market.challenge(answered)
    events += market.answer(answered, hits=16)
    events += market.settle(answered, hits=16)

    offered, expiry = market.make_round(), UnixSeconds(market.chain.now)
    offer = market.sign(VALIDATOR, typed_data.offer(offered.terms, offered.nonce, expiry))
    events += market.call(PAYER.address, "open_task_with_offer", offered.terms.as_tuple(), expiry, offer)

    events += market.call(MINER.address, "stake", 9)
    events += market.call(MINER.address, "request_unstake", 4)
    events += market.call(MINER.address, "request_unstake", 3)
    market.chain.now += UNSTAKE_DELAY_S
    events += market.call(MINER.address, "unstake")
    events += market.call(GUARDIAN.address, "sunset")
    before = market.chain.balance(MINER.address)
    events += market.call(MINER.address, "withdraw", 5)
    received = market.chain.balance(MINER.address) - before
    assert market.view("is_order_nonce_used", PAYER.address, 77)
    assert market.task(answered).state is TaskState.PAID
    assert market.task(offered).state is TaskState.OPEN
    accounts = [(market.miner(actor.address), market.credits(actor.address)) for actor in EVERYBODY]
    return events, accounts, received


def test_an_account_with_code_gets_what_an_account_with_a_key_gets() -> None:
    assert everything_that_asks_who_calls(Relayed()) == everything_that_asks_who_calls(Market())
