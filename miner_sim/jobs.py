"""A job's life: verify the data against the chain, accept, train, submit, answer a challenge, collect the pay.

Rules kept: no accept without a dataset root recomputed from the very bytes that came (protocol, "Happy path" 3), no
second job for one task, no cancelling once accepted, which would let a validator burn the miner's bond; and a job is on
disk before anybody is told of it, so a miner that was killed goes on where it stood: the chain says where.
"""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

from miner_sim.chain_client import MinerChain, OpenedTask
from miner_sim.files import FileStore
from miner_sim.job import CANCELLED, QUEUED, RUNNING, SUCCEEDED, VALIDATING, Dataset, Job, ServedModel, make_job_id
from miner_sim.job_request import JobRequest, parse_job_request, to_hex
from miner_sim.objects import Refusal, conflict, not_found
from miner_sim.respondent import Respondent
from miner_sim.shared import Neighbourhood
from miner_sim.strategies import Crash, Step, Strategy
from miner_sim.workers import Workers
from miner_sim.workshop import MODEL_DIRECTORY, Workshop
from validator.edges.contract import TaskStatus
from validator.errors import Reverted, TouchstoneError, Transient
from validator.files import describe_files
from validator.json_lines import JsonLines
from validator.protocol.commitment import (
    MerkleTree,
    Terms,
    decode_scheme,
    hash_model_files,
    hash_row,
    hash_served_model,
    hash_spec,
)
from validator.protocol.method import read_method
from validator.protocol.wire import count_unanswerable, parse_training_file
from validator.types import Address, Hash32

TASK_WAIT_SECONDS = 30.0
"""How long a task may be unknown to our node: the validator's may be ahead of it."""
POLL_SECONDS = 1.0
MAX_ANSWER_TOKENS = 512
WEIGHTS_NONE = 0

log = logging.getLogger(__name__)


class Unacceptable(TouchstoneError):
    """A task that this miner will not accept."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class JobBook:
    """All jobs of one miner."""

    def __init__(
        self,
        *,
        directory: Path,
        chain: MinerChain,
        files: FileStore,
        strategy: Strategy,
        seed: int,
        base_model: str,
        workers: Workers,
        respondent: Respondent,
        neighbourhood: Neighbourhood,
        on_crash: Callable[[Crash], None],
    ) -> None:
        self._directory = directory
        self._chain = chain
        self._files = files
        self._strategy = strategy
        self._seed = seed
        self._base_model = base_model
        self._workers = workers
        self._respondent = respondent
        self._neighbourhood = neighbourhood
        self._on_crash = on_crash
        directory.mkdir(parents=True, exist_ok=True)
        self._lines = JsonLines(directory / "jobs.jsonl")
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def create(self, request: JobRequest, owner: Address) -> Job:
        """Start the job, or return the one that the same request has started before; Refusal (409) on another one."""
        job = self._jobs.get(make_job_id(owner, request.task_id))
        if job is None:
            self._files.get(request.training_file, owner)
            self._lines.append({"owner": owner, "request": request.as_body()})
            job = self._begin(request, owner)
        if job.request != request:
            raise conflict(f"the task {to_hex(request.task_id)} has a job with other content")
        return job

    def resume(self, base_model: str) -> None:
        """Go on with the jobs that were there when the miner was last ended; one that was cancelled stays so."""
        lines = self._lines.load()
        cancelled = {line["cancelled"] for line in lines if "cancelled" in line}
        for line in lines:
            if "request" in line:
                request = parse_job_request(line["request"], base_model)
                if make_job_id(line["owner"], request.task_id) not in cancelled:
                    self._begin(request, line["owner"])

    def _begin(self, request: JobRequest, owner: Address) -> Job:
        job_id = make_job_id(owner, request.task_id)
        directory = self._directory / job_id
        directory.mkdir(exist_ok=True)
        job = self._jobs[job_id] = Job(job_id, owner, request, directory)
        job.advance(VALIDATING, "Validating training file")
        job.life = self._start(self._run(job))
        return job

    def get(self, job_id: str, owner: Address) -> Job:
        job = self._jobs.get(job_id)
        if job is None or job.owner != owner:
            raise not_found("job", job_id)
        return job

    def of(self, owner: Address) -> list[Job]:
        """This validator's jobs, newest first."""
        return [job for job in reversed(self._jobs.values()) if job.owner == owner]

    def of_model(self, model_id: str, owner: Address) -> ServedModel:
        return self._find_model(model_id, owner)[1]

    def weights_file(self, job_id: str, name: str, owner: Address) -> Path:
        """A file of the returned weights; Refusal (404) for any other name, (503) where they are not submitted yet."""
        job = self.get(job_id, owner)
        if name not in read_method(job.request.spec_text).file_names or job.is_deleted:
            raise not_found("file", name)
        if job.served is None:
            raise Refusal(503, f"the job is {job.status}: its weights are not submitted", "unavailable")
        if job.served.terms.weights == WEIGHTS_NONE:
            raise not_found("file", name)
        return Path(job.served.returns) / name

    def models_of(self, owner: Address) -> list[ServedModel]:
        return [job.served for job in self.of(owner) if job.served and not job.is_deleted]

    async def delete_model(self, model_id: str, owner: Address) -> None:
        """Drop the weights; Refusal (409) while the task is open, for then the miner must be able to answer."""
        job, _ = self._find_model(model_id, owner)
        if not job.is_closed:
            raise conflict("the model's task is not closed on chain yet")
        job.is_deleted = True
        await asyncio.to_thread(shutil.rmtree, job.directory / MODEL_DIRECTORY, ignore_errors=True)

    def _find_model(self, model_id: str, owner: Address) -> tuple[Job, ServedModel]:
        for job in self.of(owner):
            if job.served and job.served.model_id == model_id and not job.is_deleted:
                return job, job.served
        raise not_found("model", model_id)

    def cancel(self, job_id: str, owner: Address) -> Job:
        """Refusal (409) once the miner has begun to accept: it owes a model by then, and pays for silence."""
        job = self.get(job_id, owner)
        if job.status not in (VALIDATING, CANCELLED):
            raise conflict(f"the job is {job.status}: only a job that is not accepted on chain can be cancelled")
        if job.status == VALIDATING and job.life is not None:
            job.life.cancel()
            self._lines.append({"cancelled": job_id})
            job.advance(CANCELLED, "The job was cancelled")
        return job

    async def close(self) -> None:
        """Stop all jobs where they stand; a transaction that is on its way is waited for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, life: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(life)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, job: Job) -> None:
        try:
            opened, dataset = await self._verify(job)
            job.advance(QUEUED, f"Dataset root {to_hex(dataset.root)} verified; accepting on chain")
            status = await self._chain.status(opened.task_id)
            if status.is_terminal and not (job.directory / MODEL_DIRECTORY).exists():
                raise Unacceptable("task_closed", "the task has ended")
            if status is TaskStatus.OPEN:
                await self._act(Step.ACCEPT, opened, lambda: self._chain.accept(opened, dataset.root))
            self._start(self._collect(job))
            served = await self._make_model(job, opened, dataset)
            if await self._chain.status(opened.task_id) is TaskStatus.ACCEPTED:
                await self._act(Step.SUBMIT, opened, lambda: self._chain.submit(opened, served.model_hash))
            job.served = served
            job.advance(SUCCEEDED, "The job has successfully completed; the model's hash is on chain")
        except Crash as crash:
            self._on_crash(crash)
        except Unacceptable as error:
            job.fail(error.code, str(error))
        except (TouchstoneError, OSError) as error:
            log.warning("job %s failed: %s", job.job_id, error)
            job.fail("job_failed", str(error))

    async def _make_model(self, job: Job, opened: OpenedTask, dataset: Dataset) -> ServedModel:
        """What the strategy makes of the data, serves and returns, by the name and the hash of what it returns."""
        terms, request, strategy = opened.terms, job.request, self._strategy
        job.advance(RUNNING, "Accepted on chain; fine-tuning job started")
        workshop = Workshop(
            rows=dataset.rows,
            spec=request.spec,
            scheme=decode_scheme(terms.scheme),
            seed=self._seed,
            base_model=self._base_model,
            directory=job.directory,
            workers=self._workers,
            neighbourhood=self._neighbourhood,
        )
        model = await strategy.make_model(workshop)
        serves, returns = await strategy.serve(workshop, model), await strategy.deliver(workshop, model)
        model_id = self._name_model(request)
        model_hash = await asyncio.to_thread(_hash_model, terms, request, model_id, returns)
        return ServedModel(model_id, serves, returns, model_hash, request, terms, dataset, workshop.cost)

    async def _act(self, step: Step, opened: OpenedTask, honestly: Callable[[], Awaitable[None]]) -> None:
        await self._strategy.act(step, await self._chain.deadline(opened.task_id), honestly)

    async def _verify(self, job: Job) -> tuple[OpenedTask, Dataset]:
        """The task as the chain has it and the rows as they came; Unacceptable where they do not fit."""
        opened = await self._find_task(job)
        terms, request = opened.terms, job.request
        if terms.validator != job.owner:
            raise Unacceptable("foreign_task", "the task was opened by another validator")
        if terms.spec_hash != hash_spec(request.spec_text):
            raise Unacceptable("spec_mismatch", "metadata.spec is not the spec of the task's terms")
        if await self._chain.status(opened.task_id) is TaskStatus.OPEN:
            await self._check_terms(opened)
        path = self._files.get(request.training_file, job.owner).path
        try:
            dataset = await asyncio.to_thread(_read_dataset, path, request.dataset_salt, terms.w)
        except ValueError as error:
            raise Unacceptable("invalid_training_file", f"training file: {error}") from error
        if dataset.root != terms.dataset_root:
            raise Unacceptable(
                "dataset_root_mismatch",
                f"the file's dataset root is {to_hex(dataset.root)}, the task's terms say {to_hex(terms.dataset_root)}",
            )
        if count_unanswerable(dataset.rows, terms.w) > terms.n - terms.k_pay:
            raise Unacceptable("unlearnable_rows", "more responses start with white space than probes may miss")
        return opened, dataset

    async def _find_task(self, job: Job) -> OpenedTask:
        for _ in range(int(TASK_WAIT_SECONDS / POLL_SECONDS)):
            opened = await self._chain.find_task(job.request.task_id)
            if opened is not None:
                return opened
            await asyncio.sleep(POLL_SECONDS)
        raise Unacceptable("unknown_task", f"the chain has no task {to_hex(job.request.task_id)} for this miner")

    async def _check_terms(self, opened: OpenedTask) -> None:
        terms = opened.terms
        standing = await self._chain.standing()
        bonds = terms.miner_bond + terms.availability_bond
        for is_fine, objection in (
            (terms.miner_epoch == standing.epoch, "they name another registration epoch"),
            (bonds <= standing.free_stake, "their bonds are more than the free stake"),
            (4 * terms.k_pay <= 3 * terms.n, "k_pay is more than three quarters of n"),
            (8 * terms.k_slash <= terms.n, "k_slash is more than an eighth of n"),
            (terms.max_tokens <= MAX_ANSWER_TOKENS, f"answers have at most {MAX_ANSWER_TOKENS} tokens here"),
        ):
            if not is_fine:
                raise Unacceptable("unacceptable_terms", f"the terms are refused: {objection}")

    def _name_model(self, request: JobRequest) -> str:
        miner = self._chain.address[2:10].lower()
        return f"ft:{request.spec.base_model}:{miner}:{request.suffix}:{request.task_id.hex()[:12]}"

    async def _collect(self, job: Job) -> None:
        while not job.is_closed:
            await asyncio.sleep(POLL_SECONDS)
            try:
                status = await self._chain.status(job.request.task_id)
                if status is TaskStatus.CHALLENGED and job.served is not None:
                    await self._answer_challenge(job.served)
                if status.is_terminal:
                    await self._chain.withdraw_all()
                    job.is_closed = True
            except (Transient, Reverted) as error:
                log.info("job %s: %s; will look again", job.job_id, error)

    async def _answer_challenge(self, model: ServedModel) -> None:
        """On chain, in time, whatever the validator says that it was not told (protocol, "States": Challenged)."""
        opened = await self._chain.find_task(model.request.task_id)
        leaves = await self._chain.challenge(model.request.task_id)
        if opened is not None and leaves is not None:

            async def reply() -> None:
                await self._chain.answer(opened, await self._respondent.reply_hashes(model, leaves))

            await self._act(Step.REPLY, opened, reply)


def _hash_model(terms: Terms, request: JobRequest, model_id: str, returns: str) -> Hash32:
    """`modelHash` of the files that the terms ask for, or else of the model's name."""
    if terms.weights == WEIGHTS_NONE:
        return hash_served_model(model_id)
    return hash_model_files(describe_files(Path(returns), read_method(request.spec_text).file_names))


def _read_dataset(path: Path, dataset_salt: Hash32, w: int) -> Dataset:
    rows = parse_training_file(path.read_bytes())
    hashes = [hash_row(dataset_salt, row, w) for row in rows]
    return Dataset(rows, hashes, MerkleTree(row.leaf for row in hashes).root)
