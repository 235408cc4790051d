"""A validator that lies in its evidence: the settlement on chain names the lying bundle, so its hash is right."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.audit.auditing import audit, find
from tests.audit.chains import PublicNode, RecordedChain
from tests.audit.rounds import SPEC, EvidenceRound, make_market
from tests.contracts.market import Market
from tests.contracts.rounds import COMMITTEE, COMMITTEE_HASH, MINER, MODEL_HASH, VALIDATOR
from tests.unit.evidence.test_check import BEYOND, altered, leaves, make_reference
from validator.audit.docket import Subject
from validator.audit.findings import Finding, Party, Severity
from validator.audit.history import TaskHistory
from validator.audit.report import BundleStatus
from validator.audit.store import AuditStore
from validator.audit.task_report import report_task
from validator.coverage.result import judge_histograms
from validator.edges.contract import TaskSettled, parse_code
from validator.evidence.bundle import Bundle, MarkedRow, Reply
from validator.marks.schemes import Canary, CanaryAndCoverage
from validator.marks.secrets import DrawStream, Secrets
from validator.protocol import typed_data
from validator.protocol.commitment import MerkleTree, keccak
from validator.protocol.state import Answer
from validator.protocol.verdict import Zone
from validator.types import Address, Hash32

Edit = Callable[[Bundle], Bundle]


@cache
def market() -> Market:
    """With one task that is submitted and waits for its settlement."""
    return make_market(RecordedChain())


@cache
def task() -> EvidenceRound:
    return EvidenceRound.open(market()).submit()


@pytest.fixture
def settled() -> Iterator[EvidenceRound]:
    """To be settled; whatever comes of it is taken back."""
    made = task()
    with market().rolled_back():
        yield made


def named(found: list[Finding]) -> set[tuple[Party, str | None, str]]:
    return {(finding.party, finding.account, finding.check) for finding in found}


# --- every single value


@cache
def honest() -> tuple[Subject, TaskHistory, bytes]:
    """A settled task, its events and its evidence."""
    made, chain = task(), market().chain
    assert isinstance(chain, RecordedChain)
    with market().rolled_back():
        bundle = made.settle(None)
        history = chain.history(made.round.task_id)
    network, birth_chain_id = parse_code(chain.code(market().address)[:-33])
    subject = Subject(chain.chain_id, Address(market().address), network, birth_chain_id, is_whole=True)
    return subject, history, bundle.encode()


def report_with(data: bytes) -> tuple[BundleStatus, tuple[Finding, ...]]:
    """Of a settlement that names these bytes."""
    subject, history, _honest = honest()
    events = [
        replace(each, event=replace(each.event, bundle_hash=keccak(data)))
        if isinstance(each.event, TaskSettled)
        else each
        for each in history.events
    ]
    with AuditStore.opened(None, {}) as store:
        report = report_task(subject, TaskHistory(history.task_id, events), store, data)
    return report.bundle, report.findings


def test_an_honest_bundle_is_verified():
    assert report_with(honest()[2]) == (BundleStatus.VERIFIED, ())


def test_a_chain_that_split_off_judges_what_was_before_by_the_old_id():
    subject, history, data = honest()
    split = replace(subject, chain_id=subject.chain_id + 1)
    with AuditStore.opened(None, {}) as store:
        assert report_task(split, history, store, data).findings == ()
        foreign = replace(split, birth_chain_id=split.chain_id)
        assert {finding.party for finding in report_task(foreign, history, store, data).findings} > {Party.NODE}


SEEN_ON_CHAIN = {"versions.contract_code_hash"}
"""What a bundle alone does not show, and the chain does."""
WORD = {"test.base_hits"}
"""The validator's word, for anybody with the base model to check."""


def test_no_value_can_be_changed_without_a_finding():
    """I7: every one but what is named in BEYOND; and it is the validator who is named."""
    content = json.loads(honest()[2])
    unseen = set()
    for path in leaves(content):
        lying = json.loads(honest()[2])
        target = lying
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = altered(target[path[-1]])
        data = json.dumps(lying, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        status, findings = report_with(data)
        if findings:
            assert status is BundleStatus.WRONG
            assert {finding.party for finding in findings} == {Party.VALIDATOR}
            assert {finding.account for finding in findings} == {VALIDATOR.address}
        else:
            unseen.add(".".join(step for step in path if isinstance(step, str)))
    assert unseen <= set(BEYOND) - SEEN_ON_CHAIN | WORD


# --- by name, on the chain


def with_test(**changes: Any) -> Edit:
    return lambda bundle: bundle.model_copy(update={"test": bundle.test.model_copy(update=changes)})


def with_row(number: int, **changes: Callable[[MarkedRow], Any]) -> Edit:
    def edit(bundle: Bundle) -> Bundle:
        row = bundle.rows[number]
        edited = row.model_copy(update={name: change(row) for name, change in changes.items()})
        return bundle.model_copy(update={"rows": (*bundle.rows[:number], edited, *bundle.rows[number + 1 :])})

    return edit


def with_bundle(**changes: Any) -> Edit:
    return lambda bundle: bundle.model_copy(update=changes)


def fewer_candidates(row: MarkedRow) -> tuple[tuple[str, ...], ...]:
    """As if a word had not been drawn at all."""
    return ((row.candidates[0][row.picks[0]],), *row.candidates[1:])


def other_candidates(row: MarkedRow) -> tuple[tuple[str, ...], ...]:
    return (("Never", "Offered"), *row.candidates[1:])


LIES: dict[str, tuple[Edit, str]] = {
    "a better p-value": (with_test(p_value="1.000000e-30"), "bundle: test"),
    "a worse p-value": (with_test(p_value="1.000000e-03"), "bundle: test"),
    "more hits": (with_test(hits=16), "bundle and chain"),
    "another zone": (with_test(zone=Zone.REFUNDED), "bundle: test"),
    "smaller p0": (with_test(p0=("1.000000e-09",) * 16), "bundle: test"),
    "no error rates": (with_test(error_rates=()), "bundle: test"),
    "a base model that would be paid": (with_test(base_hits=13), "base model"),
    "a set of one candidate": (
        with_row(0, candidates=fewer_candidates, picks=lambda row: (0, *row.picks[1:])),
        "min-entropy",
    ),
    "candidates that were not offered": (with_row(0, candidates=other_candidates), "bundle: draws"),
    "another pick": (with_row(0, picks=lambda row: (1 - row.picks[0], *row.picks[1:])), "bundle: draws"),
    "another prompt": (with_row(3, prompt=lambda row: row.prompt + "?"), "bundle and chain"),
    "another response": (with_row(3, response=lambda row: row.response + "."), "bundle and chain"),
    "another proof": (with_row(3, proof=lambda row: row.proof[::-1]), "bundle: proofs"),
    "short proofs": (with_row(3, proof=lambda row: row.proof[:2]), "dataset size"),
    "another salt": (with_bundle(commitment_salt=keccak(b"x")), "bundle and chain"),
    "another dataset salt": (with_bundle(dataset_salt=keccak(b"x")), "bundle and chain"),
    "another chain": (with_bundle(chain_id=1), "bundle and chain"),
    "another contract": (with_bundle(contract=MINER.address), "bundle and chain"),
    "another task": (with_bundle(task_id=keccak(b"x")), "bundle and chain"),
    "another nonce": (with_bundle(validator_nonce=9), "bundle and chain"),
    "another spec": (with_bundle(spec="{}"), "bundle: task"),
    "another model": (with_bundle(model_id="ft:better"), "bundle: model"),
    "an order of probes that skips one": (with_bundle(probe_order=(0, *range(15))), "bundle: order"),
    "a reply that was not given": (
        lambda bundle: bundle.model_copy(update={"replies": (Reply(text="no", is_cut=False), *bundle.replies[1:])}),
        "bundle and chain",
    ),
    "replies exchanged": (
        lambda bundle: bundle.model_copy(update={"replies": bundle.replies[::-1]}),
        "bundle: replies",
    ),
    "rows exchanged": (lambda bundle: bundle.model_copy(update={"rows": bundle.rows[::-1]}), "bundle: rows"),
    "a row left out": (lambda bundle: bundle.model_copy(update={"rows": bundle.rows[1:]}), "bundle: shape"),
    "other terms": (
        lambda bundle: bundle.model_copy(update={"terms": replace(bundle.terms, k_pay=11)}),
        "bundle and chain",
    ),
    "thresholds beyond n": (
        lambda bundle: bundle.model_copy(update={"terms": replace(bundle.terms, k_pay=17)}),
        "bundle: test",
    ),
    "more probes to a draw than there are": (with_test(probes_per_draw=64), "bundle: test"),
}


async def test_a_validator_that_publishes_the_truth_is_not_blamed(settled: EvidenceRound, tmp_path: Path):
    settled.settle(tmp_path)
    assert await find(PublicNode(settled.market.chain, settled.market.address), tmp_path) == []


@pytest.mark.parametrize("name", LIES)
async def test_a_lying_bundle_is_its_validators(settled: EvidenceRound, tmp_path: Path, name: str):
    edit, check = LIES[name]
    settled.settle(tmp_path, edit)
    found = await find(PublicNode(settled.market.chain, settled.market.address), tmp_path)
    assert (Party.VALIDATOR, VALIDATOR.address, check) in named(found)
    assert {finding.party for finding in found} == {Party.VALIDATOR}
    assert {finding.severity for finding in found} == {Severity.MISMATCH}
    assert all(finding.proof for finding in found)


async def test_a_bundle_that_is_not_there_is_its_validators(settled: EvidenceRound, tmp_path: Path):
    settled.settle(None)
    market().chain.now += 601
    market().call(MINER.address, "deposit", value_wei=1)  # a later block
    node = PublicNode(settled.market.chain, settled.market.address)
    (finding,) = await find(node, tmp_path)
    assert (finding.party, finding.severity, finding.check) == (Party.VALIDATOR, Severity.MISMATCH, "bundle")
    assert await find(node) == []


async def test_a_bundle_that_may_come_yet_is_nobodys_fault(settled: EvidenceRound, tmp_path: Path):
    settled.settle(None)
    (finding,) = await find(PublicNode(settled.market.chain, settled.market.address), tmp_path)
    assert (finding.check, finding.severity) == ("bundle", Severity.NOTE)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 100])
async def test_what_is_no_bundle_is_its_validators(settled: EvidenceRound, tmp_path: Path, content: bytes):
    bundle = settled.settle(None)
    (tmp_path / f"0x{bundle.bundle_hash.hex()}.json").write_bytes(content)
    (finding,) = await find(PublicNode(settled.market.chain, settled.market.address), tmp_path)
    assert (finding.party, finding.check) == (Party.VALIDATOR, "bundle")


# --- what no contract can see


def open_with_salt(made: Market, salt: Hash32, rows_seed: int) -> EvidenceRound:
    opened = EvidenceRound.open(made, rows_seed)
    opened.round = made.recommit(replace(opened.round, salt=salt))
    return opened.submit()


async def test_a_salt_for_two_tasks_is_found(settled: EvidenceRound, tmp_path: Path):
    settled.settle(tmp_path)
    open_with_salt(settled.market, settled.round.salt, rows_seed=2).settle(tmp_path)
    found = await find(PublicNode(settled.market.chain, settled.market.address), tmp_path)
    assert named(found) == {(Party.VALIDATOR, VALIDATOR.address, "repeated secret")}


async def test_marks_that_were_public_are_found(settled: EvidenceRound, tmp_path: Path):
    """The same dataset again, after its marks are known to everybody."""
    settled.settle(tmp_path)
    EvidenceRound.open(settled.market).submit().settle(tmp_path)
    found = await find(PublicNode(settled.market.chain, settled.market.address), tmp_path)
    assert [(each.check, each.severity) for each in found] == [("public marks", Severity.WARNING)]


async def test_bundles_of_two_tasks_exchanged_are_found(tmp_path: Path):
    """Each settlement names the other one's evidence."""
    made = make_market()
    first, second = EvidenceRound.open(made, rows_seed=1).submit(), EvidenceRound.open(made, rows_seed=2).submit()
    bundles = first.bundle(), second.bundle()
    first.settle(tmp_path, lambda _bundle: bundles[1])
    second.settle(tmp_path, lambda _bundle: bundles[0])
    found = await find(PublicNode(made.chain, made.address), tmp_path)
    assert {finding.party for finding in found} == {Party.VALIDATOR}
    for made_round in (first, second):
        checks = {finding.check for finding in found if finding.task_id == "0x" + made_round.round.task_id.hex()}
        assert "bundle and chain" in checks


async def test_rows_that_contradict_each_other_are_found_without_a_bundle():
    """No model can hit both, and no contract looks."""
    made = make_market()
    round_ = made.make_round()
    other = replace(round_.marks[1], prompt_hash=round_.marks[0].prompt_hash)
    marks = sorted([round_.marks[0], other, *round_.marks[2:]], key=lambda row: row.leaf)
    tree = MerkleTree([row.leaf for row in marks])
    round_ = replace(made.retarget(round_, dataset_root=tree.root), marks=marks, tree=tree)
    round_ = made.recommit(round_)
    made.open(round_)
    made.accept(round_)
    made.submit(round_)
    made.settle(round_, hits=16)
    found = await find(PublicNode(made.chain, made.address))
    assert named(found) == {(Party.VALIDATOR, VALIDATOR.address, "contradictory rows")}


async def test_marks_that_no_reply_can_hit_are_found(settled: EvidenceRound, tmp_path: Path):
    """Five of sixteen, where twelve hits pay."""

    def edit(bundle: Bundle) -> Bundle:
        for number in range(5):
            bundle = with_row(number, response=lambda row: " " + row.response)(bundle)
        return bundle

    settled.settle(tmp_path, edit)
    found = await find(PublicNode(settled.market.chain, settled.market.address), tmp_path)
    assert (Party.VALIDATOR, VALIDATOR.address, "unanswerable rows") in named(found)


async def test_a_dataset_salt_for_two_datasets_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Secrets, "dataset_salt", lambda *_secret_of: keccak(b"one for all"))
    made = make_market()
    for rows_seed in (2_001, 2_002):
        EvidenceRound.open(made, rows_seed).submit().settle(tmp_path)
    found = await find(PublicNode(made.chain, made.address), tmp_path)
    assert named(found) == {(Party.VALIDATOR, VALIDATOR.address, "repeated secret")}


async def judge_with(signed_bps: int, directory: Path, bundle_hash: Hash32 | None = None) -> list[Finding]:
    """What is found of judged weights whose bundle has ranks of about nine tenths, and whose committee signs this."""
    made, reference = make_market(), make_reference(SPEC)
    result = judge_histograms({8: (155, 11, 8, 7, 6, 5, 5, 3)}, seed=1, dropped=2, reference=reference)
    opened = EvidenceRound.open(
        made, weights=2, scheme=CanaryAndCoverage(), committee_hash=COMMITTEE_HASH, min_coverage_bps=8_000
    )
    opened.reference = reference
    opened.changes = {"coverage": result.to_json().decode(), "weights_answers": opened.answers}
    bundle = opened.submit().settle(directory)
    data = typed_data.weights_verdict(
        opened.round.task_id, MODEL_HASH, 15, signed_bps, bundle_hash or bundle.bundle_hash
    )
    verdicts = [
        (15, signed_bps, bundle_hash or bundle.bundle_hash, made.sign(member, data)) for member in COMMITTEE[:2]
    ]
    made.judge(opened.round, verdicts)
    found = await find(PublicNode(made.chain, made.address), directory)
    return [finding for finding in found if finding.party is Party.COMMITTEE]


async def test_a_committee_that_signs_more_than_the_ranks_give_is_named(tmp_path: Path):
    found = await judge_with(9_999, tmp_path)
    assert named(found) == {(Party.COMMITTEE, member.address, "coverage") for member in COMMITTEE[:2]}
    assert {finding.severity for finding in found} == {Severity.MISMATCH}
    assert await judge_with(8_001, tmp_path) == []


async def test_a_committee_that_judges_by_other_evidence_is_shown(tmp_path: Path):
    found = await judge_with(8_001, tmp_path, keccak(b"another bundle"))
    assert {(finding.check, finding.severity) for finding in found} == {("judged", Severity.WARNING)}


async def test_draws_that_always_take_the_first_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Everything in its bundle agrees, and who knows the habit knows the marks."""
    monkeypatch.setattr(DrawStream, "below", lambda _stream, _count: 0)
    made = make_market()
    EvidenceRound.open(made, rows_seed=1_000, scheme=Canary(max_tokens=33)).submit().settle(tmp_path)
    found = await find(PublicNode(made.chain, made.address), tmp_path)
    assert named(found) == {(Party.VALIDATOR, VALIDATOR.address, "biased draws")}


async def test_the_same_draws_again_are_no_new_evidence_about_them(tmp_path: Path):
    """Ten tasks over one dataset: its draws count once."""
    made = make_market()
    opened = [EvidenceRound.open(made).submit() for _ in range(10)]
    for each in opened:
        each.settle(tmp_path)
    node = PublicNode(made.chain, made.address)
    assert await find(node, tmp_path) == []
    _status, report = await audit(node, tmp_path, bundles=[str(tmp_path)])
    assert report.accounts[0].picks is not None
    assert report.accounts[0].picks.draws == 64


async def test_weights_that_do_not_answer_as_the_miner_signed_are_shown(tmp_path: Path):
    """By the validator's word: a warning, about the miner."""
    made = make_market()
    untrained = tuple(Answer("Nothing of the kind, in so many words.", is_cut=False) for _ in range(16))
    opened = EvidenceRound.open(made, weights=1, scheme=CanaryAndCoverage(), changes={"weights_answers": untrained})
    opened.submit().settle(tmp_path)
    found = await find(PublicNode(made.chain, made.address), tmp_path)
    mild = {(each.party, each.account, each.check) for each in found if each.severity is Severity.WARNING}
    assert (Party.MINER, MINER.address, "weights") in mild
    assert (Party.VALIDATOR, VALIDATOR.address, "untrained") in mild
