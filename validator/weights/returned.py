"""What a miner returns, fetched and probed: the daemon's side, which never opens a file of a stranger itself.

Rules kept: two fixed names and a size from the spec bound what is fetched (M10, M11, M15); what arrived must be what
was submitted; and a child that dies, hangs or needs too much says nothing about the miner (M13).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from validator.child_processes import JobLimits, WorkerDied, WorkFailed
from validator.coverage.references import References
from validator.coverage.result import CoverageResult
from validator.edges.miners import MinerClient
from validator.edges.openai_server import ServerFailed
from validator.errors import BadInput, Fatal, MinerFault, TouchstoneError, Transient
from validator.files import PartialFile, describe_files
from validator.marks.coverage import CoverageMark
from validator.model_work import ModelWork
from validator.protocol.commitment import ModelFile, Row, hash_model_files
from validator.protocol.method import MAX_CONFIG_BYTES, Method, read_method
from validator.protocol.state import Answer, TaskState
from validator.types import Hash32, TaskId
from validator.weights import probe as jobs
from validator.weights.header import MAX_HEADER_BYTES

log = structlog.get_logger(__name__)

T = TypeVar("T")
ATTEMPTS = 2
SEED_BYTES = 6
"""Of a task's id: a number that every reader of JSON holds exactly."""


class NoVerdict(TouchstoneError):
    """The weights could not be probed here, and it is not known to be the miner's fault: the task goes on without."""


class LoraServer(Protocol):
    """A server that takes an adapter and answers probes with it (`edges/openai_server.py`)."""

    async def probe(self, adapter_name: str, directory: Path, prompts: Sequence[str], max_tokens: int) -> list[Answer]:
        """The answers of the base model with the adapter in `directory`."""


class ReturnedWeights:
    """Weights by task, in a directory for each."""

    def __init__(
        self,
        work: ModelWork,
        directory: Path,
        base_models: dict[str, str],
        *,
        limits: JobLimits = JobLimits(),  # noqa: B008
        server: LoraServer | None = None,
        references: References = References(),  # noqa: B008
    ) -> None:
        """`base_models` has the directories of base models by the names in specs; others are Hugging Face ids."""
        self._work = work
        self._directory = directory
        self._base_models = base_models
        self._limits = limits
        self._server = server
        self._references = references
        self._caps: dict[tuple[str, Method], int] = {}
        self._measuring = asyncio.Lock()

    def directory(self, task_id: TaskId) -> Path:
        """Where a task's weights are."""
        return self._directory / f"0x{task_id.hex()}"

    async def fetch(self, client: MinerClient, state: TaskState) -> tuple[ModelFile, ...]:
        """The submitted weights, on our disk; MinerFault if what comes is something else."""
        if state.model_hash is None:
            raise Fatal("weights can be fetched only after their hash was submitted")
        method = read_method(state.planned.spec)
        try:
            cap_bytes = await self.measure(state.planned.base_model, method)
        except BadInput as error:
            raise Transient(str(error)) from error  # It has loaded once: nobody's fault but ours.
        return await fetch_weights(
            client, state.task_id, state.model_hash, self.directory(state.task_id), method, cap_bytes
        )

    async def probe(self, state: TaskState, prompts: Sequence[str]) -> list[Answer]:
        """What they answer here; MinerFault if they are no model, NoVerdict if it cannot be found out."""
        return await probe_weights(
            self._work,
            self._path(state.planned.base_model),
            self.directory(state.task_id),
            state.weights_files,
            read_method(state.planned.spec),
            prompts,
            state.terms.max_tokens,
            limits=self._limits,
            server=self._server,
        )

    async def cover(self, state: TaskState, covered: Sequence[tuple[Row, CoverageMark]]) -> CoverageResult:
        """How much of these rows they were trained on; errors as of `probe`.

        Which share is known where there is a reference for the task's spec, else only that there are any. The seed that
        breaks ties was fixed before there were weights.
        """
        return await _in_two_attempts(
            self.directory(state.task_id),
            lambda: self._work.run(
                jobs.measure_coverage,
                self._path(state.planned.base_model),
                self.directory(state.task_id),
                state.weights_files,
                read_method(state.planned.spec),
                covered,
                int.from_bytes(state.task_id[:SEED_BYTES], "big"),
                self._references.find(state.planned.spec),
                limits=self._limits,
            ),
        )

    async def ask_base(
        self, base_model: str, spec: str, prompts: Sequence[str], max_tokens: int
    ) -> list[Answer] | None:
        """What the base model of a spec answers untrained; None where it does not run here."""
        try:
            path, method = self._path(base_model), read_method(spec)
            return await self._work.run(jobs.ask_base, path, method, prompts, max_tokens, limits=self._limits)
        except (BadInput, WorkFailed, WorkerDied) as error:
            log.info("the base model was not asked", base_model=base_model, why=str(error))
            return None

    async def measure(self, base_model: str, method: Method) -> int:
        """The most bytes of a weights file: a tenth more than base model and spec can ask for, and a header.

        BadInput if weights of this base model cannot be probed here, since it does not load.
        """
        async with self._measuring:  # Tasks that end together load it once.
            if (base_model, method) not in self._caps:
                try:
                    tensors = await self._work.run(jobs.measure, self._path(base_model), method, limits=self._limits)
                except (WorkFailed, BadInput) as error:
                    raise BadInput(
                        f"weights for the base model {base_model} cannot be checked here: {error}; it is a name in "
                        "[model_work] base_models of the validator's configuration, or the id of a Hugging Face model"
                    ) from error
                self._caps[base_model, method] = tensors + tensors // 10 + MAX_HEADER_BYTES
        return self._caps[base_model, method]

    def _path(self, base_model: str) -> str:
        return self._base_models.get(base_model, base_model)


async def fetch_weights(
    client: MinerClient, task_id: TaskId, model_hash: Hash32, directory: Path, method: Method, weights_cap_bytes: int
) -> tuple[ModelFile, ...]:
    """Download both files; what is on disk already is not asked for again. MinerFault if they are not the submitted.

    Only of what came in one go: bytes that a crash left, or that were continued, are fetched once more first.
    """
    await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
    is_in_one_go = True
    caps_bytes = {method.config_file: MAX_CONFIG_BYTES, method.weights_file: weights_cap_bytes}
    for name in method.file_names:
        file = PartialFile(directory / name)
        if file.is_whole or file.size_bytes:
            is_in_one_go = False
        if not file.is_whole:
            await client.download(task_id, name, file, caps_bytes[name])
            await file.finish()
    files = await asyncio.to_thread(describe_files, directory, method.file_names)
    if hash_model_files(files) == model_hash:
        return files
    for name in method.file_names:
        (directory / name).unlink()
    if is_in_one_go:
        raise MinerFault("the files that the miner serves are not the submitted ones")
    raise Transient("what was put together from parts is not what was submitted; fetching it whole")


async def probe_weights(
    work: ModelWork,
    base_model: str,
    directory: Path,
    files: Sequence[ModelFile],
    method: Method,
    prompts: Sequence[str],
    max_tokens: int,
    *,
    limits: JobLimits = JobLimits(),  # noqa: B008
    server: LoraServer | None = None,
) -> list[Answer]:
    """Greedy answers of fetched weights, in the order of the prompts, from a child or, for adapters, from `server`.

    MinerFault if the files are no weights for the base model; NoVerdict if the work has failed twice (M13).
    """

    async def ask() -> list[Answer]:
        if server is None or method.rank is None:
            return await work.run(jobs.probe, base_model, directory, files, method, prompts, max_tokens, limits=limits)
        checked = directory / "checked"
        await work.run(jobs.export_adapter, base_model, directory, files, method, checked, limits=limits)
        return await server.probe(directory.name, checked, prompts, max_tokens)

    return await _in_two_attempts(directory, ask)


async def _in_two_attempts(directory: Path, work: Callable[[], Awaitable[T]]) -> T:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await work()
        except (WorkerDied, WorkFailed, ServerFailed, BadInput) as error:
            log.warning(
                "returned weights could not be probed", directory=str(directory), attempt=attempt, why=str(error)
            )
            reason = str(error)
    raise NoVerdict(f"the weights could not be probed: {reason}")
