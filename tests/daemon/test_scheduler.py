"""Continuous seeding: whose request is next, which miner gets it, and why a task has to wait."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

from tests.daemon.office import COST_WEI, MASTER_SEED, PAYER, REWARD_WEI, VALIDATOR, Office, make_request, open_office
from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import generate_rows
from validator.child_processes import WorkFailed
from validator.config import DEV
from validator.driver import Driver
from validator.edges.chain import TransactionSender
from validator.edges.keys import LocalSigner, derive_signer, dev_mnemonic_signer
from validator.errors import BadInput
from validator.health.loop_lag import LoopLag
from validator.health.measurements import Measurements
from validator.health.progress import Progress
from validator.marks.planting import PlantedDataset, PlantedMarks, plant
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets
from validator.miner_directory import MinerDirectory
from validator.plan.terms import compute_availability_bond, compute_validator_bond
from validator.protocol.commitment import Row
from validator.protocol.effects import Effect
from validator.protocol.events import Event
from validator.protocol.state import Phase, TaskState
from validator.protocol.wire import encode_training_file
from validator.requests.dataset_store import DatasetRecord
from validator.requests.orders import Request
from validator.scheduler import Scheduler, SeedingLimits
from validator.telemetry import NEAREST_DEADLINE_TIMESTAMP_SECONDS, REQUESTS_WAITING
from validator.types import Hash32, UnixSeconds, Wei

NO_TLS = Hash32(bytes(32))
LOOPBACK = "http://127.0.0.1:1"
FIRST, SECOND = generate_rows(300, seed=1), generate_rows(300, seed=2)


class Idle:
    """An Executor that never gets anything done: what is planned stays planned."""

    async def perform(self, _effect: Effect, _state: TaskState) -> Event | None:
        await asyncio.Event().wait()
        return None


class Seeding:
    """A scheduler over an office, with miners that are registered and staked."""

    def __init__(self, office: Office, driver: Driver) -> None:
        self.office, self.driver = office, driver
        self.miners = MinerDirectory()
        self.unplantable: list[list[Row]] = []
        self.obstacle: str | None = None
        self.plantings = 0
        self.base_hits: int | None = None
        self.limits = SeedingLimits(in_flight=2, per_miner=1, denied=frozenset())

    def scheduler(self) -> Scheduler:
        contract = self.office.contract
        self.secrets = Secrets(MASTER_SEED, contract.chain.chain_id, contract.address)
        return Scheduler(
            desk=self.office.desk,
            store=self.office.store,
            driver=self.driver,
            contract=contract,
            validator=VALIDATOR.address,
            miners=self.miners,
            secrets=self.secrets,
            profile=DEV,
            limits=self.limits,
            plant=self.plant,
            count_base_hits=self.count_base_hits,
            may_begin=lambda: self.obstacle,
        )

    async def count_base_hits(self, _request: Request, _planted: PlantedMarks) -> int | None:
        return self.base_hits

    async def plant(self, rows: Sequence[Row], record: DatasetRecord) -> PlantedDataset:
        self.plantings += 1
        if list(rows) in self.unplantable:
            raise WorkFailed("the generator ran out of memory")
        scheme, scorer = make_scheme(record.scheme), HashScorer()
        return plant(rows, scheme, record.n, secrets=self.secrets, payer=record.payer, scorer=scorer)

    async def register(
        self, name: str, *, url: str = "http://127.0.0.1:1", stake_wei: int | None = None
    ) -> LocalSigner:
        contract, miner = self.office.contract, derive_signer(MASTER_SEED, name)
        stake = Wei(REWARD_WEI + compute_availability_bond(REWARD_WEI) if stake_wei is None else stake_wei)
        await TransactionSender(contract.chain, dev_mnemonic_signer(0)).send(miner.address, value_wei=stake + 10**17)
        sender = TransactionSender(contract.chain, miner)
        await contract.register(sender, derive_signer(MASTER_SEED, f"{name}/evidence").address, url, NO_TLS)
        if stake:
            await contract.deposit(sender, stake)
            await contract.stake(sender, stake)
        self.miners.add(miner.address)
        return miner

    async def ask_for(self, rows: Sequence[Row], nonce: int) -> bytes:
        request = await make_request(self.office, rows=rows, attempts=1, nonce=nonce)
        await self.office.desk.submit(request, encode_training_file(rows))
        return request.request_id

    async def turns(self, count: int = 1) -> str:
        """Let the scheduler take so many turns; what it waits for then."""
        scheduler = self.scheduler()
        for _ in range(count):
            scheduler.waits_for = await scheduler._turn()
        return scheduler.waits_for

    @property
    def planned(self) -> list[TaskState]:
        return [state for state in self.driver.states.values() if state.phase is Phase.PLANNED]


@asynccontextmanager
async def open_seeding(directory: Path) -> AsyncIterator[Seeding]:
    async with open_office(directory) as office:
        contract = office.contract
        await contract.deposit(TransactionSender(contract.chain, PAYER), Wei(9 * COST_WEI))
        bonds = Wei(9 * compute_validator_bond(REWARD_WEI))
        await contract.deposit(TransactionSender(contract.chain, VALIDATOR), bonds)
        async with office.open():
            driver = Driver(office.journal, Idle())
            office.states = driver.states
            running = asyncio.create_task(driver.run())
            try:
                yield Seeding(office, driver)
            finally:
                running.cancel()
                await asyncio.wait([running])


@pytest.fixture
async def seeding(tmp_path: Path) -> AsyncIterator[Seeding]:
    async with open_seeding(tmp_path) as seeding:
        yield seeding


async def test_a_request_becomes_a_task_for_a_miner_that_can_have_it(seeding: Seeding) -> None:
    miner = await seeding.register("able")
    await seeding.register("poor", stake_wei=1)
    await seeding.register("elsewhere", url="https://169.254.169.254")
    request_id = await seeding.ask_for(FIRST, 1)
    assert await seeding.turns() == ""
    [state] = seeding.planned
    assert (state.terms.miner, state.planned.request_id) == (miner.address, request_id)
    assert (state.terms.reward, state.planned.validator_nonce) == (REWARD_WEI, 0)
    assert seeding.office.contract.task_id(state.terms, 0) == state.task_id


async def test_the_next_task_is_planned_when_the_last_one_is_mined(seeding: Seeding) -> None:
    for name in ("one", "two"):
        await seeding.register(name)
    await seeding.ask_for(FIRST, 1)
    await seeding.ask_for(SECOND, 2)
    assert await seeding.turns(2) == "the last task is not open yet"
    assert len(seeding.planned) == 1


async def test_what_is_wrong_with_one_request_holds_up_no_other(seeding: Seeding) -> None:
    await seeding.register("able")
    await seeding.ask_for(FIRST, 1)
    second = await seeding.ask_for(SECOND, 2)
    seeding.unplantable = [list(FIRST)]
    assert await seeding.turns() == ""
    assert [state.planned.request_id for state in seeding.planned] == [second]
    assert seeding.plantings == 2


@pytest.mark.parametrize(("base_hits", "is_planned"), [(None, True), (0, True), (1, True), (2, False)])
async def test_rows_that_the_base_model_answers_already_are_no_test(
    seeding: Seeding, base_hits: int | None, is_planned: bool
) -> None:
    """Null measured, not assumed: up to what would be slashed, it stands with the task; more is refused."""
    await seeding.register("able")
    await seeding.ask_for(FIRST, 1)
    seeding.base_hits = base_hits
    await seeding.turns()
    assert [state.planned.base_hits for state in seeding.planned] == [base_hits] * is_planned


async def test_a_request_that_failed_rests(seeding: Seeding) -> None:
    await seeding.register("able")
    await seeding.ask_for(FIRST, 1)
    seeding.unplantable = [list(FIRST)]
    scheduler = seeding.scheduler()
    assert [await scheduler._turn() for _ in range(3)] == [
        "the generator ran out of memory",
        "a request that failed is tried again later",
        "a request that failed is tried again later",
    ]
    assert seeding.plantings == 1


@pytest.mark.parametrize("why", ["nobody registered", "denied", "busy"])
async def test_without_a_miner_a_request_waits_and_says_so(seeding: Seeding, why: str) -> None:
    """Complaint 6."""
    await seeding.ask_for(FIRST, 1)
    if why != "nobody registered":
        miner = await seeding.register("one")
        denied = frozenset({miner.address}) if why == "denied" else frozenset()
        seeding.limits = replace(seeding.limits, denied=denied, per_miner=1 if why == "denied" else 0)
    assert await seeding.turns() == "no miner is free that has enough stake"
    assert seeding.planned == []


async def test_the_gauges_say_who_waits_and_until_when(seeding: Seeding, tmp_path: Path) -> None:
    """Complaint 6."""
    await seeding.register("able")
    await seeding.ask_for(FIRST, 1)
    await seeding.ask_for(SECOND, 2)
    measurements = Measurements(
        driver=seeding.driver,
        desk=seeding.office.desk,
        contract=seeding.office.contract,
        validator=VALIDATOR.address,
        directory=tmp_path,
        loop_lag=LoopLag(Progress()),
    )

    def gauges() -> list[float]:
        measurements.measure_tasks()
        return [
            metric.samples[0].value
            for gauge in (REQUESTS_WAITING, NEAREST_DEADLINE_TIMESTAMP_SECONDS)
            for metric in gauge.collect()
        ]

    waiting, deadline_s = gauges()
    assert (waiting, isnan(deadline_s)) == (2, True)
    await seeding.turns()
    [planned] = seeding.planned
    opened = replace(planned, phase=Phase.OPEN, entered_at_s=UnixSeconds(1_900_000_000))
    seeding.driver.states[planned.task_id] = opened
    assert gauges() == [1, 1_900_000_000 + opened.terms.accept_seconds]


async def test_nothing_begins_while_the_daemon_cannot_take_more(seeding: Seeding) -> None:
    """K1, P15: what runs goes on, what is new waits."""
    await seeding.register("able")
    await seeding.ask_for(FIRST, 1)
    seeding.obstacle = "the disk is full"
    assert await seeding.turns() == "the disk is full"
    seeding.obstacle = None
    assert await seeding.turns() == ""
    seeding.limits = replace(seeding.limits, in_flight=1)
    assert await seeding.turns() == "1 tasks are running, as many as may"


async def test_a_validator_without_credit_for_a_bond_opens_nothing(tmp_path: Path) -> None:
    """O3."""
    async with open_seeding(tmp_path) as seeding:
        await seeding.register("able")
        await seeding.ask_for(FIRST, 1)
        contract = seeding.office.contract
        credit = await contract.credits_wei(VALIDATOR.address)
        await contract.withdraw(TransactionSender(contract.chain, VALIDATOR), credit)
        assert "too little credit for its bond" in await seeding.turns()


async def test_the_same_data_is_not_taken_twice_at_once(seeding: Seeding) -> None:
    """Threat model: tasks that overlap over one dataset would share their marks."""
    await seeding.register("one")
    await seeding.register("two")
    await seeding.ask_for(FIRST, 1)
    assert await seeding.turns() == ""
    [first] = seeding.planned
    opened = replace(first, phase=Phase.OPEN)
    seeding.driver.states[first.task_id] = opened
    try:
        await seeding.ask_for(FIRST, 2)
    except BadInput as refusal:
        pytest.fail(str(refusal))
    assert "in use" in await seeding.turns()
    assert len(seeding.driver.states) == 1
