"""What is no longer needed goes: datasets with their marks, and returned models, some days after their last task ended.

Rules kept: nothing goes while a task or a request may need it; every deletion is written down before it happens, with
what and why, in a log that stays (V12); which rows are public is noted before their dataset goes.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from validator.config import DAY_S
from validator.dataset_store import DatasetKey, DatasetStore
from validator.protocol.state import Phase, TaskState
from validator.types import TaskId


class Retention:
    """Deletes by policy. `is_wanted` says whether a request that has not ended is over a dataset.

    `log` gets one JSON object per deletion, for ever.
    """

    def __init__(
        self,
        *,
        store: DatasetStore,
        states: Callable[[], Mapping[TaskId, TaskState]],
        is_wanted: Callable[[DatasetKey], bool],
        model_directory: Callable[[TaskId], Path],
        log: Path,
        keep_days: int,
    ) -> None:
        self._store = store
        self._states = states
        self._is_wanted = is_wanted
        self._model_directory = model_directory
        self._log = log
        self._keep_days = keep_days

    async def sweep(self, now_s: float) -> None:
        """Note what has become public, then delete what is due; `now_s` in Unix seconds."""
        await reveal_settled(self._store, self._states())
        for key in self._store.present():
            if not self._is_in_use(key) and now_s >= self._last_use_s(key) + self._keep_days * DAY_S:
                self._write_log("dataset", self._store.size_bytes(key), payer=key.payer, source_data_hash=_hex(key))
                await self._store.delete(key)
        for state in self._states().values():
            if state.phase is Phase.CLOSED and now_s >= (state.entered_at_s or 0) + self._keep_days * DAY_S:
                self._delete_model(state.task_id)

    def _is_in_use(self, key: DatasetKey) -> bool:
        tasks = _tasks_over(key, self._states())
        return self._is_wanted(key) or any(task.phase is not Phase.CLOSED for task in tasks)

    def _last_use_s(self, key: DatasetKey) -> float:
        closed = [task.entered_at_s or 0 for task in _tasks_over(key, self._states())]
        return max([self._store.taken_in_at_s(key), *closed])

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


async def reveal_settled(store: DatasetStore, states: Mapping[TaskId, TaskState]) -> None:
    """Note which rows are public: those of settled tasks, and of such as ended after their miner had been probed."""
    for key in store.present():
        if any(_is_public(task) for task in _tasks_over(key, states)):
            await store.reveal(key)


def has_public_rows(key: DatasetKey, store: DatasetStore, states: Mapping[TaskId, TaskState]) -> bool:
    """Whether rows of a dataset are public, or known to a miner that may have been probed for them."""
    record = store.record(key)
    return bool(record and record.revealed) or any(_is_public(task) for task in _tasks_over(key, states))


def _is_public(task: TaskState) -> bool:
    return task.hits is not None or (task.phase is Phase.CLOSED and task.model_hash is not None)


def _tasks_over(key: DatasetKey, states: Mapping[TaskId, TaskState]) -> list[TaskState]:
    return [
        task
        for task in states.values()
        if task.terms.payer == key.payer and task.planned.order.source_data_hash == key.source_data_hash
    ]


def _hex(key: DatasetKey) -> str:
    return "0x" + key.source_data_hash.hex()
