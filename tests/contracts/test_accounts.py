"""Accounts that delegate to code (EIP-7702), on a real node: their keys sign as before, their code asks for nothing."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from contracts import TaskState
from tests.contracts.anvil import Anvil
from tests.contracts.evm import GAS_LIMIT, reverts
from tests.contracts.market import Market
from tests.contracts.races import RACES, Race
from tests.contracts.rounds import (
    COMMITTEE,
    COMMITTEE_HASH,
    EVERYBODY,
    EVIDENCE,
    MINER,
    NOBODY,
    OUTSIDER,
    PAYER,
    VALIDATOR,
    account_of,
)
from tests.contracts.wallets import REENTERS, REVERTS, TAKES_IT, Wallet, deploy_code
from validator.protocol import typed_data
from validator.types import UnixSeconds

SPONSOR = account_of("sponsor")
ACCOUNTS = {actor.address: actor for actor in EVERYBODY}
LAST_PRECOMPILE = 0x0A
MakeRace = Callable[[Market], Race]


@pytest.fixture
def market(anvil: Anvil) -> Market:
    return Market(anvil)


def delegate(market: Market, account: LocalAccount, code_address: str) -> None:
    """In a real type-4 transaction that another account sends: code for `account`, or none again by `NOBODY`."""
    chain = market.chain
    assert isinstance(chain, Anvil)
    authorization = {"chainId": chain.chain_id, "address": code_address, "nonce": nonce_of(chain, account)}
    transaction = {
        "type": 4,
        "chainId": chain.chain_id,
        "nonce": nonce_of(chain, SPONSOR),
        "to": NOBODY,
        "value": 0,
        "data": b"",
        "gas": GAS_LIMIT,
        "maxFeePerGas": 0,
        "maxPriorityFeePerGas": 0,
        "accessList": [],
        "authorizationList": [account.sign_authorization(authorization)],
    }
    chain.send_raw(bytes(SPONSOR.sign_transaction(transaction).raw_transaction))
    designator = b"" if code_address == NOBODY else b"\xef\x01\x00" + bytes.fromhex(code_address[2:])
    assert chain.code(account.address) == designator


def nonce_of(chain: Anvil, account: LocalAccount) -> int:
    return int(chain.rpc("eth_getTransactionCount", account.address, "latest"), 16)


def called(call: dict[str, Any]) -> Iterator[int]:
    """Every address that a traced call called, at any depth."""
    for inner in call.get("calls", []):
        yield int(inner["to"], 16)
        yield from called(inner)


class Watched(Market):
    """Sees to it that the contract calls precompiles and nothing else."""

    def send(self, to: str, sender: str, data: bytes, value_wei: int = 0) -> Any:
        events = super().send(to, sender, data, value_wei)
        (transaction,) = self.chain.rpc("eth_getBlockByNumber", "latest", False)["transactions"]
        trace = self.chain.rpc("debug_traceTransaction", transaction, {"tracer": "callTracer"})
        assert all(address <= LAST_PRECOMPILE for address in called(trace))
        return events


def test_signatures_are_asked_of_keys_and_never_of_code(anvil: Anvil) -> None:
    """W6: every signer delegates to code that consents to everything; its key still signs, and no other key does."""
    market = Watched(anvil)
    consenting = deploy_code(market, TAKES_IT)
    for signer in (PAYER, VALIDATOR, MINER, EVIDENCE, *COMMITTEE):
        delegate(market, signer, consenting)

    ordered = market.make_round()
    order = market.order(ordered)
    with reverts("signature: another signer"):
        forged = market.sign_order(OUTSIDER, order)
        market.call(VALIDATOR.address, "open_task", ordered.terms.as_tuple(), order, forged)
    market.open(ordered, order)

    offered, expiry = market.make_round(), UnixSeconds(market.chain.now)
    forged, offer = (
        market.sign(signer, typed_data.offer(offered.terms, offered.nonce, expiry)) for signer in (OUTSIDER, VALIDATOR)
    )
    with reverts("signature: another signer"):
        market.call(PAYER.address, "open_task_with_offer", offered.terms.as_tuple(), expiry, forged)
    market.call(PAYER.address, "open_task_with_offer", offered.terms.as_tuple(), expiry, offer)

    judged = market.reach(TaskState.SUBMITTED, weights=2, committee_hash=COMMITTEE_HASH)
    for signer in (OUTSIDER, MINER):
        with reverts("signature: another signer"):
            signature = market.sign(signer, judged.transcript(judged.replies(16)))
            market.settle(judged, hits=16, signature=signature)
    market.settle(judged, hits=16)
    with reverts("judge: not a committee member"):
        market.judge(judged, [market.verdict(judged, OUTSIDER)] * 2)
    market.judge(judged, [market.verdict(judged, member) for member in COMMITTEE])
    assert market.task(judged).state is TaskState.PAID


def test_nothing_signed_is_taken_back_by_changing_code(market: Market) -> None:
    """W6."""
    round_ = market.reach(TaskState.SUBMITTED)
    signature = market.sign(EVIDENCE, round_.transcript(round_.replies(0)))
    for account in (EVIDENCE, MINER):
        delegate(market, account, deploy_code(market, REVERTS))
    market.settle(round_, hits=0, signature=signature)
    market.expire(round_)
    market.poke(round_)
    assert market.task(round_).state is TaskState.SLASHED


def test_the_caller_counts_and_not_its_code(market: Market) -> None:
    code_address = deploy_code(market, TAKES_IT)
    for account in (MINER, OUTSIDER):
        delegate(market, account, code_address)
    round_ = market.reach(TaskState.OPEN)
    accept = market.calldata("accept", round_.terms.as_tuple(), round_.nonce, round_.tree.root)
    for address in (OUTSIDER.address, code_address):
        with reverts("accept: only the miner"):
            Wallet(market, TAKES_IT, address).run(accept)
    Wallet(market, TAKES_IT, MINER.address).run(accept)
    market.submit(round_)
    assert market.task(round_).state is TaskState.SUBMITTED


def test_a_payee_that_refuses_ether_loses_nothing_by_it(market: Market) -> None:
    """E2: its credit waits until its code lets the ether in."""
    delegate(market, MINER, deploy_code(market, REVERTS))
    round_ = market.reach(TaskState.SUBMITTED)
    market.settle(round_, hits=16)
    credit_wei, balance_wei = market.credits(MINER.address), market.chain.balance(MINER.address)
    with reverts("send: receiver reverted"):
        market.call(MINER.address, "withdraw", credit_wei)
    assert market.credits(MINER.address) == credit_wei
    delegate(market, MINER, NOBODY)
    market.call(MINER.address, "withdraw", credit_wei)
    assert market.chain.balance(MINER.address) == balance_wei + credit_wei


@pytest.mark.parametrize("make_race", RACES, ids=lambda race: race.__name__.strip("_"))
@pytest.mark.parametrize("late_s", [0, 1])
def test_code_that_receives_ether_gets_no_call_in(market: Market, make_race: MakeRace, late_s: int) -> None:
    """E1: as in test_withdraw.py, by the parties' own delegated accounts."""
    race = make_race(market)
    market.chain.now = race.edge_s + late_s
    code_address = deploy_code(market, REENTERS)
    for racer in race.racers:
        if racer.play(race.tokens_at(late_s)) is None:
            continue
        with market.rolled_back():
            market.call(racer.sender, "deposit", value_wei=1)
            delegate(market, ACCOUNTS[racer.sender], code_address)
            wallet = Wallet(market, REENTERS, racer.sender)
            wallet.arm(racer.data)
            market.call(racer.sender, "withdraw", 1)
            assert (wallet.tries, wallet.is_done) == (1, False)
            market.send(market.address, racer.sender, racer.data)
