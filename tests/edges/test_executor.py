"""What a refusal by the contract means to the validator: overtaken, too late, or a reason to stop."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.edges.test_contract import (
    BUNDLE_HASH,
    FAR_FUTURE,
    MODEL_HASH,
    PAYER,
    SOURCE_DATA_HASH,
    URL,
    VALIDATOR,
    Market,
    N,
    open_market,
)
from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.config import DEV
from validator.coverage.references import References
from validator.coverage.result import CoverageResult, TrainedShare
from validator.coverage.share import EpochView, ShareEstimate
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import TaskStatus, gas_limits_by_selector
from validator.edges.http import HttpClient
from validator.edges.transactions import TransactionManager
from validator.errors import BadEvidence, MinerFault, Transient
from validator.evidence.store import BundleStore
from validator.evidence_keeper import EvidenceKeeper
from validator.executor import ChainAndMiners
from validator.files import describe_files
from validator.journal import Identity, Journal
from validator.marks.coverage import CoverageMark
from validator.marks.planting import PlantedMarks
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets
from validator.model_work import Children
from validator.plan.spec import TrainingSpec
from validator.protocol import typed_data
from validator.protocol.commitment import Row, hash_committee, hash_head, keccak
from validator.protocol.effects import Challenge, Effect, Judge, OpenTask, ProbeWeights
from validator.protocol.events import Event, OpeningFailed, TaskPlanned, WeightsProbed
from validator.protocol.method import read_method
from validator.protocol.state import Answer, Phase, TaskState
from validator.protocol.typed_data import OrderMessage
from validator.types import Hash32, UnixSeconds, Wei
from validator.weights.returned import ReturnedWeights

LOOPBACK_URL = "http://127.0.0.1:1"
SALT = Hash32(bytes(32))
HEAD = "these are four words"
MARK = CoverageMark(0, place=2, candidates=("four", "many", "some", "few"), pick=0)
COVERED = ((Row("What are these?", "these are four words and no more"), MARK),)
SPEC = TrainingSpec(EMBEDDED_MODEL_NAME, epochs=1, learning_rate=1e-3)


@pytest.fixture
async def market(embedded_chain: Chain) -> Market:
    return await open_market(embedded_chain)


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(DEV) as http:
        yield http


@dataclass(frozen=True)
class OneDataset:
    planted: PlantedMarks
    coverage: tuple[tuple[Row, CoverageMark], ...] = ()

    async def marks(self, _state: TaskState) -> PlantedMarks:
        return self.planted

    async def covered(self, _state: TaskState) -> tuple[tuple[Row, CoverageMark], ...]:
        return self.coverage

    async def training_file(self, _state: TaskState) -> bytes:
        raise AssertionError("no dataset leaves in these tests")


async def nothing_is_hidden(_state: TaskState) -> None:
    """No other dataset is compared with this one."""


async def perform(market: Market, http: HttpClient, directory: Path, effect: Effect, state: TaskState) -> Event | None:
    """Carry an effect out as a validator does, transaction manager and journal included."""
    marks = market.marks
    if isinstance(effect, Judge):  # Of no effect on chain any more: here the heads are known.
        marks = [replace(mark, head_hash=hash_head(SALT, HEAD)) for mark in marks]
    contract = market.contract
    identity = Identity(contract.chain.chain_id, contract.address, VALIDATOR.address)
    journal = Journal(directory / "journal.sqlite", keccak(b"journal"), identity)
    journal.record(state.planned, [effect])
    planted = PlantedMarks(
        scheme=make_scheme("canary"),
        source_data_hash=SOURCE_DATA_HASH,
        dataset_salt=SALT,
        marks=(),
        mark_hashes=tuple(marks),
        mark_proofs=tuple(tuple(market.tree.proof(mark.leaf)) for mark in market.marks),
        source_prompts=(),
        dataset_root=market.tree.root,
        generator="",
    )
    manager = TransactionManager(
        contract.chain,
        VALIDATOR,
        journal.transactions,
        stop=journal.stop,
        gas_limits=gas_limits_by_selector(),
        fee_limits=DEV.fee_limits,
        finality_depth=DEV.finality_depth,
    )
    secrets = Secrets(keccak(b"seed"), contract.chain.chain_id, contract.address)
    executor = ChainAndMiners(
        contract=contract,
        transactions=manager,
        signer=VALIDATOR,
        http=http,
        secrets=secrets,
        planted=OneDataset(planted, COVERED if isinstance(effect, ProbeWeights) else ()),
        evidence=EvidenceKeeper(contract, secrets, BundleStore(directory / "bundles", bytes(32)), nothing_is_hidden),
        weights=ReturnedWeights(
            Children(1),
            directory / "models",
            {EMBEDDED_MODEL_NAME: EMBEDDED_MODEL},
            references=References(directory / "references"),
        ),
    )
    running = asyncio.create_task(manager.run())
    try:
        return await executor.perform(effect, state)
    finally:
        running.cancel()
        await asyncio.wait([running])
        journal.close()


def submitted(market: Market) -> TaskState:
    terms = market.terms
    order = OrderMessage(
        VALIDATOR.address, Wei(0), Wei(0), terms.spec_hash, SOURCE_DATA_HASH, N, terms.k_pay, 7, UnixSeconds(0)
    )
    planned = TaskPlanned(market.task_id, terms, 0, order, b"", "{}", "tiny", URL, Hash32(bytes(32)))
    return TaskState(planned, Phase.SUBMITTED)


async def planned(market: Market, validator_nonce: int = 0, **changes: Any) -> TaskState:
    terms = market.terms
    order = OrderMessage(
        VALIDATOR.address, terms.reward, terms.fee, terms.spec_hash, SOURCE_DATA_HASH, N, terms.k_pay, 7, FAR_FUTURE
    )
    signature = await PAYER.sign_typed_data(market.contract.domain, typed_data.order(order))
    task_id = market.contract.task_id(terms, validator_nonce)
    plan = TaskPlanned(task_id, terms, validator_nonce, order, signature, "{}", "tiny", LOOPBACK_URL)
    return TaskState(replace(plan, **changes))


async def test_a_task_is_opened_once_whoever_asks_again(market: Market, http: HttpClient, tmp_path: Path) -> None:
    """I4."""
    state = await planned(market)
    for _ in range(2):
        assert await perform(market, http, tmp_path, OpenTask(state.task_id), state) is None
    assert await market.status() is TaskStatus.OPEN
    assert await market.contract.validator_nonce(VALIDATOR.address) == 1


async def test_a_task_waits_for_those_before_it(market: Market, http: HttpClient, tmp_path: Path) -> None:
    state = await planned(market, 1)
    with pytest.raises(Transient, match="an earlier task"):
        await perform(market, http, tmp_path, OpenTask(state.task_id), state)


async def test_a_number_that_another_task_has_taken_is_given_up(
    market: Market, http: HttpClient, tmp_path: Path
) -> None:
    """P8: an old journal plans what has been done since."""
    await market.open()
    market.terms = replace(market.terms, fee=Wei(market.terms.fee - 1))
    state = await planned(market)
    failed = await perform(market, http, tmp_path, OpenTask(state.task_id), state)
    assert failed == OpeningFailed(state.task_id, "its Order or number is gone")


async def test_an_order_that_expires_on_the_way_ends_the_plan(market: Market, http: HttpClient, tmp_path: Path) -> None:
    """Section 2, point 12: a transaction that can be of no use any more is not sent."""
    state = await planned(market)
    late = state.planned.order._replace(expiry=UnixSeconds((await market.contract.chain.head()).timestamp_s - 1))
    state = replace(state, planned=replace(state.planned, order=late))
    failed = await perform(market, http, tmp_path, OpenTask(state.task_id), state)
    assert failed == OpeningFailed(state.task_id, "its Order or number is gone")


async def test_a_task_that_was_opened_under_another_number_is_left_to_lapse(
    market: Market, http: HttpClient, tmp_path: Path
) -> None:
    """C1: after a reorganisation in which the task before it was refused."""
    state = await planned(market, task_id=market.contract.task_id(market.terms, 1))
    failed = await perform(market, http, tmp_path, OpenTask(state.task_id), state)
    assert failed == OpeningFailed(state.task_id, "it was opened under another number")


async def test_a_miner_at_a_forbidden_place_is_not_paid_for(market: Market, http: HttpClient, tmp_path: Path) -> None:
    """N5: nothing is sent before it is known that its miner can be gone to."""
    state = await planned(market, miner_url="https://169.254.169.254")
    with pytest.raises(MinerFault):
        await perform(market, http, tmp_path, OpenTask(state.task_id), state)
    assert await market.contract.validator_nonce(VALIDATOR.address) == 0


async def test_what_comes_too_late_stops_nobody(market: Market, http: HttpClient, tmp_path: Path) -> None:
    # Each block of the embedded chain is at least a second after the one before.
    market.terms = replace(market.terms, submitted_seconds=0)
    await market.open()
    await market.submit()
    state = submitted(market)
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.SUBMITTED


async def test_what_somebody_else_has_ended_is_left_alone(market: Market, http: HttpClient, tmp_path: Path) -> None:
    market.terms = replace(market.terms, submitted_seconds=0)
    await market.open()
    await market.submit()
    await market.contract.deposit(market.payer, Wei(1))
    await market.contract.poke(TransactionSender(market.contract.chain, PAYER), market.terms, 0)
    state = submitted(market)
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.VALIDATOR_LAPSED


async def test_evidence_that_is_refused_although_nothing_has_changed_stops_loudly(
    market: Market, http: HttpClient, tmp_path: Path
) -> None:
    await market.open()
    await market.submit()
    market.marks.pop()
    state = submitted(market)
    with pytest.raises(BadEvidence, match="not n leaves"):
        await perform(market, http, tmp_path, Challenge(state.task_id), state)


async def test_an_effect_is_done_when_the_chain_shows_it(market: Market, http: HttpClient, tmp_path: Path) -> None:
    await market.open()
    await market.submit()
    state = submitted(market)
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.CHALLENGED
    await perform(market, http, tmp_path, Challenge(state.task_id), state)
    assert await market.status() is TaskStatus.CHALLENGED


def coverage_of(lower_bound: float) -> str:
    """What is known of weights of which at least so much was trained on."""
    estimate = ShareEstimate(lower_bound + 0.05, lower_bound - 0.01, lower_bound + 0.1, lower_bound, 9.0)
    trained = TrainedShare("a reference", estimate, EpochView({3: -10.0}, lower_bound, -9.0), (0.9, 0.1))
    return CoverageResult({2: (90, 10)}, 0, 0, -16.0, -16.0, trained).to_json().decode()


@pytest.mark.parametrize(
    ("answer", "coverage", "status"),
    [
        (HEAD, coverage_of(0.8), TaskStatus.PAID),
        (HEAD, coverage_of(0.79), TaskStatus.JUDGING),
        (HEAD, None, TaskStatus.JUDGING),
        ("other words than these", coverage_of(1.0), TaskStatus.JUDGING),
    ],
    ids=["enough", "three quarters", "unknown", "no hits"],
)
async def test_weights_are_signed_for_if_they_hit_and_enough_was_trained_on(
    embedded_chain: Chain, http: HttpClient, tmp_path: Path, answer: str, coverage: str | None, status: TaskStatus
) -> None:
    """W8: what is not signed for is refunded when the time is over."""
    committee = hash_committee([VALIDATOR.address])
    market = await open_market(embedded_chain, weights=2, min_coverage_bps=8_000, committee_hash=committee)
    await market.open()
    await market.submit()
    await market.settle(N)
    state = replace(
        submitted(market),
        phase=Phase.JUDGING,
        model_hash=MODEL_HASH,
        bundle_hash=BUNDLE_HASH,
        weights_answers=(Answer(answer, is_cut=False),) * N,
        coverage=coverage,
    )
    await perform(market, http, tmp_path, Judge(market.task_id), state)
    assert await market.status() is status


@pytest.mark.parametrize("is_reference_whole", [True, False], ids=["measured", "unknown"])
async def test_answers_of_weights_stand_although_their_coverage_cannot_be_found_out(
    market: Market, http: HttpClient, tmp_path: Path, is_reference_whole: bool
) -> None:
    """M13: a damaged reference of ours is nobody's fault. The weights are the base model's own."""
    directory = tmp_path / "models" / f"0x{market.task_id.hex()}"
    directory.mkdir(parents=True)
    method = read_method(SPEC.to_json())
    for name in method.file_names:
        shutil.copy(Path(EMBEDDED_MODEL) / name, directory)
    if not is_reference_whole:
        (tmp_path / "references").mkdir()
        (tmp_path / "references" / f"{SPEC.hash.hex()}.json").write_text("{}")
    state = submitted(market)
    state = replace(
        state,
        planned=replace(state.planned, spec=SPEC.to_json(), base_model=EMBEDDED_MODEL_NAME),
        weights_files=describe_files(directory, method.file_names),
    )
    event = await perform(market, http, tmp_path, ProbeWeights(market.task_id), state)
    assert isinstance(event, WeightsProbed)
    if not is_reference_whole:
        assert event.coverage is None
    else:
        assert event.coverage is not None
        assert CoverageResult.from_json(event.coverage.encode()).rows == 1
