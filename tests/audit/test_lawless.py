"""A contract whose every check is taken out, and which pays wrongly: who uses it to cheat is named, and it too.

These are real transactions on a real EVM; only what stands at the address is not Touchstone.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from contracts import SOURCE_PATH, Artifact, TaskState, load_artifact
from tests.audit.auditing import find
from tests.audit.chains import PublicNode, RecordedChain
from tests.contracts import market as markets
from tests.contracts.evm import Contract
from tests.contracts.market import Market
from tests.contracts.mutation.compiler import compile_mutant
from tests.contracts.rounds import COMMITTEE, EVIDENCE, GUARDIAN, MINER, OUTSIDER, VALIDATOR, Round
from validator.audit.findings import Party, Severity
from validator.protocol.commitment import RowHashes, keccak

CHECK = "    assert ok, reason\n"


class LawlessMarket(Market):
    """Nothing is checked, so its money does not add up either."""

    send = Contract.send


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    source = SOURCE_PATH.read_text(encoding="utf-8").replace(CHECK, "    pass\n")
    bytecode = compile_mutant(source)
    assert bytecode is not None
    return replace(load_artifact(), bytecode=bytes.fromhex(bytecode))


@pytest.fixture(scope="module")
def lawless(artifact: Artifact) -> LawlessMarket:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markets, "load_artifact", lambda: artifact)
        return LawlessMarket(RecordedChain())


@pytest.fixture
def market(lawless: LawlessMarket) -> Iterator[LawlessMarket]:
    with lawless.rolled_back():
        yield lawless


def submitted(market: Market, **changes: Any) -> Round:
    round_ = market.make_round(**changes)
    market.open(round_)
    market.accept(round_)
    market.submit(round_)
    return round_


def settled_with(hits: int = 16, **changes: Callable[[Market, Round], Any]) -> Callable[[Market], None]:
    """A settlement that is honest but for these arguments."""

    def play(market: Market) -> None:
        round_ = submitted(market)
        market.settle(round_, hits, **{name: change(market, round_) for name, change in changes.items()})

    return play


def opened_with(**terms: Any) -> Callable[[Market], None]:
    return lambda market: market.open(market.make_round(**terms)) and None


def answered_otherwise(market: Market) -> None:
    round_ = submitted(market)
    market.challenge(round_)
    market.answer(round_, hits=4)
    market.settle(round_, hits=16)


def challenged_otherwise(market: Market) -> None:
    round_ = submitted(market)
    market.on_task(VALIDATOR.address, "challenge", round_, [keccak(leaf) for leaf in round_.leaves])
    market.answer(round_, hits=16)
    market.settle(round_, hits=16)


def settled_late(market: Market) -> None:
    round_ = submitted(market)
    market.expire(round_)
    market.settle(round_, hits=16)


def settled_unsubmitted(market: Market) -> None:
    round_ = market.make_round()
    market.open(round_)
    market.accept(round_)
    market.settle(round_, hits=16)


def settled_twice(market: Market) -> None:
    market.settle(market.reach(TaskState.JUDGING), hits=16)


def accepted_late(market: Market) -> None:
    round_ = market.make_round()
    market.open(round_)
    market.expire(round_)
    market.accept(round_)


def submitted_unaccepted(market: Market) -> None:
    round_ = market.make_round()
    market.open(round_)
    market.submit(round_)


def poked_early(market: Market) -> None:
    market.poke(submitted(market))


def commitment_again(market: Market) -> None:
    round_ = submitted(market)
    market.open(market.retarget(round_, reward=round_.terms.reward + 1))


def order_again(market: Market) -> None:
    for _ in range(2):
        round_ = market.make_round()
        market.open(round_, market.order(round_, nonce=5))


def bonds_over_stake(market: Market) -> None:
    round_ = market.make_round(miner_bond=10**10)
    market.open(round_)
    market.accept(round_)


def spent_twice(market: Market) -> None:
    market.call(OUTSIDER.address, "deposit", value_wei=5)
    market.call(OUTSIDER.address, "stake", 5)
    market.call(OUTSIDER.address, "request_unstake", 5)
    market.call(OUTSIDER.address, "unstake")


def judged_by(*signers: Any, hits: int = 16) -> Callable[[Market], None]:
    def play(market: Market) -> None:
        round_ = market.reach(TaskState.JUDGING)
        market.judge(round_, [market.verdict(round_, signer, hits=hits) for signer in signers])

    return play


def disputed_without_reason(market: Market) -> None:
    round_ = market.reach(TaskState.SLASH_PENDING)
    market.dispute(round_, other=round_.marks[1], proof=round_.tree.proof(round_.marks[1].leaf))


def opened_after_sunset(market: Market) -> None:
    market.call(GUARDIAN.address, "sunset")
    market.open(market.make_round())


def forged(market: Market, round_: Round) -> bytes:
    return market.sign(OUTSIDER, round_.transcript(round_.replies(16)))


def other_rows(_market: Market, round_: Round) -> list[RowHashes]:
    return sorted([round_.contradiction, *round_.marks[1:]], key=lambda row: row.leaf)


LIES: dict[str, tuple[Callable[[Market], Any], Party, str | None, str]] = {
    "another salt": (settled_with(salt=lambda _m, _r: keccak(b"x")), Party.VALIDATOR, VALIDATOR.address, "commitment"),
    "other rows": (
        settled_with(rows=other_rows),
        Party.VALIDATOR,
        VALIDATOR.address,
        "commitment",
    ),
    "rows out of order": (settled_with(rows=lambda _m, r: r.marks[::-1]), Party.VALIDATOR, VALIDATOR.address, "rows"),
    "a forged signature": (settled_with(signature=forged), Party.VALIDATOR, VALIDATOR.address, "signature"),
    "replies that were not signed": (
        settled_with(signature=lambda m, r: m.sign(EVIDENCE, r.transcript(r.replies(3)))),
        Party.VALIDATOR,
        VALIDATOR.address,
        "signature",
    ),
    "replies that were not answered": (answered_otherwise, Party.VALIDATOR, VALIDATOR.address, "replies"),
    "leaves that are not the marks'": (challenged_otherwise, Party.VALIDATOR, VALIDATOR.address, "rows"),
    "settled too late": (settled_late, Party.VALIDATOR, VALIDATOR.address, "order"),
    "settled before a model": (settled_unsubmitted, Party.VALIDATOR, VALIDATOR.address, "order"),
    "settled twice": (settled_twice, Party.VALIDATOR, VALIDATOR.address, "order"),
    "accepted too late": (accepted_late, Party.MINER, MINER.address, "order"),
    "submitted without accepting": (submitted_unaccepted, Party.MINER, MINER.address, "order"),
    "bonds over the stake": (bonds_over_stake, Party.MINER, MINER.address, "stake"),
    "ended too early": (poked_early, Party.CONTRACT, None, "order"),
    "a commitment used twice": (commitment_again, Party.VALIDATOR, VALIDATOR.address, "commitment"),
    "an Order used twice": (order_again, Party.VALIDATOR, VALIDATOR.address, "order"),
    "kPay under two thirds": (opened_with(k_pay=8), Party.VALIDATOR, VALIDATOR.address, "terms"),
    "kSlash over an eighth": (opened_with(k_slash=5), Party.VALIDATOR, VALIDATOR.address, "terms"),
    "too small a bond": (opened_with(validator_bond=1), Party.VALIDATOR, VALIDATOR.address, "terms"),
    "too long a time": (opened_with(submitted_seconds=400 * 86_400), Party.VALIDATOR, VALIDATOR.address, "terms"),
    "another epoch": (opened_with(miner_epoch=2), Party.VALIDATOR, VALIDATOR.address, "registration"),
    "opened after the sunset": (opened_after_sunset, Party.VALIDATOR, VALIDATOR.address, "sunset"),
    "stake back at once": (spent_twice, Party.CONTRACT, None, "stake"),
    "judged without a quorum": (judged_by(COMMITTEE[0]), Party.CONTRACT, None, "judged"),
    "one signer twice": (judged_by(COMMITTEE[0], COMMITTEE[0]), Party.CONTRACT, None, "judged"),
    "a verdict that does not pay": (
        judged_by(*COMMITTEE[:2], hits=3),
        Party.COMMITTEE,
        COMMITTEE[0].address,
        "judged",
    ),
    "a dispute without a contradiction": (disputed_without_reason, Party.CONTRACT, None, "dispute"),
}


async def test_a_lawless_contract_that_nobody_misuses_is_named_alone(market: LawlessMarket):
    market.settle(submitted(market), hits=16)
    found = await find(PublicNode(market.chain, market.address))
    assert [(finding.check, finding.party, finding.account) for finding in found] == [
        ("code", Party.CONTRACT, market.address)
    ]


@pytest.mark.parametrize("name", LIES)
async def test_who_misuses_it_is_named(market: LawlessMarket, name: str):
    play, party, account, check = LIES[name]
    play(market)
    found = await find(PublicNode(market.chain, market.address))
    named = {(finding.party, finding.account, finding.check) for finding in found if finding.check != "code"}
    assert (party, account or market.address, check) in named
    assert {finding.severity for finding in found} == {Severity.MISMATCH}
    parties = {finding.party for finding in found}
    assert parties == {party, Party.CONTRACT}, "nobody else is"


@pytest.mark.parametrize(
    ("old", "new", "hits", "checks"),
    [
        ("        to_miner = terms.reward\n", "        to_miner = terms.reward + 1\n", 16, {"payout", "solvency"}),
        ("    to_payer: uint256 = terms.reward\n", "    to_payer: uint256 = terms.reward - 1\n", 8, {"payout"}),
    ],
    ids=["over-paid", "under-paid"],
)
async def test_a_contract_that_pays_wrongly_is_named(old: str, new: str, hits: int, checks: set[str]):
    """To the wei."""
    source = SOURCE_PATH.read_text(encoding="utf-8").replace(old, new)
    bytecode = compile_mutant(source)
    assert bytecode is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(markets, "load_artifact", lambda: replace(load_artifact(), bytecode=bytes.fromhex(bytecode)))
        market = LawlessMarket(RecordedChain())
    market.settle(submitted(market), hits=hits)
    found = await find(PublicNode(market.chain, market.address))
    assert {finding.party for finding in found} == {Party.CONTRACT}
    assert {finding.check for finding in found} == {"code"} | checks
