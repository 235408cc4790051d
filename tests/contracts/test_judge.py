"""`judge`: a quorum of the committee, by signature, turns a transcript that hit into a payment."""

from typing import Any

import pytest

from contracts import TaskState
from tests.contracts.evm import reverts
from tests.contracts.market import Market
from tests.contracts.rounds import BUNDLE_HASH, COMMITTEE, MINER, OUTSIDER, PAYER, VALIDATOR, Round
from tests.contracts.signatures import INVALID_SIGNATURES, Tamper
from validator.protocol import typed_data
from validator.protocol.commitment import keccak

NOT_JUDGING = [s for s in list(TaskState)[1 : TaskState.SLASH_PENDING + 1] if s is not TaskState.JUDGING]


def quorum(market: Market, round_: Round) -> list[tuple[Any, ...]]:
    return [market.verdict(round_, member) for member in COMMITTEE[:2]]


@pytest.mark.parametrize("sender", [PAYER.address, VALIDATOR.address, MINER.address, OUTSIDER.address])
def test_anyone_brings_the_quorum_and_the_miner_is_paid(market: Market, sender: str) -> None:
    round_ = market.reach(TaskState.JUDGING)
    verdicts = quorum(market, round_)
    *judged, closed = market.judge(round_, verdicts, sender=sender)
    assert market.task(round_).state is TaskState.PAID
    assert closed.args["to_miner"] == round_.terms.reward
    assert judged == [
        (
            "Judged",
            {
                "task_id": round_.task_id,
                "signer": member.address.lower(),
                "hits": 12,
                "coverage_low_bps": 7_000,
                "bundle_hash": BUNDLE_HASH,
                "signature": verdict[3],
            },
        )
        for member, verdict in zip(COMMITTEE[:2], verdicts, strict=True)
    ]


def test_more_than_the_quorum_is_fine(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    market.judge(round_, [market.verdict(round_, member) for member in COMMITTEE])
    assert market.task(round_).state is TaskState.PAID


def test_better_verdicts_than_asked_are_fine(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    market.judge(round_, [market.verdict(round_, member, hits=16, coverage_low_bps=10_000) for member in COMMITTEE])
    assert market.task(round_).state is TaskState.PAID


def test_less_is_not(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    for verdicts in ([], [market.verdict(round_, COMMITTEE[2])]):
        with reverts("judge: no quorum"):
            market.judge(round_, verdicts)


def test_no_member_counts_twice(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    first, second = quorum(market, round_)
    for verdicts in ([first, first], [second, first]):
        with reverts("judge: signers not ascending"):
            market.judge(round_, verdicts)


def test_outsiders_do_not_count(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    with reverts("judge: not a committee member"):
        market.judge(round_, [market.verdict(round_, MINER), market.verdict(round_, COMMITTEE[0])])


def test_only_the_committee_of_the_terms(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    verdicts = quorum(market, round_)
    addresses = [member.address for member in COMMITTEE]
    for committee in ([], addresses[:2], addresses[::-1], [*addresses, MINER.address]):
        with reverts("judge: another committee"):
            market.on_task(OUTSIDER.address, "judge", round_, committee, verdicts)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"hits": 11}, "judge: hits under k_pay"), ({"coverage_low_bps": 6_999}, "judge: coverage too low")],
)
def test_every_verdict_must_be_good(market: Market, change: dict[str, int], reason: str) -> None:
    round_ = market.reach(TaskState.JUDGING)
    with reverts(reason):
        market.judge(round_, [market.verdict(round_, COMMITTEE[0]), market.verdict(round_, COMMITTEE[1], **change)])


def test_a_verdict_is_for_this_task_and_model_and_its_own_numbers(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    good = market.verdict(round_, COMMITTEE[0])
    other_model = typed_data.weights_verdict(round_.task_id, keccak(b"other"), 12, 7_000, BUNDLE_HASH)
    other_task = typed_data.weights_verdict(market.make_round().task_id, keccak(b"model"), 12, 7_000, BUNDLE_HASH)
    for bad in (
        (*good[:3], market.sign(COMMITTEE[0], other_model)),
        (*good[:3], market.sign(COMMITTEE[0], other_task)),
        (13, *good[1:]),
        (good[0], 7_001, *good[2:]),
        (*good[:2], keccak(b"other bundle"), good[3]),
    ):
        with reverts("judge: not a committee member", "judge: signers not ascending"):
            market.judge(round_, [bad, market.verdict(round_, COMMITTEE[1])])


@pytest.mark.parametrize(("tamper", "reason"), INVALID_SIGNATURES[:-1])
def test_one_encoding_of_a_signature_counts(market: Market, tamper: Tamper, reason: str) -> None:
    """W7."""
    round_ = market.reach(TaskState.JUDGING)
    first, second = quorum(market, round_)
    with reverts(reason):
        market.judge(round_, [(*first[:3], tamper(first[3])), second])


@pytest.mark.parametrize("late_s", [-1, 0, 1])
def test_until_the_deadline(market: Market, late_s: int) -> None:
    """C9."""
    round_ = market.reach(TaskState.JUDGING)
    market.chain.now = market.task(round_).deadline + late_s
    if late_s > 0:
        with reverts("task: deadline passed"):
            market.judge(round_, quorum(market, round_))
    else:
        market.judge(round_, quorum(market, round_))


@pytest.mark.parametrize("state", NOT_JUDGING)
def test_succeeds_in_judging_alone(market: Market, state: TaskState) -> None:
    round_ = market.reach(state)
    with reverts("task: not in this state"):
        market.judge(round_, quorum(market, round_))


def test_succeeds_once(market: Market) -> None:
    round_ = market.reach(TaskState.JUDGING)
    market.judge(round_, quorum(market, round_))
    with reverts("task: not in this state"):
        market.judge(round_, quorum(market, round_))
