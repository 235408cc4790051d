"""What is due is deleted, with a line that stays; what anybody may still need is not, and public rows stay known."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ACCEPTED, HAPPY_PATH, OPENED, PAYER, SUBMITTED, make_planned, make_rows
from tests.unit.test_dataset_store import PLANTED, ROWS, N, open_store, plant_marks, take_in_planted
from validator.base_model.grammar import generate_rows
from validator.config import DAY_S
from validator.errors import BadInput
from validator.marks.schemes import Canary
from validator.protocol import events as facts
from validator.protocol.machine import step
from validator.protocol.state import TaskState
from validator.requests.dataset_store import DatasetKey, DatasetStore
from validator.requests.retention import Retention, reveal_settled
from validator.requests.task_index import TaskIndex
from validator.types import TaskId, UnixSeconds

KEEP_DAYS = 30
LAPSED = (OPENED, replace(HAPPY_PATH[-1], outcome="open_lapsed"))
PAID = tuple(HAPPY_PATH[1:])
NEVER_SETTLED = (OPENED, ACCEPTED, SUBMITTED, replace(HAPPY_PATH[-1], outcome="validator_lapsed"))


def run(key: DatasetKey, events: Sequence[facts.Event], number: int = 0, closed_at_s: float = 0) -> TaskState:
    """A task over this dataset after these events; if it ends, then at this time."""
    planned = make_planned(number, payer=key.payer)
    planned = replace(planned, order=planned.order._replace(source_data_hash=key.source_data_hash))
    state, _effects = step(None, planned)
    for event in events:
        changes: dict[str, Any] = {"task_id": planned.task_id}
        if isinstance(event, facts.TaskClosed):
            changes["at_s"] = UnixSeconds(int(closed_at_s))
        state, _effects = step(state, replace(event, **changes))
    return state


class Rig:
    """A store with tasks over it, and who sweeps it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store: DatasetStore = open_store(directory)
        self.states: dict[TaskId, TaskState] = {}
        self.wanted: set[DatasetKey] = set()
        self.log = directory / "deletions.jsonl"

    def add(self, *tasks: TaskState) -> None:
        self.states |= {task.task_id: task for task in tasks}

    def model_directory(self, task_id: TaskId) -> Path:
        return self.directory / "models" / task_id.hex()

    async def sweep(self, now_s: float) -> None:
        await Retention(
            store=self.store,
            states=lambda: self.states,
            wanted=lambda: self.wanted,
            model_directory=self.model_directory,
            log=self.log,
            keep_days=KEEP_DAYS,
        ).sweep(now_s)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_dataset_and_its_model_go_some_days_after_the_last_task(rig: Rig):
    """V12, complaint 21."""
    key = await take_in_planted(rig.store)
    last_s = rig.store.taken_in_at_s(key) + 5 * DAY_S
    tasks = run(key, PAID, 0, last_s - DAY_S), run(key, PAID, 1, last_s)
    rig.add(*tasks)
    for task in tasks:
        rig.model_directory(task.task_id).mkdir(parents=True)
        (rig.model_directory(task.task_id) / "model.safetensors").write_bytes(bytes(100))
    due_s = int(last_s) + KEEP_DAYS * DAY_S
    await rig.sweep(due_s - DAY_S - 1)
    assert rig.lines() == []
    await rig.sweep(due_s - 1)
    assert [(line["deleted"], line["bytes"]) for line in rig.lines()] == [("model", 100)]
    assert rig.store.present() == [key]
    size = rig.store.size_bytes(key)
    await rig.sweep(due_s)
    assert rig.store.present() == []
    assert list((rig.directory / "models").iterdir()) == []
    dataset = rig.lines()[1]
    assert (dataset["payer"], dataset["source_data_hash"]) == (PAYER, "0x" + key.source_data_hash.hex())
    assert (dataset["bytes"], dataset["why"]) == (size, "30 days after it was last needed")
    before = rig.lines()
    await rig.sweep(due_s + DAY_S)
    assert rig.lines() == before, "nothing is deleted twice"


@pytest.mark.parametrize("reason", ["a task runs", "a request wants it", "it has just come"])
async def test_what_may_still_be_needed_stays(rig: Rig, reason: str):
    key = await take_in_planted(rig.store)
    now_s = rig.store.taken_in_at_s(key) + 1000 * DAY_S
    if reason == "a task runs":
        rig.add(run(key, PAID, 0), run(key, PAID[:4], 1))
    elif reason == "a request wants it":
        rig.wanted.add(key)
    else:
        now_s = rig.store.taken_in_at_s(key) + KEEP_DAYS * DAY_S - 1
    await rig.sweep(now_s)
    assert rig.store.present() == [key]
    assert (await rig.store.marks(key)).dataset_root == PLANTED.dataset_root


@pytest.mark.parametrize(
    ("events", "is_public"),
    [((), False), (LAPSED, False), (PAID[:-2], False), (PAID[:-1], True), (PAID, True), (NEVER_SETTLED, True)],
    ids=["planned", "not accepted", "probed", "settled", "paid", "never settled"],
)
async def test_rows_are_public_from_the_settlement_on(rig: Rig, events: Sequence[facts.Event], is_public: bool):
    key = await take_in_planted(rig.store)
    rig.add(run(key, events))
    await reveal_settled(rig.store, TaskIndex(rig.states.values()))
    assert bool(rig.store.record(key).revealed) is is_public
    assert bool(open_store(rig.directory).record(key).revealed) is is_public
    if is_public:
        with pytest.raises(BadInput, match="16 prompts became public"):
            await rig.store.take_in(PAYER, make_rows(10) + ROWS, Canary(), N)


async def test_public_rows_stay_known_after_their_dataset_is_gone(rig: Rig):
    key = await take_in_planted(rig.store)
    rig.add(run(key, PAID))
    await rig.sweep(rig.store.taken_in_at_s(key) + KEEP_DAYS * DAY_S)
    assert rig.store.present() == []
    with pytest.raises(BadInput, match="16 prompts became public"):
        await open_store(rig.directory).take_in(PAYER, make_rows(10) + ROWS, Canary(), N)


async def test_a_dataset_that_waits_learns_that_its_prompts_became_public_with_another(rig: Rig):
    """Protocol, "Marks": an overlapping D is no better for having been taken in before the marks were public."""
    key = await take_in_planted(rig.store)
    overlapping = await rig.store.take_in(PAYER, make_rows(10) + ROWS, Canary(), N)
    strange = await rig.store.take_in(PAYER, make_rows(310), Canary(), N)
    rig.add(run(key, PAID))
    await reveal_settled(rig.store, TaskIndex(rig.states.values()))
    assert rig.store.record(overlapping).revealed
    assert not rig.store.record(strange).revealed
    fresh = generate_rows(300, seed=9)
    other = await take_in_planted(rig.store, plant_marks(fresh), fresh)
    assert not rig.store.record(other).revealed


async def test_what_cannot_be_deleted_holds_nothing_up(rig: Rig):
    """K4: a damaged file costs neither the daemon nor the rest, and nothing goes before its public rows are noted."""
    damaged, whole = await take_in_planted(rig.store), await rig.store.take_in(PAYER, make_rows(310), Canary(), N)
    rig.add(run(damaged, PAID))
    rig.store = open_store(rig.directory)
    marks = next((rig.directory / "datasets" / damaged.folder).glob("marks.sealed"))
    marks.write_bytes(marks.read_bytes()[:-1])
    await rig.sweep(rig.store.taken_in_at_s(whole) + KEEP_DAYS * DAY_S + 1)
    assert rig.store.present() == [damaged]
    assert [line["deleted"] for line in rig.lines()] == ["dataset"]
