"""Every function and event of the contract, called and read through the typed client on a real chain."""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode as abi_encode

from contracts import SOURCE_PATH, load_artifact
from tests.contracts.rounds import BUNDLE_HASH, MODEL_HASH, NO_HASH, SOURCE_DATA_HASH, make_rows
from tests.edges.conftest import NO_FLOORS
from validator.edges.chain import Chain, Log, Receipt, TransactionSender
from validator.edges.contract import (
    GAS_LIMITS,
    Answered,
    Challenged,
    ContractEvent,
    Deposited,
    Disputed,
    EvidenceKeyRotated,
    Judged,
    ModelSubmitted,
    OrderConsumed,
    Registered,
    Staked,
    Sunset,
    TaskAccepted,
    TaskClosed,
    TaskOpened,
    TaskSettled,
    TaskStatus,
    Touchstone,
    Unstaked,
    UnstakeRequested,
    Verdict,
    Withdrawn,
    decode_log,
    encode_deployment,
    gas_limits_by_selector,
    parse_code,
)
from validator.edges.keys import Signer, dev_mnemonic_signer, recover_typed_data
from validator.edges.refusals import REFUSALS, explain
from validator.errors import (
    AccountBusy,
    BadCall,
    BadEvidence,
    BadTerms,
    DeadlinePassed,
    Fatal,
    NotTheParty,
    OrderRefused,
    Reverted,
    SunsetPassed,
    TooEarly,
    Underfunded,
    WithoutReason,
    WrongState,
)
from validator.protocol import typed_data
from validator.protocol.commitment import (
    MerkleTree,
    RowHashes,
    Terms,
    encode_scheme,
    hash_commitment,
    hash_marks,
    hash_replies,
    keccak,
)
from validator.protocol.typed_data import OrderMessage
from validator.types import Address, BlockNumber, Hash32, TaskId, UnixSeconds, Wei

PAYER, VALIDATOR, MINER, EVIDENCE, MEMBER, GUARDIAN = (dev_mnemonic_signer(index) for index in range(6))
ROOT = Path(__file__).parents[2]
FAR_FUTURE = UnixSeconds(2**40)
URL = "http://127.0.0.1:8080"
N = 16


@dataclass
class Market:
    """The contract with its parties funded, the miner registered and staked, and one task that can be opened."""

    contract: Touchstone
    payer: TransactionSender
    validator: TransactionSender
    miner: TransactionSender
    terms: Terms
    salt: Hash32
    marks: list[RowHashes]
    tree: MerkleTree
    contradiction: RowHashes

    @property
    def leaves(self) -> list[Hash32]:
        return [mark.leaf for mark in self.marks]

    @property
    def task_id(self) -> TaskId:
        return self.contract.task_id(self.terms, 0)

    def replies(self, hits: int) -> list[Hash32]:
        return [mark.head_hash if i < hits else NO_HASH for i, mark in enumerate(self.marks)]

    async def transcript(self, replies: Sequence[Hash32]) -> bytes:
        pairs = [(mark.prompt_hash, reply) for mark, reply in zip(self.marks, replies, strict=True)]
        data = typed_data.transcript(self.task_id, MODEL_HASH, hash_marks(self.leaves), hash_replies(pairs))
        return await EVIDENCE.sign_typed_data(self.contract.domain, data)

    async def open(self, sender: TransactionSender | None = None, expiry: UnixSeconds = FAR_FUTURE) -> None:
        order = OrderMessage(
            self.validator.address,
            self.terms.reward,
            self.terms.fee,
            self.terms.spec_hash,
            SOURCE_DATA_HASH,
            N,
            self.terms.k_pay,
            7,
            expiry,
        )
        signature = await PAYER.sign_typed_data(self.contract.domain, typed_data.order(order))
        await self.contract.open_task(sender or self.validator, self.terms, order, signature)

    async def submit(self) -> None:
        await self.contract.accept(self.miner, self.terms, 0, self.tree.root)
        await self.contract.submit(self.miner, self.terms, 0, MODEL_HASH)

    async def settle(self, hits: int, signature: bytes | None = None, *, is_proved: bool = True) -> TaskSettled:
        replies = self.replies(hits)
        receipt = await self.contract.settle(
            self.validator,
            self.terms,
            0,
            salt=self.salt,
            rows=self.marks,
            proofs=[self.tree.proof(leaf) for leaf in self.leaves] if is_proved else [],
            replies=replies,
            signature=await self.transcript(replies) if signature is None else signature,
            bundle_hash=BUNDLE_HASH,
        )
        event = decode_log(receipt.logs[0])
        assert isinstance(event, TaskSettled)
        return event

    async def events(self) -> list[ContractEvent]:
        return await self.contract.events(BlockNumber(0), (await self.contract.chain.head()).number)

    async def status(self) -> TaskStatus:
        return (await self.contract.task_state(self.task_id)).status


async def open_market(chain: Chain, **changes: Any) -> Market:
    payer, validator, miner = (TransactionSender(chain, signer) for signer in (PAYER, VALIDATOR, MINER))
    network = NO_FLOORS._replace(guardian=GUARDIAN.address)
    contract = await Touchstone.deploy(TransactionSender(chain, GUARDIAN), network)
    for sender in (payer, validator, miner):
        await contract.deposit(sender, Wei(10_000))
    await contract.register(miner, EVIDENCE.address, URL, NO_HASH)
    await contract.stake(miner, Wei(5_000))
    marks, tree, contradiction = make_rows(N, 40, "row")
    salt = keccak(b"salt")
    commitment = hash_commitment(
        chain_id=chain.chain_id,
        contract=contract.address,
        validator=validator.address,
        miner=miner.address,
        miner_epoch=1,
        dataset_root=tree.root,
        marks_hash=hash_marks([mark.leaf for mark in marks]),
        salt=salt,
    )
    terms = {
        "payer": payer.address,
        "validator": validator.address,
        "miner": miner.address,
        "miner_epoch": 1,
        "reward": Wei(1_000),
        "fee": Wei(50),
        "miner_bond": Wei(900),
        "availability_bond": Wei(500),
        "validator_bond": Wei(1_300),
        "answer_fee": Wei(10),
        "scheme": encode_scheme("canary"),
        "w": 4,
        "n": N,
        "k_pay": 12,
        "k_slash": 1,
        "slashing": True,
        "max_tokens": 32,
        "dataset_root": tree.root,
        "commitment": commitment,
        "spec_hash": keccak(b"spec"),
        "weights": 0,
        "min_coverage_bps": 7_000,
        "committee_hash": NO_HASH,
        "quorum": 1,
    } | {field.name: 1_000 for field in fields(Terms) if field.name.endswith("_seconds")}
    return Market(contract, payer, validator, miner, Terms(**(terms | changes)), salt, marks, tree, contradiction)


async def test_an_honest_round_is_paid_and_every_event_says_what_was_sent(chain: Chain) -> None:
    market = await open_market(chain)
    contract, terms, task_id = market.contract, market.terms, market.task_id
    await market.open()
    await market.submit()
    settled = await market.settle(13, is_proved=False)
    await contract.withdraw(market.miner, Wei(1_000))

    events = [event for event in await market.events() if not isinstance(event, Deposited)]
    logs = [event.log for event in events]
    replies = tuple(market.replies(13))
    assert events == [
        Registered(logs[0], MINER.address, 1, EVIDENCE.address, URL, NO_HASH),
        Staked(logs[1], MINER.address, Wei(5_000)),
        TaskOpened(logs[2], task_id, VALIDATOR.address, MINER.address, 0, terms),
        OrderConsumed(logs[3], task_id, PAYER.address, 7, SOURCE_DATA_HASH),
        TaskAccepted(logs[4], task_id, EVIDENCE.address),
        ModelSubmitted(logs[5], task_id, MODEL_HASH),
        TaskSettled(
            logs[6],
            task_id,
            market.salt,
            tuple(market.marks),
            replies,
            await market.transcript(replies),
            13,
            BUNDLE_HASH,
        ),
        TaskClosed(logs[7], task_id, TaskStatus.PAID, Wei(0), Wei(1_350), Wei(1_000), Wei(0)),
        Withdrawn(logs[8], MINER.address, Wei(1_000)),
    ]
    assert settled == events[6]

    task = await contract.task_state(task_id)
    assert (task.status, task.evidence_key, task.hits, task.is_answered) == (
        TaskStatus.PAID,
        EVIDENCE.address,
        13,
        False,
    )
    miner = await contract.miner(MINER.address)
    assert (miner.evidence_key, miner.epoch, miner.stake, miner.locked) == (EVIDENCE.address, 1, 5_000, 0)
    assert (miner.url, miner.tls_key_hash, miner.running) == (URL, NO_HASH, 0)
    assert await contract.credits_wei(MINER.address) == 5_000
    assert await contract.validator_nonce(VALIDATOR.address) == 1
    assert await contract.is_order_nonce_used(PAYER.address, 7)
    assert not await contract.is_order_nonce_used(PAYER.address, 8)
    assert await contract.is_commitment_used(VALIDATOR.address, terms.commitment)
    assert await contract.model_hash(task_id) == MODEL_HASH


async def test_the_contract_and_the_client_agree_on_the_domain(chain: Chain, contract: Touchstone) -> None:
    data = typed_data.session(VALIDATOR.address, MINER.address, 1, FAR_FUTURE)
    signature = await VALIDATOR.sign_typed_data(contract.domain, data)
    assert recover_typed_data(contract.domain, data, signature) == VALIDATOR.address
    types = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    type_hash = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    words = [type_hash, keccak(b"Touchstone"), keccak(b"1"), chain.chain_id, contract.address]
    assert typed_data.hash_domain(contract.domain) == keccak(abi_encode(types, words))
    assert await contract.domain_separator() == typed_data.hash_domain(contract.domain)


async def test_a_payer_opens_under_the_validators_offer(chain: Chain) -> None:
    market = await open_market(chain)
    signature = await VALIDATOR.sign_typed_data(market.contract.domain, typed_data.offer(market.terms, 0, FAR_FUTURE))
    await market.contract.open_task_with_offer(market.payer, market.terms, FAR_FUTURE, signature)
    assert await market.status() is TaskStatus.OPEN


async def test_a_withheld_transcript_is_challenged_answered_and_settled(chain: Chain) -> None:
    market = await open_market(chain)
    await market.open()
    await market.submit()
    await market.contract.challenge(market.validator, market.terms, 0, market.leaves)
    assert await market.status() is TaskStatus.CHALLENGED
    await market.contract.answer(market.miner, market.terms, 0, market.replies(5))
    assert (await market.contract.task_state(market.task_id)).is_answered
    assert await market.contract.evidence_hash(market.task_id) != NO_HASH
    await market.settle(5, signature=b"")
    challenged, answered, _, closed = (await market.events())[-4:]
    assert challenged == Challenged(challenged.log, market.task_id, tuple(market.leaves))
    assert answered == Answered(answered.log, market.task_id, tuple(market.replies(5)))
    assert isinstance(closed, TaskClosed)
    assert closed.outcome is TaskStatus.REFUNDED


async def test_a_slash_is_voided_by_a_contradiction_in_the_dataset(chain: Chain) -> None:
    market = await open_market(chain)
    await market.open()
    await market.submit()
    await market.settle(0)
    assert await market.status() is TaskStatus.SLASH_PENDING
    proof = market.tree.proof(market.contradiction.leaf)
    await market.contract.dispute(
        market.payer,
        market.terms,
        0,
        leaves=market.leaves,
        mark=market.marks[0],
        other=market.contradiction,
        proof=proof,
    )
    disputed, closed = (await market.events())[-2:]
    assert disputed == Disputed(disputed.log, market.task_id, market.marks[0], market.contradiction, tuple(proof))
    assert isinstance(closed, TaskClosed)
    assert (closed.outcome, closed.burned) == (TaskStatus.DISPUTED, 300)


async def test_a_committee_judges_the_weights(chain: Chain) -> None:
    committee = [MEMBER.address]
    market = await open_market(chain, weights=2, committee_hash=keccak(abi_encode(["address[]"], [committee])))
    await market.open()
    await market.submit()
    await market.settle(16)
    assert await market.status() is TaskStatus.JUDGING
    data = typed_data.weights_verdict(market.task_id, MODEL_HASH, 15, 8_000, BUNDLE_HASH)
    signature = await MEMBER.sign_typed_data(market.contract.domain, data)
    verdict = Verdict(15, 8_000, BUNDLE_HASH, signature)
    await market.contract.judge(market.payer, market.terms, 0, committee, [verdict])
    judged, closed = (await market.events())[-2:]
    assert judged == Judged(judged.log, market.task_id, MEMBER.address, *verdict)
    assert isinstance(closed, TaskClosed)
    assert closed.outcome is TaskStatus.PAID


async def test_a_lapsed_task_is_poked(embedded_chain: Chain) -> None:
    # Each block of the embedded chain is at least a second after the one before.
    market = await open_market(embedded_chain, accept_seconds=1)
    await market.open()
    with pytest.raises(Reverted) as refusal:
        await market.contract.poke(market.payer, market.terms, 0)
    assert refusal.value.reason == "poke: too early"
    await market.contract.deposit(market.payer, Wei(1))
    await market.contract.poke(market.payer, market.terms, 0)
    assert await market.status() is TaskStatus.OPEN_LAPSED


async def test_a_miner_rotates_its_key_and_takes_its_stake_out(chain: Chain) -> None:
    market = await open_market(chain)
    contract, miner = market.contract, market.miner
    await contract.rotate_evidence_key(miner, MEMBER.address)
    await contract.request_unstake(miner, Wei(2_000))
    assert (await contract.miner(miner.address)).unstaking == 2_000
    await contract.unstake(miner)
    await contract.sunset(TransactionSender(chain, GUARDIAN))
    assert await contract.is_sunset()
    rotated, requested, unstaked, sunset = (await market.events())[-4:]
    assert rotated == EvidenceKeyRotated(rotated.log, miner.address, MEMBER.address)
    assert isinstance(requested, UnstakeRequested)
    assert (requested.account, requested.amount) == (miner.address, 2_000)
    assert unstaked == Unstaked(unstaked.log, miner.address, Wei(2_000))
    assert sunset == Sunset(sunset.log)
    with pytest.raises(Reverted) as refusal:
        await market.open()
    assert refusal.value.reason == "open_task: sunset"


class BlindSender(TransactionSender):
    """Sends without looking first whether the contract will refuse, so that the refusal is mined."""

    def __init__(self, chain: Chain, signer: Signer) -> None:
        super().__init__(chain, signer)
        self._key = signer

    async def send(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> Receipt:
        nonce = await self.chain.nonce(self.address)
        fees = {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9, "gas": 2_000_000}
        call = {"type": 2, "chainId": self.chain.chain_id, "nonce": nonce, "to": to, "value": value_wei, "data": data}
        try:
            return await self.resume(await self._key.sign_transaction(call | fees))
        finally:
            assert await self.chain.nonce(self.address) == nonce + 1, "it was mined"


Call = Callable[[Market, type[TransactionSender]], Awaitable[object]]


async def withdraw_too_much(market: Market, kind: type[TransactionSender]) -> None:
    await market.contract.withdraw(kind(market.contract.chain, MINER), Wei(10**30))


async def sunset_as_a_stranger(market: Market, kind: type[TransactionSender]) -> None:
    await market.contract.sunset(kind(market.contract.chain, MINER))


async def register_without_key(market: Market, kind: type[TransactionSender]) -> None:
    sender = kind(market.contract.chain, MINER)
    await market.contract.register(sender, NO_FLOORS.guardian, URL, NO_HASH)


async def unstake_nothing(market: Market, kind: type[TransactionSender]) -> None:
    await market.contract.unstake(kind(market.contract.chain, MINER))


async def open_under_an_expired_order(market: Market, kind: type[TransactionSender]) -> None:
    await market.open(kind(market.contract.chain, VALIDATOR), expiry=UnixSeconds(1))


async def open_twice(market: Market, kind: type[TransactionSender]) -> None:
    await market.open()
    await market.open(kind(market.contract.chain, VALIDATOR))


async def open_after_sunset(market: Market, kind: type[TransactionSender]) -> None:
    await market.contract.sunset(TransactionSender(market.contract.chain, GUARDIAN))
    await market.open(kind(market.contract.chain, VALIDATOR))


async def open_under_bad_terms(market: Market, kind: type[TransactionSender]) -> None:
    market.terms = replace(market.terms, w=99)
    await market.open(kind(market.contract.chain, VALIDATOR))


async def poke_too_early(market: Market, kind: type[TransactionSender]) -> None:
    await market.open()
    await market.contract.poke(kind(market.contract.chain, PAYER), market.terms, 0)


async def poke_what_was_never_opened(market: Market, kind: type[TransactionSender]) -> None:
    await market.contract.poke(kind(market.contract.chain, PAYER), market.terms, 0)


async def accept_another_dataset(market: Market, kind: type[TransactionSender]) -> None:
    await market.open()
    await market.contract.accept(kind(market.contract.chain, MINER), market.terms, 0, NO_HASH)


async def accept_too_late(market: Market, kind: type[TransactionSender]) -> None:
    market.terms = replace(market.terms, accept_seconds=0)
    await market.open()
    # Each block of the embedded chain is at least a second after the one before.
    await market.contract.accept(kind(market.contract.chain, MINER), market.terms, 0, market.tree.root)


async def register_while_a_task_runs(market: Market, kind: type[TransactionSender]) -> None:
    await market.open()
    await market.contract.accept(market.miner, market.terms, 0, market.tree.root)
    await market.contract.register(kind(market.contract.chain, MINER), EVIDENCE.address, URL, NO_HASH)


async def settle_with_another_signature(market: Market, kind: type[TransactionSender]) -> None:
    await market.open()
    await market.submit()
    market.validator = kind(market.contract.chain, VALIDATOR)
    await market.settle(
        16, await MEMBER.sign_typed_data(market.contract.domain, typed_data.offer(market.terms, 0, FAR_FUTURE))
    )


REFUSED: list[tuple[Call, type[Reverted], str]] = [
    (withdraw_too_much, Underfunded, "credits: too little"),
    (sunset_as_a_stranger, NotTheParty, "sunset: only the guardian"),
    (register_without_key, BadCall, "register: no evidence key"),
    (unstake_nothing, WrongState, "unstake: nothing requested"),
    (open_under_an_expired_order, OrderRefused, "open_task: order expired"),
    (open_twice, OrderRefused, "order: nonce used"),
    (open_after_sunset, SunsetPassed, "open_task: sunset"),
    (open_under_bad_terms, BadTerms, "terms: w"),
    (poke_too_early, TooEarly, "poke: too early"),
    (poke_what_was_never_opened, WrongState, "poke: not in this state"),
    (accept_another_dataset, BadEvidence, "accept: another dataset"),
    (accept_too_late, DeadlinePassed, "task: deadline passed"),
    (register_while_a_task_runs, AccountBusy, "register: a task is running"),
    (settle_with_another_signature, BadEvidence, "signature: another signer"),
]


@pytest.mark.parametrize("kind", [TransactionSender, BlindSender], ids=["estimated", "mined"])
@pytest.mark.parametrize(("call", "error", "reason"), REFUSED, ids=lambda value: getattr(value, "__name__", None))
async def test_a_refusal_is_sorted_by_what_its_caller_can_do(
    embedded_chain: Chain, call: Call, error: type[Reverted], reason: str, kind: type[TransactionSender]
) -> None:
    market = await open_market(embedded_chain)
    with pytest.raises(error) as refusal:
        await call(market, kind)
    assert type(refusal.value) is error
    assert refusal.value.reason == reason


async def test_a_refusal_without_words_is_sorted_too(chain: Chain, contract: Touchstone) -> None:
    """The payable check; the ABI decoder, the lock and running out of gas look the same."""
    for kind in (TransactionSender, BlindSender):
        with pytest.raises(WithoutReason):
            await kind(chain, MINER).send(contract.address, keccak(b"unstake()")[:4], value_wei=1)


def test_every_reason_of_the_contract_has_its_class_and_no_other_has() -> None:
    in_source = set(re.findall(r'"([a-z_]+: [^"]+)"', SOURCE_PATH.read_text())) - {"module: reason"}
    assert set(REFUSALS) == in_source
    for reason in in_source:
        assert type(explain(Reverted(reason))) is REFUSALS[reason]
        assert REFUSALS[reason] is not Reverted


@pytest.mark.parametrize("reason", ["task: deadline", "credits: too little ", "panic 0x11", "revert data 0xdead"])
def test_a_reason_that_is_none_of_the_contracts_stays_unsorted(reason: str) -> None:
    refusal = explain(Reverted(reason))
    assert type(refusal) is Reverted
    assert refusal.reason == reason


async def test_the_code_tells_what_was_fixed_at_deployment(chain: Chain) -> None:
    network = NO_FLOORS._replace(min_accept_seconds=1, unstake_delay_seconds=8, guardian=GUARDIAN.address)
    contract = await Touchstone.deploy(TransactionSender(chain, PAYER), network)
    assert await contract.immutables() == (network, chain.chain_id)


def changed(code: bytes, at: int, byte: int) -> bytes:
    return code[:at] + bytes([byte]) + code[at + 1 :]


IMMUTABLES = b"".join(value.to_bytes(32, "big") for value in [*range(1, 9), 0xABC, 31337])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda code: changed(code, 7, code[7] ^ 1), "from byte 7 on"),
        (lambda code: code[:100], "its code of 100 bytes is another, from byte 100 on"),
        (lambda code: code + b"\0", "the 321 bytes after its code"),
        (lambda code: code[:-32], "the 288 bytes after its code"),
        (lambda code: code[: -len(IMMUTABLES)], "the 0 bytes after its code"),
        (lambda code: changed(code, len(code) - 64, 1), "are not the immutables of a deployment"),
        (lambda code: changed(code, len(code) - 320, 1), "a duration that no deployment accepts"),
    ],
)
def test_code_that_differs_in_one_byte_is_another(change: Callable[[bytes], bytes], expected: str) -> None:
    code = load_artifact().runtime_bytecode + IMMUTABLES
    assert parse_code(code).birth_chain_id == 31337
    with pytest.raises(ValueError, match=expected):
        parse_code(change(code))


async def test_a_deployment_can_be_written_down_before_it_leaves(chain: Chain) -> None:
    sender = TransactionSender(chain, PAYER)
    signed = await Touchstone.sign_deployment(sender, NO_FLOORS)
    assert await chain.nonce(PAYER.address) == 0
    receipt = await Touchstone.resume(sender, signed.raw)
    assert receipt.contract_address == signed.creates
    assert receipt.tx_hash == signed.tx_hash
    assert receipt.cost_wei <= signed.max_cost_wei
    assert await chain.creation(signed.tx_hash) == (signed.creates, encode_deployment(NO_FLOORS))


async def test_a_network_that_the_contract_refuses_is_bad_terms(chain: Chain) -> None:
    with pytest.raises(BadTerms, match="duration too long"):
        await Touchstone.deploy(TransactionSender(chain, PAYER), NO_FLOORS._replace(min_train_seconds=367 * 86_400))


async def test_a_miner_whose_url_is_no_text_stops_nobody(chain: Chain, contract: Touchstone) -> None:
    words = abi_encode(["address", "bytes", "bytes32"], [EVIDENCE.address, b"http://\xff\xfe", NO_HASH])
    await TransactionSender(chain, MINER).send(
        contract.address, keccak(b"register(address,string,bytes32)")[:4] + words
    )
    (event,) = await contract.events(BlockNumber(0), (await chain.head()).number)
    assert isinstance(event, Registered)
    assert event.url == (await contract.miner(MINER.address)).url == "http://\ufffd\ufffd"


async def test_reading_where_no_contract_is_stops_loudly(chain: Chain) -> None:
    with pytest.raises(Fatal, match="does not answer like a Touchstone contract"):
        await Touchstone(chain, MINER.address).validator_nonce(MINER.address)


def test_each_event_of_the_contract_has_its_dataclass() -> None:
    of_contract = {
        entry["name"]: [parameter["name"] for parameter in entry["inputs"]]
        for entry in load_artifact().abi
        if entry["type"] == "event"
    }
    of_client = {kind.__name__: [field.name for field in fields(kind)][1:] for kind in ContractEvent.__subclasses__()}
    assert of_client == of_contract


def test_each_function_of_the_contract_has_its_method() -> None:
    renamed = {"miners": "miner", "credits": "credits_wei"}
    functions = {entry["name"] for entry in load_artifact().abi if entry["type"] == "function"}
    assert {renamed.get(name, name) for name in functions} <= set(vars(Touchstone))


@pytest.mark.parametrize("topics", [(), (Hash32(b"\1" * 32),)])
def test_a_log_that_is_no_event_of_ours_is_none(topics: tuple[Hash32, ...]) -> None:
    log = Log(MINER.address, topics, b"", BlockNumber(1), NO_HASH, NO_HASH, 0)
    assert decode_log(log) is None


class LimitedSender(TransactionSender):
    """Gives every call the gas that GAS_LIMITS fixes for it, as the transaction manager does."""

    def __init__(self, chain: Chain, signer: Signer) -> None:
        super().__init__(chain, signer)
        self._key = signer
        self.used: dict[bytes, list[int]] = {}

    async def send(self, to: Address | None, data: bytes = b"", value_wei: int = 0) -> Receipt:
        fields = {"type": 2, "chainId": self.chain.chain_id, "to": to, "value": value_wei, "data": data}
        fees = {"maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9, "gas": gas_limits_by_selector()[data[:4]]}
        nonce = await self.chain.nonce(self.address)
        receipt = await self.resume(await self._key.sign_transaction(fields | fees | {"nonce": nonce}))
        self.used.setdefault(data[:4], []).append(receipt.gas_used)
        return receipt


@pytest.mark.parametrize("is_settled_by_signature", [True, False])
async def test_the_fixed_gas_of_every_call_is_enough(embedded_chain: Chain, is_settled_by_signature: bool) -> None:
    """R7."""
    market = await open_market(embedded_chain)
    sender, payer, miner = (LimitedSender(embedded_chain, signer) for signer in (VALIDATOR, PAYER, MINER))
    market.validator, market.payer, market.miner = sender, payer, miner
    await market.contract.deposit(payer, Wei(1))
    await market.open()
    await market.submit()
    if is_settled_by_signature:
        await market.settle(0)
    else:
        await market.contract.challenge(sender, market.terms, 0, market.leaves)
        await market.contract.answer(miner, market.terms, 0, market.replies(0))
        await market.settle(0, b"")
    await market.contract.withdraw(payer, Wei(1))
    limits = gas_limits_by_selector()
    for used in (sender.used, payer.used, miner.used):
        for selector, amounts in used.items():
            assert max(amounts) * 5 // 4 < limits[selector]


def test_the_fixed_gas_has_room_above_everything_that_was_measured() -> None:
    """R7: `settle` with 64 marks in a dataset of 100,000 rows included."""
    cells = json.loads((ROOT / "benchmarks" / "results.json").read_text())["cells"]
    measured = {call.partition(",")[0]: gas for call, gas in cells["gas/calls"]["gas"].items()}
    measured |= {"settle": [max(cells["gas/settle/64/100000"]["gas"].values())]}
    functions = {name: max(gas) for name, gas in measured.items() if name in GAS_LIMITS}
    assert set(functions) == set(GAS_LIMITS)
    for name, gas in functions.items():
        assert gas * 3 // 2 <= GAS_LIMITS[name], name


def test_the_fixed_gas_covers_the_largest_settle_that_the_contract_takes() -> None:
    """R7: 64 marks with proofs of 24 hashes; calldata alone decides there (EIP-7623)."""
    words = 64 * (3 + 1 + 1 + 1 + 24) + 64 + 40
    assert 21_000 + 10 * 4 * 32 * words < GAS_LIMITS["settle"]
    assert set(GAS_LIMITS) == {
        entry["name"]
        for entry in load_artifact().abi
        if entry["type"] == "function" and entry["stateMutability"] in ("nonpayable", "payable")
    }
