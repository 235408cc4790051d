"""One fine-tuning job as the OpenAI wire shows it: status, events, and at the end the model.

Rule kept: `fine_tuned_model` is set in the same moment as the status `succeeded`, which comes after the model's hash
is on chain, so whoever can ask the model questions asks a model that can no longer be swapped.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from validator.edges.contract import TaskStatus
from validator.miner.job_request import JobRequest
from validator.miner.objects import JSON, make_model_json, new_id, now_s
from validator.protocol.commitment import Row, RowHashes, Terms
from validator.types import Address, Hash32

VALIDATING, QUEUED, RUNNING = "validating_files", "queued", "running"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"
MODEL_DIRECTORY = "model"
"""In the job's directory, once the model is there whole."""
EVENTS_FILE = "events.jsonl"
"""In the job's directory: one line per training step reported (`training.train`)."""
REPORTED = ("step", "steps", "epoch", "train_loss")
"""What of them is told."""


def make_job_id(validator: Address, task_id: bytes) -> str:
    """The same task of the same validator is always the same job, however often the POST is repeated."""
    return "ftjob-" + hashlib.sha256(bytes.fromhex(validator[2:]) + task_id).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The rows that arrived, in their order, with what the chain knows of them."""

    rows: Sequence[Row]
    hashes: Sequence[RowHashes]
    root: Hash32


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a succeeded job leaves: all that it takes to answer probes and to sign for the answers."""

    model_id: str
    serves: str
    """The model that answers: a directory, or a Hugging Face id."""
    returns: str
    """The directory whose files are handed over where the task asks for them."""
    model_hash: Hash32
    """As submitted."""
    request: JobRequest
    terms: Terms
    dataset: Dataset
    created_at: int = field(default_factory=now_s)

    def as_json(self) -> JSON:
        return make_model_json(self.model_id, self.created_at)


@dataclass
class Job:
    job_id: str
    owner: Address
    request: JobRequest
    directory: Path
    created_at: int = field(default_factory=now_s)
    finished_at: int | None = None
    status: str = VALIDATING
    error: JSON | None = None
    served: ServedModel | None = None
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the chain shows the task in one of its terminal states."""
    outcome: TaskStatus | None = None
    """Which one."""
    is_deleted: bool = False
    """The weights are gone, at the validator's wish."""
    life: asyncio.Task[None] | None = None
    collection: asyncio.Task[None] | None = None
    """Waits for the end on chain, from acceptance on."""
    _events: list[JSON] = field(default_factory=list)
    _events_read_bytes: int = 0

    @property
    def is_closed(self) -> bool:
        return self.closed.is_set()

    def advance(self, status: str, message: str) -> None:
        self.status = status
        if status in (SUCCEEDED, FAILED, CANCELLED):
            self.finished_at = now_s()
        self._log("error" if status == FAILED else "info", message)

    def fail(self, code: str, message: str) -> None:
        self.error = {"code": code, "message": message, "param": None}
        self.advance(FAILED, message)

    def events(self) -> list[JSON]:
        """Everything that has happened so far, newest first, the training's own reports included."""
        self._read_training_events()
        return self._events[::-1]

    def _read_training_events(self) -> None:
        path = self.directory / EVENTS_FILE
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._events_read_bytes)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._events_read_bytes += len(whole)
        for line in whole.splitlines():
            try:
                report = json.loads(line)
                message = f"Step {report['step']}/{report['steps']}: training loss={report['train_loss']:.3f}"
                metrics = {key: report[key] for key in REPORTED}
            except (ValueError, TypeError, KeyError):  # somebody's own training script
                continue
            self._append("info", message, "metrics", metrics)

    def _log(self, level: str, message: str) -> None:
        self._read_training_events()
        self._append(level, message, "message", {})

    def _append(self, level: str, message: str, kind: str, data: JSON) -> None:
        self._events.append(
            {
                "id": new_id("ftevent"),
                "object": "fine_tuning.job.event",
                "created_at": now_s(),
                "level": level,
                "message": message,
                "type": kind,
                "data": data,
            }
        )

    def as_json(self) -> JSON:
        spec = self.request.spec
        hyperparameters = {
            "n_epochs": spec.epochs,
            "batch_size": spec.batch_size,
            "learning_rate_multiplier": "auto",
        }
        return {
            "id": self.job_id,
            "object": "fine_tuning.job",
            "created_at": self.created_at,
            "finished_at": self.finished_at,
            "estimated_finish": None,
            "model": spec.base_model,
            "fine_tuned_model": self.served.model_id if self.served else None,
            "organization_id": "touchstone",
            "status": self.status,
            "hyperparameters": hyperparameters,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            "training_file": self.request.training_file,
            "validation_file": None,
            "result_files": [],
            "trained_tokens": None,
            "error": self.error,
            "seed": spec.seed or 0,
            "integrations": None,
            "metadata": dict(self.request.metadata),
        }
