"""A job's life: verify the data against the chain, accept, train, submit, answer a challenge, collect the pay.

Rules kept: no accept without a dataset root recomputed from the very bytes that came (protocol, "Happy path" 3), no
second job for one task, no cancelling once accepted, which would let a validator burn the miner's bond; and a job is on
disk before anybody is told of it, so a miner that was killed goes on where it stood: the chain says where. What may
pass, such as a node that is down, ends no job.
"""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TypeVar

from validator.edges.contract import TaskStatus
from validator.errors import TouchstoneError, Transient, WrongState
from validator.files import describe_files
from validator.json_lines import JsonLines
from validator.miner.backend import Backend, Step, Unacceptable, Work
from validator.miner.chain_client import MinerChain, OpenedTask
from validator.miner.files import FileStore
from validator.miner.job import (
    CANCELLED,
    FAILED,
    MODEL_DIRECTORY,
    QUEUED,
    RUNNING,
    SUCCEEDED,
    VALIDATING,
    Dataset,
    Job,
    ServedModel,
    make_job_id,
)
from validator.miner.job_request import JobRequest, parse_job_request, to_hex
from validator.miner.objects import Refusal, conflict, not_found
from validator.miner.respondent import Respondent
from validator.protocol.commitment import (
    MerkleTree,
    Terms,
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
RETRY_SECONDS = 5.0
RETIRE_SECONDS = 3600.0
"""How long a task stays known that is closed: what a reorganisation of the chain can bring back is back by then."""
MAX_ANSWER_TOKENS = 512
WEIGHTS_NONE = 0

T = TypeVar("T")

log = logging.getLogger(__name__)


class _Places:
    """How many jobs may be between acceptance and the end of their work; the others wait, in their order."""

    def __init__(self, count: int | None) -> None:
        self._count = count
        self._taken: set[str] = set()
        self._freed = asyncio.Condition()

    def keep(self, job_id: str) -> None:
        """For a job that had one when the miner was last ended."""
        self._taken.add(job_id)

    def forget(self, job_id: str) -> None:
        self._taken.discard(job_id)

    async def take(self, job_id: str) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: job_id in self._taken or self._is_free)
            self._taken.add(job_id)

    async def give_back(self, job_id: str) -> None:
        async with self._freed:
            self._taken.discard(job_id)
            self._freed.notify_all()

    @property
    def _is_free(self) -> bool:
        return self._count is None or len(self._taken) < self._count


class JobBook:
    """All jobs of one miner."""

    def __init__(
        self,
        *,
        directory: Path,
        chain: MinerChain,
        files: FileStore,
        backend: Backend,
        respondent: Respondent,
    ) -> None:
        self._directory = directory
        self._chain = chain
        self._files = files
        self._backend = backend
        self._respondent = respondent
        self._places = _Places(backend.places)
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
        """Go on with the jobs that were there when the miner was last ended, but for those that had ended before."""
        alive: dict[str, tuple[JobRequest, Address]] = {}
        for line in self._lines.load():
            if "request" in line:
                request = parse_job_request(line["request"], base_model)
                alive[make_job_id(line["owner"], request.task_id)] = request, line["owner"]
            elif "accepted" in line:
                self._places.keep(line["accepted"])
            else:
                [job_id] = line.values()  # "cancelled" or "ended"; what was refused may have been asked for again
                alive.pop(job_id, None)
                self._places.forget(job_id)
        for request, owner in alive.values():
            self._begin(request, owner)

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

    def all(self) -> list[Job]:
        """Everybody's, oldest first."""
        return list(self._jobs.values())

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
            if self._name_model(job.request) == model_id and not job.is_deleted:
                if job.served is not None:
                    return job, job.served
                if job.status not in (FAILED, CANCELLED):
                    raise Refusal(503, f"the job is {job.status}: its model does not answer yet", "unavailable")
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
            opened, dataset = await self._patiently(job, lambda: self._verify(job))
            await self._places.take(job.job_id)
            await self._patiently(job, lambda: self._carry_out(job, opened, dataset))
            if self._backend.holds_place_until_closed:
                await job.closed.wait()
        except Unacceptable as error:
            log.warning("job %s is refused: %s", job.job_id, error)
            self._lines.append({"ended": job.job_id})
            job.fail(error.code, str(error))
        except (TouchstoneError, OSError) as error:
            log.warning("job %s failed: %s", job.job_id, error)
            job.fail("job_failed", str(error))
        finally:
            await self._places.give_back(job.job_id)

    async def _patiently(self, job: Job, work: Callable[[], Awaitable[T]]) -> T:
        """What came of the work, which is begun anew whenever something has failed that may pass."""
        while True:
            try:
                return await work()
            except Transient as error:
                log.warning("job %s: %s; will try again", job.job_id, error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _carry_out(self, job: Job, opened: OpenedTask, dataset: Dataset) -> None:
        """From acceptance to submission, or from where the chain shows the task."""
        if job.status == VALIDATING:
            job.advance(QUEUED, f"Dataset root {to_hex(dataset.root)} verified; accepting on chain")
        status = await self._chain.status(opened.task_id)
        if status.is_terminal and not (job.directory / MODEL_DIRECTORY).exists():
            raise Unacceptable("task_closed", "the task has ended")
        if status is TaskStatus.OPEN:
            self._lines.append({"accepted": job.job_id})
            await self._act(Step.ACCEPT, opened, status, lambda: self._chain.accept(opened, dataset.root))
            status = TaskStatus.ACCEPTED
        if job.collection is None:
            job.collection = self._start(self._collect(job))
        if job.status == QUEUED:
            job.advance(RUNNING, "Accepted on chain; fine-tuning job started")
        deadline = await self._chain.deadline(opened.task_id) if status is TaskStatus.ACCEPTED else None
        model_id = self._name_model(job.request)
        made = await self._backend.make_model(Work(job, opened, dataset, model_id, status, deadline))
        served = ServedModel(
            model_id=model_id,
            serves=made.serves,
            returns=made.returns,
            model_hash=await asyncio.to_thread(_hash_model, opened.terms, job.request, model_id, made.returns),
            request=job.request,
            terms=opened.terms,
            dataset=dataset,
        )
        if await self._chain.status(opened.task_id) is TaskStatus.ACCEPTED:
            await self._act(
                Step.SUBMIT, opened, TaskStatus.ACCEPTED, lambda: self._chain.submit(opened, served.model_hash)
            )
        job.served = served
        job.advance(SUCCEEDED, "The job has successfully completed; the model's hash is on chain")

    async def _act(
        self, step: Step, opened: OpenedTask, state: TaskStatus, honestly: Callable[[], Awaitable[None]]
    ) -> None:
        """A step on chain, which leads out of `state`."""
        try:
            await self._backend.act(step, await self._chain.deadline(opened.task_id), honestly)
        except WrongState:  # Taken already, by a transaction whose receipt was not waited for.
            if await self._chain.status(opened.task_id) is state:
                raise

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
        if await self._chain.status(opened.task_id) is TaskStatus.OPEN:
            await self._backend.check(opened, job, len(dataset.rows))
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
        """Answer a challenge, draw the pay, and let go of the task once nothing can bring it back."""
        while not job.is_closed:
            await asyncio.sleep(POLL_SECONDS)
            try:
                status = await self._chain.status(job.request.task_id)
                if status is TaskStatus.CHALLENGED and job.served is not None:
                    await self._answer_challenge(job.served)
                if status.is_terminal:
                    await self._chain.withdraw_all()
                    job.outcome = status
                    job.closed.set()
            except TouchstoneError as error:
                log.warning("job %s: %s; will look again", job.job_id, error)
        await asyncio.sleep(RETIRE_SECONDS)
        await self._backend.retire(job)
        self._lines.append({"ended": job.job_id})
        job.is_deleted = True
        file_id = job.request.training_file
        if all(other.is_deleted for other in self._jobs.values() if other.request.training_file == file_id):
            self._files.delete(file_id, job.owner)

    async def _answer_challenge(self, model: ServedModel) -> None:
        """On chain, in time, whatever the validator says that it was not told (protocol, "States": Challenged)."""
        opened = await self._chain.find_task(model.request.task_id)
        leaves = await self._chain.challenge(model.request.task_id)
        if opened is not None and leaves is not None:

            async def reply() -> None:
                await self._chain.answer(opened, await self._respondent.reply_hashes(model, leaves))

            await self._act(Step.REPLY, opened, TaskStatus.CHALLENGED, reply)


def _hash_model(terms: Terms, request: JobRequest, model_id: str, returns: str) -> Hash32:
    """`modelHash` of the files that the terms ask for, or else of the model's name."""
    if terms.weights == WEIGHTS_NONE:
        return hash_served_model(model_id)
    return hash_model_files(describe_files(Path(returns), read_method(request.spec_text).file_names))


def _read_dataset(path: Path, dataset_salt: Hash32, w: int) -> Dataset:
    rows = parse_training_file(path.read_bytes())
    hashes = [hash_row(dataset_salt, row, w) for row in rows]
    return Dataset(rows, hashes, MerkleTree(row.leaf for row in hashes).root)
