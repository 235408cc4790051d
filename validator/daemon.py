"""`touchstone validator run`: a validator with everything around it, from the settings to the last signal.

Rules kept: what can be found wrong is found before anything is promised to anybody; the parts end together, in reverse
order of their beginning; whoever sends SIGTERM waits a second, for all that matters is in the journal already.
The module is long because it names every part once; nothing is decided in it.
"""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version

import structlog

from validator.app import ValidatorNode
from validator.base_model import base_model_paths
from validator.child_processes import JobLimits
from validator.control.operations import Operations
from validator.control.server import serve_control
from validator.coverage.references import References
from validator.edges.chain import configured_chain
from validator.edges.contract import Touchstone
from validator.edges.http import HttpClient
from validator.edges.key_files import read_api_key
from validator.edges.keys import Signer
from validator.edges.openai_server import OpenAIProber
from validator.edges.openings import ChatOpenings
from validator.errors import BadInput
from validator.evidence.store import BundleStore
from validator.evidence_keeper import EvidenceKeeper
from validator.health.loop_lag import LoopLag
from validator.health.measurements import Measurements
from validator.health.progress import Progress
from validator.health.service import (
    allow_all_descriptors,
    count_free_descriptors,
    forbid_core_dumps,
    run_parts,
)
from validator.history import check_history
from validator.journal import Identity, Journal
from validator.marks.coverage import CoverageMark
from validator.marks.planting import PlantedDataset, PlantedMarks
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets, derive_bundle_key, derive_dataset_key, derive_journal_key
from validator.miner_directory import MinerDirectory
from validator.model_work import Children, ModelWork, RayCluster
from validator.operator.check import run_checks
from validator.operator.wallet import load_master_seed, open_signer
from validator.planting_job import plant_in
from validator.protocol.commitment import Row
from validator.protocol.state import Phase, TaskState, Weights
from validator.requests.dataset_store import DatasetKey, DatasetRecord, DatasetStore
from validator.requests.desk import Desk
from validator.requests.orders import Request
from validator.requests.retention import Retention
from validator.reserve import DiskReserve
from validator.scheduler import Scheduler, SeedingLimits
from validator.settings import Settings
from validator.telemetry import BUILD_INFO, BUNDLES_MISSING
from validator.types import Address, BlockNumber
from validator.web.server import make_app, serving_web
from validator.weights.returned import ReturnedWeights

DESCRIPTORS_KEPT = 16
"""For what runs: with fewer left no new task is begun (P15)."""
SWEEP_S = 3600.0
EVIDENCE_CHECK_S = 86_400.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Daemon:
    """A validator that is ready to run. `run` it once."""

    settings: Settings
    validator: Address
    node: ValidatorNode
    scheduler: Scheduler
    retention: Retention
    bundles: BundleStore
    desk: Desk
    operations: Operations
    measurements: Measurements
    loop_lag: LoopLag
    progress: Progress
    reserve: DiskReserve

    async def run(self) -> None:
        """Until SIGTERM or SIGINT; whatever is fatal to one part ends all, and is raised."""
        directory, web = self.settings.state.directory, make_app(self.progress, self.bundles)
        async with (
            serve_control(directory / "control.sock", self.desk, self.operations),
            serving_web(web, *self.settings.http.address) as (host, port),
        ):
            # What is here now stays: a full collection over all of it would stop the loop for a fifth of a second.
            gc.collect()
            gc.freeze()
            parts = {
                "loop lag": self.loop_lag.run(),
                "node": self.node.run(),
                "scheduler": self.scheduler.run(),
                "measurements": self.measurements.run(self._make_room_again),
                "retention": self._sweep(),
                "evidence": self._check_evidence(),
            }
            await run_parts(parts, self.progress, directory, validator=self.validator, web=f"{host}:{port}")

    def _make_room_again(self) -> None:
        if not self.reserve.is_held and self.reserve.hold():
            log.info("there is disk space again")

    async def _sweep(self) -> None:
        while True:
            await self.retention.sweep(self.node.watcher.progress.chain_time_s)
            await asyncio.sleep(SWEEP_S)

    async def _check_evidence(self) -> None:
        """O8: what was settled must stay to be shown; looked at once a day."""
        while True:
            expected = [state.bundle_hash for state in self.node.driver.states.values() if state.bundle_hash]
            damage = await asyncio.to_thread(self.bundles.check, expected)
            # What a challenge has overtaken; not what was written a moment ago and is not in the journal yet.
            await asyncio.to_thread(self.bundles.sweep_pending, set(expected), time.time() - EVIDENCE_CHECK_S)
            BUNDLES_MISSING.set(len(damage.missing) + len(damage.corrupt))
            if damage.missing or damage.corrupt:
                hashes = ["0x" + each.hex() for each in (*damage.missing, *damage.corrupt)]
                log.error("evidence is lost or damaged: restore it from a backup", bundles=hashes)
            await asyncio.sleep(EVIDENCE_CHECK_S)


async def run_daemon(settings: Settings, *, is_history_lost: bool = False) -> None:
    """Open everything and run until a signal comes; BadInput for what an operator must mend first."""
    forbid_core_dumps()
    allow_all_descriptors()
    async with open_daemon(settings, is_history_lost=is_history_lost) as daemon:
        await daemon.run()


@asynccontextmanager
async def open_daemon(settings: Settings, *, is_history_lost: bool) -> AsyncIterator[Daemon]:
    """All parts, opened in the order in which something can be wrong with them."""
    profile, network, directory = settings.profile, settings.network, settings.state.directory
    if profile.notice:
        log.warning(profile.notice)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    master_seed = (await load_master_seed(settings.keys)).reveal()
    async with AsyncExitStack() as stack:
        signer = await stack.enter_async_context(open_signer(settings.keys))
        chain = await stack.enter_async_context(configured_chain(network.rpc_urls, network.chain_id))
        contract = await Touchstone.at(chain, network.contract)
        identity = Identity(chain.chain_id, contract.address, signer.address)
        journal = Journal(settings.state.journal_place, derive_journal_key(master_seed), identity)
        stack.callback(journal.close)
        await check_history(journal, contract, signer.address, is_lost=is_history_lost)
        reserve = DiskReserve(directory / "reserve")
        reserve.hold()
        http = await stack.enter_async_context(HttpClient(profile))
        BUILD_INFO.labels(version("touchstone-validator"), python_version(), str(chain.chain_id)).set(1)
        daemon = _assemble(settings, master_seed, signer, contract, journal, http, reserve)
        await _check(settings, daemon.node.driver.states.values())
        yield daemon


async def _check(settings: Settings, states: Iterable[TaskState]) -> None:
    """What `touchstone validator check` finds, for whoever did not ask; BadInput with the first thing to mend."""
    open_tasks = sum(state.phase is not Phase.CLOSED for state in states)
    # What runs is marked already: a restart must not keep it waiting for a generator.
    without = {"journal", "generator"} if open_tasks else {"journal"}
    for finding in await run_checks(settings, open_tasks=open_tasks, without=without):
        if not finding.ok and finding.is_fatal:
            raise BadInput(f"{finding.name}: {finding.detail}: {finding.remedy}")
        if not finding.ok:
            log.warning("check", name=finding.name, detail=finding.detail, remedy=finding.remedy)


def _assemble(
    settings: Settings,
    master_seed: bytes,
    signer: Signer,
    contract: Touchstone,
    journal: Journal,
    http: HttpClient,
    reserve: DiskReserve,
) -> Daemon:
    """Everything that waits for nobody."""
    profile, directory, validator = settings.profile, settings.state.directory, signer.address
    secrets = Secrets(master_seed, contract.chain.chain_id, contract.address)
    work = _make_model_work(settings)
    chosen = settings.model_work
    references = References(directory / "references")
    base_models = base_model_paths(chosen.base_models)
    weights = ReturnedWeights(
        work,
        directory / "models",
        base_models,
        limits=JobLimits(chosen.wall_seconds, chosen.wall_seconds * (os.cpu_count() or 1), chosen.memory_bytes),
        server=OpenAIProber(http, chosen.openai_url.get_secret_value()) if chosen.openai_url else None,
        references=references,
    )
    store = DatasetStore(
        directory / "datasets",
        derive_dataset_key(master_seed),
        max_bytes=settings.datasets.max_bytes,
        counted=[directory / "models"],
    )
    bundles = BundleStore(directory / "bundles", derive_bundle_key(master_seed))

    async def reveal(state: TaskState) -> None:
        await store.reveal(_dataset_of(state))

    miners, progress = MinerDirectory(), Progress(journal_stop_reason=lambda: journal.stop_reason)
    node = ValidatorNode.build(
        journal=journal,
        profile=profile,
        contract=contract,
        signer=signer,
        http=http,
        secrets=secrets,
        planted=_StoredDatasets(store),
        evidence=EvidenceKeeper(contract, secrets, bundles, reveal, references),
        weights=weights,
        first_block=BlockNumber(settings.network.first_block),
        on_change=lambda state: scheduler.wake() if state.phase in (Phase.OPEN, Phase.CLOSED) else None,
        on_disk_full=reserve.release,
        head_polled=progress.head_polled,
        miners=miners,
        keeps_replies=False,
    )
    driver = node.driver
    progress.oldest_effect_age_s = driver.oldest_effect_age_s
    desk = Desk(
        contract=contract,
        validator=validator,
        journal=journal,
        store=store,
        states=lambda: driver.states,
        model_directory=weights.directory,
        durations=profile.durations,
        min_reward_wei=settings.tasks.min_reward_wei,
        preferred=(settings.tasks.scheme, settings.tasks.probes),
        references=references,
        measure_weights=weights.measure,
        has_openings=settings.generator.openings_url is not None,
        has_words=settings.generator.model is not None,
        on_request=lambda: scheduler.wake(),
    )

    openings = _make_openings(settings)

    async def plant(rows: Sequence[Row], record: DatasetRecord) -> PlantedDataset:
        model, scheme = settings.generator.path, make_scheme(record.scheme, record.rules)
        return await plant_in(
            work, model, rows, scheme, record.n, secrets, record.payer, record.max_length, openings=openings
        )

    async def count_base_hits(request: Request, planted: PlantedMarks) -> int | None:
        if request.weights is Weights.NONE and request.base_model not in base_models:
            return None  # Only a name: what stands behind it is the miners' to know.
        prompts, w = [mark.row.prompt for mark in planted.marks], planted.scheme.w
        answers = await weights.ask_base(request.base_model, request.spec, prompts, planted.scheme.max_tokens)
        heads = [mark.draw.text for mark in planted.marks]
        return None if answers is None else sum(a.head(w) == head for a, head in zip(answers, heads, strict=True))

    def may_begin() -> str | None:
        if not reserve.is_held:
            return "the disk is full"
        if count_free_descriptors() < DESCRIPTORS_KEPT:
            return "few file descriptors are left: raise the limit (ulimit -n)"
        if not miners.is_complete:
            return "the registered miners are still being read"
        return "too many transactions wait to be sent" if node.transactions.is_busy else None

    scheduler = Scheduler(
        desk=desk,
        store=store,
        driver=driver,
        contract=contract,
        validator=validator,
        miners=miners,
        secrets=secrets,
        profile=profile,
        limits=SeedingLimits(
            settings.tasks.in_flight,
            settings.tasks.per_miner,
            frozenset(settings.miners.deny),
            settings.tasks.min_coverage_bps,
        ),
        plant=plant,
        count_base_hits=count_base_hits,
        may_begin=may_begin,
    )
    loop_lag = LoopLag(progress)
    return Daemon(
        settings=settings,
        validator=validator,
        node=node,
        scheduler=scheduler,
        retention=Retention(
            store=store,
            states=lambda: driver.states,
            wanted=desk.wanted,
            model_directory=weights.directory,
            log=directory / "deletions.jsonl",
            keep_days=settings.datasets.keep_days,
        ),
        bundles=bundles,
        desk=desk,
        operations=Operations(
            contract=contract,
            validator=validator,
            journal=journal,
            states=lambda: driver.states,
            running=lambda: driver.running,
            refusals=lambda: driver.refusals,
            waits_for=lambda: scheduler.waits_for,
            health=lambda: progress.ready().as_json(),
            version=version("touchstone-validator"),
        ),
        measurements=Measurements(
            driver=driver,
            desk=desk,
            contract=contract,
            validator=validator,
            directory=directory,
            loop_lag=loop_lag,
        ),
        loop_lag=loop_lag,
        progress=progress,
        reserve=reserve,
    )


@dataclass(frozen=True, slots=True)
class _StoredDatasets:
    store: DatasetStore

    async def marks(self, state: TaskState) -> PlantedMarks:
        return await self.store.marks(_dataset_of(state))

    async def training_file(self, state: TaskState) -> bytes:
        return await self.store.training_file(_dataset_of(state))

    async def covered(self, state: TaskState) -> list[tuple[Row, CoverageMark]]:
        return await self.store.covered(_dataset_of(state))


def _dataset_of(state: TaskState) -> DatasetKey:
    return DatasetKey(state.terms.payer, state.planned.order.source_data_hash)


def _make_openings(settings: Settings) -> ChatOpenings | None:
    generator = settings.generator
    if generator.openings_url is None or generator.openings_model is None:
        return None
    key = None if generator.openings_key_file is None else read_api_key(generator.openings_key_file)
    return ChatOpenings(generator.openings_url.get_secret_value(), generator.openings_model, key)


def _make_model_work(settings: Settings) -> ModelWork:
    chosen = settings.model_work
    if chosen.ray_address is not None:
        return RayCluster(chosen.ray_address, chosen.processes)
    return Children(chosen.processes)
