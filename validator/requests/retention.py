"""What is no longer needed goes: datasets with their marks, and returned models, some days after their last task ended.

Rules kept: nothing goes while a task or a request may need it; every deletion is written down before it happens, with
what and why, in a log that stays (V12); which rows are public is noted before their dataset goes.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import structlog

from validator.config import DAY_S
from validator.errors import BadInput, DiskFull
from validator.protocol.state import Phase, TaskState
from validator.requests.dataset_store import DatasetKey, DatasetStore
from validator.requests.task_index import TaskIndex
from validator.types import TaskId

log = structlog.get_logger(__name__)


class Retention:
    """Deletes by policy. `wanted` are the datasets of requests that have not ended.

    `log` gets one JSON object per deletion, for ever.
    """

    def __init__(
        self,
        *,
        store: DatasetStore,
        states: Callable[[], Mapping[TaskId, TaskState]],
        wanted: Callable[[], Collection[DatasetKey]],
        model_directory: Callable[[TaskId], Path],
        log: Path,
        keep_days: int,
    ) -> None:
        self._store = store
        self._states = states
        self._wanted = wanted
        self._model_directory = model_directory
        self._log = log
        self._keep_days = keep_days

    async def sweep(self, now_s: float) -> None:
        """Note what has become public, then delete what is due; `now_s` in Unix seconds.

        What cannot be deleted now, because a file is damaged or the disk is full, stays until the next time.
        """
        index = TaskIndex(self._states().values())
        for key in self._store.present():
            try:
                await self._sweep_dataset(key, index, now_s)
            except (BadInput, DiskFull, OSError) as error:
                log.error("a dataset cannot be deleted", dataset=key.folder, error=str(error))
        for state in list(self._states().values()):
            if state.phase is Phase.CLOSED and self._is_due(state.entered_at_s or 0, now_s):
                try:
                    self._delete_model(state.task_id)
                except OSError as error:
                    log.error("a model cannot be deleted", task="0x" + state.task_id.hex(), error=str(error))

    async def _sweep_dataset(self, key: DatasetKey, index: TaskIndex, now_s: float) -> None:
        tasks = index.of_dataset(key)
        if key in index.public_datasets:
            await self._store.reveal(key)
        last_use_s = max([self._store.taken_in_at_s(key), *(task.entered_at_s or 0 for task in tasks)])
        is_running = any(task.phase is not Phase.CLOSED for task in tasks)
        if is_running or not self._is_due(last_use_s, now_s):
            return
        marks = await self._store.marks(key) if self._store.is_planted(key) else None
        if key not in self._wanted():
            self._write_log("dataset", self._store.size_bytes(key), payer=key.payer, source_data_hash=_hex(key))
            self._store.delete(key, marks)

    def _is_due(self, last_use_s: float, now_s: float) -> bool:
        return now_s >= last_use_s + self._keep_days * DAY_S

    def _delete_model(self, task_id: TaskId) -> None:
        directory = self._model_directory(task_id)
        if directory.is_dir():
            size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
            self._write_log("model", size, task_id="0x" + task_id.hex())
            shutil.rmtree(directory)

    def _write_log(self, what: str, size_bytes: int, **which: Any) -> None:
        why = f"{self._keep_days} days after it was last needed"
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = json.dumps({"at": at, "deleted": what, **which, "bytes": size_bytes, "why": why})
        with self._log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


async def reveal_settled(store: DatasetStore, index: TaskIndex) -> None:
    """Note which rows are public: those of settled tasks, and of such as ended after their miner had been probed."""
    for key in index.public_datasets:
        if store.record(key) is not None:
            await store.reveal(key)


def _hex(key: DatasetKey) -> str:
    return "0x" + key.source_data_hash.hex()
