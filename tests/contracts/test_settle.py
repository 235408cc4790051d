"""`settle`: the commitment opens, the transcript is the miner's, the hits are counted, the zones apply."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from contracts import TaskState
from tests.contracts.evm import PyRevm, reverts
from tests.contracts.market import Market, as_tuple
from tests.contracts.rounds import (
    BUNDLE_HASH,
    EVIDENCE,
    MINER,
    NO_HASH,
    OUTSIDER,
    PAYER,
    VALIDATOR,
    Round,
)
from tests.contracts.signatures import INVALID_SIGNATURES, Tamper
from validator.protocol.commitment import RowHashes, keccak
from validator.types import Hash32

# n = 16: k_pay = 12, k_slash = 1.
ZONES = [
    (16, TaskState.PAID),
    (12, TaskState.PAID),
    (11, TaskState.REFUNDED),
    (2, TaskState.REFUNDED),
    (1, TaskState.SLASH_PENDING),
    (0, TaskState.SLASH_PENDING),
]
NOT_SETTLEABLE = [
    TaskState.OPEN,
    TaskState.ACCEPTED,
    TaskState.CHALLENGED,
    TaskState.JUDGING,
    TaskState.SLASH_PENDING,
]


def flip(word: bytes, byte: int) -> Hash32:
    return Hash32(word[:byte] + bytes([word[byte] ^ 1]) + word[byte + 1 :])


@pytest.mark.parametrize(("hits", "state"), ZONES)
def test_three_zones(market: Market, hits: int, state: TaskState) -> None:
    round_ = market.reach(TaskState.SUBMITTED)
    market.settle(round_, hits)
    assert market.task(round_).state is state
    assert market.task(round_).hits == hits


@pytest.mark.parametrize(("hits", "state"), ZONES)
def test_three_zones_after_an_answer(market: Market, hits: int, state: TaskState) -> None:
    """V5."""
    round_ = market.reach(TaskState.CHALLENGED)
    market.answer(round_, hits)
    market.settle(round_, hits)
    assert market.task(round_).state is state
    assert market.task(round_).hits == hits


@pytest.mark.parametrize("hits", [12, 11, 0])
def test_a_wrong_answer_is_a_miss(market: Market, hits: int) -> None:
    """Whether it is nobody's, or the right one of another row."""
    for wrong in (keccak(b"wrong"), None):
        round_ = market.reach(TaskState.SUBMITTED)
        heads = [mark.head_hash for mark in round_.marks]
        replies = heads[:hits] + [wrong or heads[i - 1] for i in range(hits, 16)]
        signature = market.sign(EVIDENCE, round_.transcript(replies))
        market.settle(round_, hits, replies=replies, signature=signature)
        assert market.task(round_).hits == hits


@pytest.mark.parametrize("n", [16, 17, 64])
def test_every_count_of_hits_falls_into_one_zone(n: int) -> None:
    market = Market()
    market.call(MINER.address, "stake", market.credits(MINER.address))
    for hits in range(n + 1):
        round_ = market.reach(TaskState.SUBMITTED, n=n, k=n, k_pay=-(-2 * n // 3), k_slash=n // 8)
        market.settle(round_, hits)
        zone = TaskState.PAID if 3 * hits >= 2 * n else TaskState.REFUNDED if 8 * hits > n else TaskState.SLASH_PENDING
        assert market.task(round_).state is zone


def test_without_slashing_the_lowest_zone_refunds(market: Market) -> None:
    round_ = market.reach(TaskState.SUBMITTED, slashing=False)
    market.settle(round_, hits=0)
    assert market.task(round_).state is TaskState.REFUNDED


def test_the_whole_settlement_is_logged(market: Market) -> None:
    round_ = market.reach(TaskState.SUBMITTED)
    settled, closed = market.settle(round_, hits=13)
    replies = round_.replies(13)
    assert settled == (
        "TaskSettled",
        {
            "task_id": round_.task_id,
            "salt": round_.salt,
            "rows": tuple(as_tuple(mark) for mark in round_.marks),
            "replies": tuple(replies),
            "signature": market.sign(EVIDENCE, round_.transcript(replies)),
            "hits": 13,
            "bundle_hash": BUNDLE_HASH,
        },
    )
    assert closed.args["outcome"] == TaskState.PAID


def test_a_slash_waits_for_disputes(market: Market) -> None:
    round_ = market.reach(TaskState.SUBMITTED)
    before = market.holdings()
    market.settle(round_, hits=0)
    assert market.task(round_).deadline == market.chain.now + round_.terms.dispute_seconds
    assert market.holdings() == before


def test_judged_weights_wait_for_the_committee_with_rows_proved(market: Market) -> None:
    round_ = market.reach(TaskState.SUBMITTED, weights=2)
    with reverts("settle: rows not proved"):
        market.settle(round_, hits=16, proofs=[])
    market.settle(round_, hits=12)
    assert market.task(round_).state is TaskState.JUDGING
    assert market.task(round_).deadline == market.chain.now + round_.terms.judging_seconds


@pytest.mark.parametrize(("hits", "state"), ZONES[2:])
def test_judged_weights_wait_for_nobody_below_k_pay(market: Market, hits: int, state: TaskState) -> None:
    round_ = market.reach(TaskState.SUBMITTED, weights=2)
    market.settle(round_, hits)
    assert market.task(round_).state is state


@pytest.mark.parametrize("sender", [PAYER.address, MINER.address, EVIDENCE.address, OUTSIDER.address])
def test_only_the_validator(market: Market, sender: str) -> None:
    """C6."""
    round_ = market.reach(TaskState.SUBMITTED)
    with reverts("settle: only the validator"):
        market.settle(round_, hits=16, sender=sender)


@pytest.mark.parametrize("late_s", [-1, 0, 1])
@pytest.mark.parametrize("state", [TaskState.SUBMITTED, TaskState.ANSWERED])
def test_until_the_deadline(market: Market, state: TaskState, late_s: int) -> None:
    """C9."""
    round_ = market.reach(state)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        with reverts("settle: deadline passed"):
            market.settle(round_, hits=16)
    else:
        market.settle(round_, hits=16)


@pytest.mark.parametrize("state", NOT_SETTLEABLE)
def test_succeeds_in_submitted_and_answered_alone(market: Market, state: TaskState) -> None:
    round_ = market.reach(state)
    with reverts("settle: not in this state"):
        market.settle(round_, hits=16)


def test_succeeds_once(market: Market) -> None:
    """E13."""
    round_ = market.reach(TaskState.SUBMITTED)
    market.settle(round_, hits=16)
    with reverts("settle: not in this state"):
        market.settle(round_, hits=16)


@pytest.mark.parametrize("byte", [0, 31])
@pytest.mark.parametrize("column", ["prompt_hash", "head_hash", "tail_hash"])
@pytest.mark.parametrize("index", [0, 15])
def test_a_changed_byte_in_a_row_reverts(market: Market, index: int, column: str, byte: int) -> None:
    """V1: whatever the zone, and also where the changed rows are put in order again."""
    round_ = market.reach(TaskState.SUBMITTED)
    changed = replace(round_.marks[index], **{column: flip(getattr(round_.marks[index], column), byte)})
    rows = [*round_.marks[:index], changed, *round_.marks[index + 1 :]]
    rows.sort(key=lambda row: row.leaf)
    for hits in (16, 5, 0):
        with reverts("settle: commitment does not open", "settle: row not in the dataset"):
            market.settle(round_, hits, rows=rows)


@pytest.mark.parametrize("byte", [0, 31])
@pytest.mark.parametrize("index", [0, 15])
@pytest.mark.parametrize("hits", [16, 5, 0])
def test_a_changed_byte_in_a_reply_reverts(market: Market, index: int, byte: int, hits: int) -> None:
    """V1."""
    signed = market.reach(TaskState.SUBMITTED)
    replies = signed.replies(hits)
    replies[index] = flip(replies[index], byte)
    with reverts("signature: another signer"):
        market.settle(signed, hits, replies=replies)
    answered = market.reach(TaskState.CHALLENGED)
    market.answer(answered, hits)
    replies = answered.replies(hits)
    replies[index] = flip(replies[index], byte)
    with reverts("settle: not the answered replies"):
        market.settle(answered, hits, replies=replies)


@pytest.mark.parametrize("hits", [16, 5, 0])
def test_a_changed_salt_or_signature_byte_reverts(market: Market, hits: int) -> None:
    """V1."""
    round_ = market.reach(TaskState.SUBMITTED)
    with reverts("settle: commitment does not open"):
        market.settle(round_, hits, salt=flip(round_.salt, 31))
    signature = market.sign(EVIDENCE, round_.transcript(round_.replies(hits)))
    for byte in (31, 63):
        changed = signature[:byte] + bytes([signature[byte] ^ 1]) + signature[byte + 1 :]
        with reverts("signature: another signer", "signature: invalid"):
            market.settle(round_, hits, signature=changed)


@pytest.mark.parametrize(("tamper", "reason"), INVALID_SIGNATURES)
def test_one_encoding_of_a_signature_counts(market: Market, tamper: Tamper, reason: str) -> None:
    """W7."""
    round_ = market.reach(TaskState.SUBMITTED)
    signature = tamper(market.sign(EVIDENCE, round_.transcript(round_.replies(16))))
    with reverts(reason):
        market.settle(round_, hits=16, signature=signature)


def test_only_the_frozen_evidence_key_signs(market: Market) -> None:
    """W6: not even the miner's own address."""
    round_ = market.reach(TaskState.SUBMITTED)
    for signer in (MINER, VALIDATOR, OUTSIDER):
        with reverts("signature: another signer"):
            market.settle(round_, hits=16, signature=market.sign(signer, round_.transcript(round_.replies(16))))


def test_the_transcript_is_for_this_model_task_chain_and_contract(market: Market) -> None:
    """C10, N18."""
    round_ = market.reach(TaskState.SUBMITTED)
    replies = round_.replies(16)
    other_task = replace(round_, task_id=market.make_round().task_id)
    fork = Market(PyRevm(market.chain.chain_id + 1))
    for signature in (
        market.sign(EVIDENCE, round_.transcript(replies, model_hash=keccak(b"another model"))),
        market.sign(EVIDENCE, other_task.transcript(replies)),
        fork.sign(EVIDENCE, round_.transcript(replies)),
    ):
        with reverts("signature: another signer"):
            market.settle(round_, hits=16, signature=signature)


def test_an_answered_task_takes_no_signature(market: Market) -> None:
    """W5."""
    round_ = market.reach(TaskState.ANSWERED)
    with reverts("settle: signature not empty"):
        market.settle(round_, hits=16, signature=market.sign(EVIDENCE, round_.transcript(round_.replies(16))))


def test_a_challenge_over_other_leaves_can_never_be_settled(market: Market) -> None:
    """V4: the validator that disclosed other leaves than it committed to loses its bond."""
    round_ = market.reach(TaskState.SUBMITTED)
    others = sorted([*round_.leaves[1:], round_.contradiction.leaf])
    market.on_task(VALIDATOR.address, "challenge", round_, others)
    market.answer(round_, hits=0)
    with reverts("settle: not the answered replies"):
        market.settle(round_, hits=0)
    market.expire(round_)
    market.poke(round_)
    assert market.task(round_).state is TaskState.VALIDATOR_LAPSED


def _without_last(rows: list[Any]) -> list[Any]:
    return rows[:-1]


def _with_another(rows: list[Any]) -> list[Any]:
    return [*rows, rows[-1]]


@pytest.mark.parametrize("change", [_without_last, _with_another])
def test_all_n_are_accounted_for(market: Market, change: Callable[[list[Any]], list[Any]]) -> None:
    """V4."""
    round_ = market.reach(TaskState.SUBMITTED)
    with reverts("settle: not n rows"):
        market.settle(round_, hits=16, rows=change(round_.marks))
    with reverts("settle: not n replies"):
        market.settle(round_, hits=16, replies=change(round_.replies(16)))
    with reverts("settle: not a proof for each row"):
        market.settle(round_, hits=5, proofs=change(round_.proofs))


def test_rows_ascend_strictly(market: Market) -> None:
    """V4: no row counts twice."""
    round_ = market.reach(TaskState.SUBMITTED)
    for rows in (round_.marks[::-1], [round_.marks[0], *round_.marks[:-1]]):
        with reverts("settle: leaves not ascending"):
            market.settle(round_, hits=16, rows=rows)


@pytest.mark.parametrize("hits", [11, 1, 0])
def test_a_verdict_other_than_paid_proves_every_row(market: Market, hits: int) -> None:
    """V2, V3."""
    round_ = market.reach(TaskState.SUBMITTED)
    with reverts("settle: rows not proved"):
        market.settle(round_, hits, proofs=[])
    for index in (0, 15):
        proofs = round_.proofs
        proofs[index] = proofs[index][:-1]
        with reverts("settle: row not in the dataset"):
            market.settle(round_, hits, proofs=proofs)
        proofs[index] = [*round_.proofs[index][:-1], keccak(b"other")]
        with reverts("settle: row not in the dataset"):
            market.settle(round_, hits, proofs=proofs)


@pytest.mark.parametrize("length", [24, 25])
def test_the_longest_proof_has_24_hashes(market: Market, length: int) -> None:
    """V2, E9: a dataset of 2^24 rows, of which all but a small corner is other people's hashes."""
    round_ = market.make_round()
    depth = max(len(proof) for proof in round_.proofs)
    root, beside = round_.tree.root, [keccak(bytes([i])) for i in range(length - depth)]
    for sibling in beside:
        root = keccak(min(root, sibling) + max(root, sibling))
    round_ = market.recommit(market.retarget(round_, dataset_root=root))
    market.open(round_)
    market.on_task(MINER.address, "accept", round_, root)
    market.submit(round_)
    proofs = [[*proof, *beside] for proof in round_.proofs]
    if length > 24:
        with reverts(""):
            market.settle(round_, hits=0, proofs=proofs)
    else:
        market.settle(round_, hits=0, proofs=proofs)
        assert market.task(round_).state is TaskState.SLASH_PENDING


def _round_over_rows_never_sent(market: Market) -> Round:
    """Marks that are committed to, over a root that does not hold them."""
    sent, never_sent = market.make_round(), market.make_round(k=41)
    round_ = market.make_round(dataset_root=sent.tree.root)
    invented = sorted((RowHashes(*(keccak(bytes([i, j])) for j in range(3))) for i in range(16)), key=lambda r: r.leaf)
    assert never_sent.tree.root != sent.tree.root
    return market.recommit(replace(round_, marks=invented, tree=sent.tree))


def test_rows_that_were_never_sent_slash_nobody(market: Market) -> None:
    """V2, V3: such a round can end in the miner's favour alone."""
    round_ = _round_over_rows_never_sent(market)
    market.open(round_)
    market.accept(round_)
    market.submit(round_)
    borrowed = [round_.tree.proof(round_.contradiction.leaf)] * 16
    with reverts("settle: row not in the dataset"):
        market.settle(round_, hits=0, proofs=borrowed)
    market.expire(round_)
    market.poke(round_)
    assert market.task(round_).state is TaskState.VALIDATOR_LAPSED


def test_a_paid_settlement_needs_no_proofs(market: Market) -> None:
    round_ = _round_over_rows_never_sent(market)
    market.open(round_)
    market.accept(round_)
    market.submit(round_)
    market.settle(round_, hits=16)
    assert market.task(round_).state is TaskState.PAID


def test_a_miss_never_counts_even_where_a_row_has_no_head(market: Market) -> None:
    """W3: reply hash zero is a miss by definition."""
    round_ = market.make_round()
    headless = sorted((replace(mark, head_hash=NO_HASH) for mark in round_.marks), key=lambda row: row.leaf)
    round_ = market.recommit(replace(round_, marks=headless))
    market.open(round_)
    market.accept(round_)
    market.submit(round_)
    with reverts("settle: rows not proved"):
        market.settle(round_, hits=16, proofs=[])


def test_a_commitment_opens_for_its_miner_and_epoch_alone(market: Market) -> None:
    """C5, C7."""
    first = market.make_round()
    market.call(OUTSIDER.address, "register", EVIDENCE.address, "", NO_HASH)
    market.call(OUTSIDER.address, "deposit", value_wei=10_000_000)
    market.call(OUTSIDER.address, "stake", 10_000_000)
    other_miner = market.retarget(first, miner=OUTSIDER.address)
    market.open(other_miner)
    market.accept(other_miner, sender=OUTSIDER.address)
    market.submit(other_miner, sender=OUTSIDER.address)
    with reverts("settle: commitment does not open"):
        market.settle(other_miner, hits=16)

    market.call(MINER.address, "register", EVIDENCE.address, "", NO_HASH)
    older_epoch = market.make_round()
    older_epoch = market.recommit(older_epoch, miner_epoch=older_epoch.terms.miner_epoch - 1)
    market.open(older_epoch)
    market.accept(older_epoch)
    market.submit(older_epoch)
    with reverts("settle: commitment does not open"):
        market.settle(older_epoch, hits=16)
