"""Continuous seeding: takes the next request, chooses a miner, plants the marks, hands the planned task to the driver.

Rules kept: a task is planned when the one before it is mined, since the contract numbers tasks as they open, and one
that failed to open would leave those behind it without their number; two tasks never share a dataset while one of
them runs, since they would share its marks (threat model); nothing here is remembered, so a restart changes nothing.
"""

import asyncio
import secrets as randomness
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from validator.child_processes import WorkerDied, WorkFailed
from validator.config import Profile
from validator.driver import Driver
from validator.edges.contract import Touchstone
from validator.edges.miner_url import parse_endpoint
from validator.errors import BadInput, Fatal, MinerFault, Transient
from validator.marks.planting import PlantedDataset, PlantedMarks
from validator.marks.secrets import Secrets
from validator.miner_directory import MinerDirectory
from validator.plan.miners import Candidate, choose_miner, make_candidate
from validator.plan.terms import build_terms, compute_availability_bond, compute_validator_bond
from validator.protocol.commitment import Row, hash_commitment, hash_spec
from validator.protocol.events import TaskPlanned
from validator.protocol.state import Phase, TaskState, Weights
from validator.requests.dataset_store import DatasetRecord, DatasetStore
from validator.requests.desk import Desk, Waiting
from validator.requests.orders import Request
from validator.types import Address, Hash32, Wei

POLL_S = 2.0
REST_S = 300.0
"""Of a request that could not be planned: planting is dear, and nothing mends itself in seconds."""
DICE_SIDES = 2**53

log = structlog.get_logger(__name__)

Planter = Callable[[Sequence[Row], DatasetRecord], Awaitable[PlantedDataset]]
"""Rows, and how they are to be marked; runs where model work runs."""


BaseHits = Callable[[Request, PlantedMarks], Awaitable[int | None]]
"""How many of the probes the base model hits untrained; None where it does not run here."""


@dataclass(frozen=True, slots=True)
class SeedingLimits:
    """How many tasks run at once, in all and with one miner; whom to give none."""

    in_flight: int
    per_miner: int
    denied: frozenset[Address]
    min_coverage_bps: int = 0
    """What judged weights must show, where their rows have coverage marks."""


class Scheduler:
    """Keeps `limits.in_flight` tasks running while there are requests. `may_begin` says why not now, or None."""

    def __init__(
        self,
        *,
        desk: Desk,
        store: DatasetStore,
        driver: Driver,
        contract: Touchstone,
        validator: Address,
        miners: MinerDirectory,
        secrets: Secrets,
        profile: Profile,
        limits: SeedingLimits,
        plant: Planter,
        count_base_hits: BaseHits,
        may_begin: Callable[[], str | None],
    ) -> None:
        self._desk = desk
        self._store = store
        self._driver = driver
        self._contract = contract
        self._validator = validator
        self._miners = miners
        self._secrets = secrets
        self._profile = profile
        self._limits = limits
        self._plant = plant
        self._count_base_hits = count_base_hits
        self._may_begin = may_begin
        self._woken = asyncio.Event()
        self._rests_until_s: dict[Hash32, float] = {}
        self.waits_for = ""
        """Why no task is being planned now, in words."""

    def wake(self) -> None:
        """There may be something to do: a request has come, or a task has ended."""
        self._woken.set()

    async def run(self) -> None:
        """Plan for ever; cancel to stop."""
        while True:
            self._woken.clear()
            try:
                self.waits_for = await self._turn()
            except Transient as error:
                self.waits_for = str(error)
                log.warning("no task planned", reason=self.waits_for)
            if self.waits_for:
                await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _turn(self) -> str:
        """Plan one task; else why none."""
        running = [state for state in self._driver.states.values() if state.phase is not Phase.CLOSED]
        if len(running) >= self._limits.in_flight:
            return f"{len(running)} tasks are running, as many as may"
        planned = [state.planned.validator_nonce for state in running if state.phase is Phase.PLANNED]
        if planned and await self._contract.validator_nonce(self._validator) <= max(planned):
            return "the last task is not open yet"
        obstacle = self._may_begin()
        if obstacle is not None:
            return obstacle
        head = await self._contract.chain.head()
        busy = {(state.terms.payer, state.planned.order.source_data_hash) for state in running}
        reason = "there is no request"
        for waiting in self._desk.waiting(head.timestamp_s):
            if (waiting.dataset.payer, waiting.dataset.source_data_hash) in busy:
                reason = "the datasets of the requests are in use: tasks that overlap would share their marks"
                continue
            obstacle = await self._try_in_turn(waiting)
            if obstacle is None:
                return ""
            reason = obstacle
        return reason

    async def _try_in_turn(self, waiting: Waiting) -> str | None:
        """As `_try`; what is wrong with one request or its data holds up no other."""
        now_s = asyncio.get_running_loop().time()
        request_id = waiting.request.request_id
        if self._rests_until_s.get(request_id, now_s) > now_s:
            return "a request that failed is tried again later"
        try:
            return await self._try(waiting)
        except (BadInput, WorkFailed, WorkerDied) as error:
            self._rests_until_s[request_id] = now_s + REST_S
            log.error("a request cannot be planned", request=f"0x{request_id.hex()}", reason=str(error))
            return str(error)

    async def _try(self, waiting: Waiting) -> str | None:
        """Plan a task for this request; else why it has to wait."""
        request = waiting.request
        if await self._contract.credits_wei(request.payer) < request.cost_wei:
            return f"the payer {request.payer} has too little credit"
        if await self._contract.credits_wei(self._validator) < compute_validator_bond(request.reward_wei):
            return "the validator has too little credit for its bond: deposit more"
        miner = await self._choose_miner(request.reward_wei)
        if miner is None:
            return "no miner is free that has enough stake"
        planted = await self._planted(waiting)
        planned = await self._make_plan(waiting, miner, planted)
        log.info("task planned", task=f"0x{planned.task_id.hex()}", miner=miner, nonce=planned.validator_nonce)
        self._driver.submit(planned)
        await self._driver.drained()
        return None

    async def _choose_miner(self, reward_wei: Wei) -> Address | None:
        tasks = list(self._driver.states.values())
        candidates = [
            candidate
            for address in self._miners.addresses()
            if address not in self._limits.denied and (candidate := await self._look_at(address, tasks)) is not None
        ]
        chosen = choose_miner(
            candidates,
            bonds_wei=Wei(reward_wei + compute_availability_bond(reward_wei)),
            max_open=self._limits.per_miner,
            dice=randomness.randbelow(DICE_SIDES) / DICE_SIDES,
        )
        return chosen.address if chosen else None

    async def _look_at(self, address: Address, tasks: Sequence[TaskState]) -> Candidate | None:
        onchain = await self._contract.miner(address)
        try:
            parse_endpoint(onchain.url, onchain.tls_key_hash, self._profile)
        except MinerFault:
            return None  # Registered under a URL that we do not go to.
        promised_wei = sum(
            task.terms.miner_bond + task.terms.availability_bond
            for task in tasks
            if task.terms.miner == address and task.phase in (Phase.PLANNED, Phase.OPEN)
        )
        return make_candidate(address, Wei(onchain.stake - onchain.locked - promised_wei), tasks)

    async def _planted(self, waiting: Waiting) -> PlantedMarks:
        if not self._store.is_planted(waiting.dataset):
            record = self._store.record(waiting.dataset)
            rows = await self._store.rows(waiting.dataset)
            if record is None:
                raise Fatal("a dataset without a record has no rows")
            await self._store.keep_planting(waiting.dataset, await self._plant(rows, record))
        return await self._store.marks(waiting.dataset)

    async def _make_plan(self, waiting: Waiting, miner: Address, planted: PlantedMarks) -> TaskPlanned:
        request, scheme = waiting.request, planted.scheme
        is_judged = request.weights is Weights.JUDGED
        base_hits = self._store.base_hits(waiting.dataset, request.spec)
        if base_hits is None:
            base_hits = await self._count_base_hits(request, planted)
            self._store.keep_base_hits(waiting.dataset, request.spec, base_hits)
        if base_hits is not None and base_hits > request.thresholds.k_slash:
            raise BadInput(
                f"the base model hits {base_hits} of {request.probes} probes before any training, so hits would show "
                "nothing: its publisher has trained it on these rows, or on their marks"
            )
        onchain = await self._contract.miner(miner)
        nonce = await self._contract.validator_nonce(self._validator)
        commitment = hash_commitment(
            chain_id=self._contract.chain.chain_id,
            contract=self._contract.address,
            marks_hash=planted.marks_hash,
            salt=self._secrets.commitment_salt(self._validator, nonce),
            validator=self._validator,
            miner=miner,
            miner_epoch=onchain.epoch,
            dataset_root=planted.dataset_root,
        )
        terms = build_terms(
            payer=request.payer,
            validator=self._validator,
            miner=miner,
            miner_epoch=onchain.epoch,
            reward_wei=request.reward_wei,
            thresholds=request.thresholds,
            scheme=scheme.name,
            w=scheme.w,
            max_tokens=scheme.max_tokens,
            dataset_root=planted.dataset_root,
            commitment=commitment,
            spec_hash=hash_spec(request.spec),
            durations=self._profile.durations,
            weights=request.weights,
            min_coverage_bps=self._limits.min_coverage_bps if is_judged and scheme.coverage_k else 0,
            committee=[self._validator] if is_judged else (),
        )
        return TaskPlanned(
            task_id=self._contract.task_id(terms, nonce),
            terms=terms,
            validator_nonce=nonce,
            order=waiting.order.order,
            order_signature=waiting.order.signature,
            spec=request.spec,
            base_model=request.base_model,
            miner_url=onchain.url,
            miner_tls_key_hash=onchain.tls_key_hash,
            request_id=request.request_id,
            base_hits=base_hits,
        )
