"""Training by a command of the operator's: its inputs, its time, and what it must leave behind.

Rule kept: a model has its final name only once the command has ended well, so what was interrupted is begun again with
whatever it has left in its output directory, and what is done is never done twice.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import structlog

from validator.errors import MinerFault
from validator.files import write_whole
from validator.miner.backend import Work
from validator.miner.hooks import Hook, HookFailed
from validator.miner.job import EVENTS_FILE, MODEL_DIRECTORY
from validator.miner.job_request import to_hex
from validator.miner.jobs import WEIGHTS_NONE
from validator.miner.settings import TrainingSettings, fill
from validator.miner.telemetry import COMMANDS_FAILED
from validator.protocol.commitment import Row
from validator.protocol.method import LORA, read_method
from validator.protocol.wire import encode_training_file
from validator.weights.header import read_header
from validator.weights.lora import read_adapter

DATASET_FILE, SPEC_FILE = "dataset.jsonl", "spec.json"
ATTEMPT_PAUSE_S = 30.0

log = structlog.get_logger(__name__)


def own_name(task_id: bytes) -> str:
    """What a task's model is called on this miner's own server."""
    return f"touchstone-{task_id.hex()[:16]}"


def placeholders(work: Work, output: Path, seconds: float = 0) -> dict[str, str]:
    """What the words of a command may name."""
    directory, request = work.job.directory, work.job.request
    return {
        "dataset": str(directory / DATASET_FILE),
        "spec": str(directory / SPEC_FILE),
        "output": str(output),
        "progress": str(directory / EVENTS_FILE),
        "task": to_hex(request.task_id),
        "base_model": request.spec.base_model,
        "name": own_name(request.task_id),
        "seconds": str(int(seconds)),
    }


class Trainer:
    """Runs `training.command`, once for each task, or as often as it fails and time is left."""

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings

    async def train(self, work: Work) -> Path:
        """The finished model's directory. HookFailed if there is none in time."""
        directory = work.job.directory
        model, unfinished = directory / MODEL_DIRECTORY, directory / f"{MODEL_DIRECTORY}.unfinished"
        if model.exists():
            return model
        unfinished.mkdir(exist_ok=True)
        _write_inputs(directory, work.dataset.rows, work.job.request.spec_text)
        for attempt in range(1, self._settings.attempts + 1):
            left_s = await self._seconds_left(work)
            values = placeholders(work, unfinished, left_s)
            hook = Hook("training", fill(self._settings.command, values), directory, self._settings.variables)
            log.info("training", task=values["task"], attempt=attempt, seconds=int(left_s), log=str(hook.log))
            try:
                await hook.run(left_s)
                _check_files(unfinished, work)
                break
            except HookFailed as error:
                COMMANDS_FAILED.labels("training").inc()
                log.error("training failed", task=values["task"], attempt=attempt, reason=str(error))
                if attempt == self._settings.attempts or await self._seconds_left(work) <= ATTEMPT_PAUSE_S:
                    raise
                await asyncio.sleep(ATTEMPT_PAUSE_S)
        unfinished.rename(model)
        log.info("trained", task=values["task"], model=str(model))
        return model

    async def _seconds_left(self, work: Work) -> float:
        if work.deadline is None:
            raise HookFailed("the model that was submitted is gone from the disk, and no other may take its place")
        left_s = await work.deadline.seconds_left() - self._settings.margin_seconds
        if left_s <= 0:
            raise HookFailed("no time is left for training: see training.margin_seconds")
        return left_s


def _write_inputs(directory: Path, rows: Sequence[Row], spec: str) -> None:
    for name, content in ((DATASET_FILE, encode_training_file(rows)), (SPEC_FILE, spec.encode())):
        write_whole(directory / name, content)


def _check_files(output: Path, work: Work) -> None:
    """HookFailed where the weights that the task asks for are not there, or are such as validators refuse."""
    if work.opened.terms.weights == WEIGHTS_NONE:
        return
    method = read_method(work.job.request.spec_text)
    try:
        if method.name == LORA:
            read_adapter((output / method.config_file).read_bytes(), method.rank or 0, None)
        with (output / method.weights_file).open("rb") as weights:
            read_header(weights.fileno())
        (output / method.config_file).stat()
    except OSError as error:
        raise HookFailed(f"the training command has left no {error.filename}, which the task asks for") from None
    except MinerFault as error:
        raise HookFailed(f"validators would refuse what the training command has left: {error}") from None
