"""One round for every miner at once: plant, open, fine-tune, probe, test, settle."""

import asyncio
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass

from validator.app import ValidatorNode
from validator.config import DEV
from validator.edges.http import HttpClient
from validator.errors import Fatal, MinerFault, Transient, first_error
from validator.evidence.store import BundleStore
from validator.evidence_keeper import EvidenceKeeper
from validator.executor import FAILED_STATUS
from validator.journal import Identity, Journal
from validator.marks.coverage import CoverageMark
from validator.marks.planting import PlantedDataset, PlantedMarks
from validator.marks.schemes import Scheme, make_scheme
from validator.marks.secrets import Secrets, derive_journal_key
from validator.model_work import Children
from validator.plan.terms import build_terms, compute_availability_bond, compute_fee, compute_validator_bond
from validator.planting_job import plant_in
from validator.protocol import typed_data
from validator.protocol.commitment import Row, hash_commitment
from validator.protocol.events import TaskPlanned
from validator.protocol.state import Phase, TaskState, Weights
from validator.protocol.typed_data import OrderMessage
from validator.simulation.display import Display
from validator.simulation.options import SimulationOptions
from validator.simulation.report import SimulationReport, build_report
from validator.simulation.timekeeper import Timekeeper
from validator.simulation.world import MinersProcess, World, miners_process, open_world, validators_contract
from validator.types import Hash32, TaskId, UnixSeconds, Wei
from validator.weights.returned import ReturnedWeights

REWARD_WEI = Wei(10**18)
ORDER_LIFETIME_S = 86_400
PROGRESS_POLL_S = 0.5
WITHDRAWAL_PATIENCE_S = 5.0
"""For the next miner to draw its credit: some are gone."""


@dataclass
class Clock:
    """Seconds spent in each stage of the run."""

    seconds: dict[str, float]
    _last: float

    @classmethod
    def start(cls) -> "Clock":
        return cls({}, time.monotonic())

    def lap(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage] = now - self._last
        self._last = now


async def simulate(options: SimulationOptions, display: Display) -> SimulationReport:
    """Run the whole round; BadInput if something that was asked for cannot be had."""
    scheme = make_scheme(options.scheme)
    count = len(options.miners)
    stake_wei = Wei(REWARD_WEI + compute_availability_bond(REWARD_WEI))
    deposits_wei = (
        Wei(count * (REWARD_WEI + compute_fee(REWARD_WEI))),
        Wei(count * compute_validator_bond(REWARD_WEI)),
    )
    clock = Clock.start()
    display.stage(DEV.notice)
    display.stage("starting the chain and deploying the contract")
    async with open_world(options, deposits_wei=deposits_wei, stake_wei=stake_wei) as world:
        clock.lap("chain")
        secrets = Secrets(world.master_seed, world.chain.chain_id, world.contract.address)
        display.stage("planting the marks and starting the miners")
        planting = asyncio.create_task(_plant_in_child(options, scheme, world, secrets))
        try:
            async with miners_process(options, world, stake_wei) as miners:
                planted = await planting
                clock.lap("planting and miners")
                report = await _run_tasks(options, display, world, secrets, planted, miners, clock)
        finally:
            planting.cancel()
            await asyncio.gather(planting, return_exceptions=True)
    if not options.is_keeping_models:
        for directory in (options.directory / "miners").glob("*/jobs/*/model"):
            shutil.rmtree(directory, ignore_errors=True)
    return report


async def _run_tasks(
    options: SimulationOptions,
    display: Display,
    world: World,
    secrets: Secrets,
    planted: PlantedDataset,
    miners: MinersProcess,
    clock: Clock,
) -> SimulationReport:
    wealth_before = {name: await world.wealth_wei(role) for name, role in world.miners.items()}
    tasks = {
        name: await _plan_task(options, world, planted, secrets, name, number)
        for number, name in enumerate(world.miners)
    }
    names = {task.task_id: name for name, task in tasks.items()}
    timekeeper, job_faults = Timekeeper(world.chain, miners), dict[str, str]()

    def note_change(state: TaskState) -> None:
        timekeeper.note_change()
        display.task(names[state.task_id], state)

    display.stage("running the tasks")
    async with HttpClient(DEV) as http, validators_contract(options, world) as contract:
        key = derive_journal_key(world.master_seed)
        identity = Identity(world.chain.chain_id, world.contract.address, world.validator.address)
        node = ValidatorNode.build(
            journal=Journal(options.directory / "journal.sqlite", key, identity),
            profile=DEV,
            contract=contract,
            signer=world.validator.signer,
            http=http,
            secrets=secrets,
            planted=_OneDataset(planted),
            evidence=EvidenceKeeper(
                contract, secrets, BundleStore(options.directory / "bundles", key), on_reveal=_note_nothing
            ),
            weights=ReturnedWeights(
                Children(1), options.directory / "models", {options.spec.base_model: options.model}
            ),
            first_block=world.first_block,
            on_change=note_change,
        )
        try:
            async with asyncio.TaskGroup() as group:
                guards = [
                    group.create_task(_watch_refusals(node)),
                    group.create_task(timekeeper.run(node)),
                    group.create_task(miners.fail_when_gone()),
                    *(
                        group.create_task(_watch_job(node, task_id, names[task_id], display, job_faults))
                        for task_id in names
                    ),
                ]
                await node.run_tasks(list(tasks.values()))
                for guard in guards:
                    guard.cancel()
            clock.lap("tasks")
            display.stage("everybody withdraws")
            await _withdraw_all(world)
            clock.lap("withdrawals")
            return await build_report(options, world, node, names, wealth_before, planted, job_faults, clock.seconds)
        except BaseExceptionGroup as errors:  # boundary: nothing is swallowed, the first error goes on alone
            raise first_error(errors) from None
        finally:
            node.journal.close()


async def _plan_task(
    options: SimulationOptions,
    world: World,
    planted: PlantedDataset,
    secrets: Secrets,
    name: str,
    number: int,
) -> TaskPlanned:
    """Everything that `open_task` needs for one miner, the payer's signed Order included."""
    miner = await world.contract.miner(world.miners[name].address)
    nonce = await world.contract.validator_nonce(world.validator.address) + number
    commitment = hash_commitment(
        chain_id=world.chain.chain_id,
        contract=world.contract.address,
        marks_hash=planted.marks_hash,
        salt=secrets.commitment_salt(world.validator.address, nonce),
        validator=world.validator.address,
        miner=world.miners[name].address,
        miner_epoch=miner.epoch,
        dataset_root=planted.dataset_root,
    )
    scheme = planted.scheme
    terms = build_terms(
        payer=world.payer.address,
        reward_wei=REWARD_WEI,
        thresholds=options.thresholds,
        scheme=scheme.name,
        w=scheme.w,
        max_tokens=scheme.max_tokens,
        commitment=commitment,
        spec_hash=options.spec.hash,
        durations=DEV.durations,
        weights=options.weights,
        min_coverage_bps=options.min_coverage_bps,
        committee=[world.validator.address] if options.weights is Weights.JUDGED else (),
        validator=world.validator.address,
        miner=world.miners[name].address,
        miner_epoch=miner.epoch,
        dataset_root=planted.dataset_root,
    )
    order = OrderMessage(
        validator=world.validator.address,
        max_reward=terms.reward,
        max_fee=terms.fee,
        spec_hash=options.spec.hash,
        source_data_hash=Hash32(planted.source_data_hash),
        min_n=terms.n,
        min_k_pay=terms.k_pay,
        nonce=number,
        expiry=UnixSeconds((await world.chain.head()).timestamp_s + ORDER_LIFETIME_S),
    )
    return TaskPlanned(
        task_id=world.contract.task_id(terms, nonce),
        terms=terms,
        validator_nonce=nonce,
        order=order,
        order_signature=await world.payer.signer.sign_typed_data(world.contract.domain, typed_data.order(order)),
        spec=options.spec.to_json(),
        base_model=options.spec.base_model,
        miner_url=miner.url,
        miner_tls_key_hash=miner.tls_key_hash,
    )


@dataclass(frozen=True, slots=True)
class _OneDataset:
    """All tasks of a simulation are about the same."""

    planted: PlantedDataset

    async def marks(self, _state: TaskState) -> PlantedMarks:
        return self.planted

    async def training_file(self, _state: TaskState) -> bytes:
        return self.planted.training_file

    async def covered(self, _state: TaskState) -> list[tuple[Row, CoverageMark]]:
        return self.planted.covered


async def _note_nothing(_state: TaskState) -> None:
    """A simulation plants one dataset, and no later one is compared with it."""


async def _watch_refusals(node: ValidatorNode) -> None:
    """What the contract refuses although a task is as it should be is no miner's doing: Fatal."""
    while True:
        for effect_key, refusal in node.driver.refusals.items():
            raise Fatal(f"{effect_key}: {refusal}")
        await asyncio.sleep(PROGRESS_POLL_S)


async def _watch_job(
    node: ValidatorNode, task_id: TaskId, name: str, display: Display, job_faults: dict[str, str]
) -> None:
    """Ask a miner how its job goes, for display and report: what it says decides nothing, and it may say nothing."""
    while True:
        await asyncio.sleep(PROGRESS_POLL_S)
        state = node.driver.states.get(task_id)
        if state is None or state.phase not in (Phase.OPEN, Phase.ACCEPTED) or not state.job_id:
            continue
        with suppress(MinerFault, Transient):
            client = node.executor.client(state)
            job = await client.job(state.job_id)
            if job.status in FAILED_STATUS:
                job_faults[name] = f"the job is {job.status}: {job.error}"
                display.fault(name, job_faults[name])
                return
            metrics = await client.latest_metrics(state.job_id)
            with suppress(KeyError, TypeError, ValueError):
                display.training(name, int(metrics["step"]), int(metrics["steps"]), float(metrics["train_loss"]))


async def _withdraw_all(world: World) -> None:
    """Payer and validator draw their credits; the miners do so by themselves, and are waited for while any does."""
    for role in (world.payer, world.validator):
        amount_wei = await world.contract.credits_wei(role.address)
        if amount_wei:
            await world.contract.withdraw(role.sender, amount_wei)
    owed_before, since_s = None, time.monotonic()
    while time.monotonic() - since_s < WITHDRAWAL_PATIENCE_S:
        owed = [role.address for role in world.miners.values() if await world.contract.credits_wei(role.address)]
        if not owed:
            return
        if owed != owed_before:
            owed_before, since_s = owed, time.monotonic()
        await asyncio.sleep(PROGRESS_POLL_S)


async def _plant_in_child(options: SimulationOptions, scheme: Scheme, world: World, secrets: Secrets) -> PlantedDataset:
    n, payer, max_length = options.thresholds.n, world.payer.address, options.spec.max_length
    return await plant_in(
        Children(1),
        options.model,
        options.rows,
        scheme,
        n,
        secrets,
        payer,
        max_length,
        context_tokens=max_length,
    )
