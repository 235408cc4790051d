"""What a miner accepts: one job per task, and only for the very rows and terms that the chain names."""

import json
from dataclasses import replace
from pathlib import Path

import openai
import pytest
import pytest_asyncio

from miner_sim.fleet import RunningMiner
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.world import SPEC, WITH_RUNNING_MINERS, Task, World, change_one_byte, compact, make_rows
from validator.edges.contract import TaskStatus
from validator.types import Hash32, TaskId

pytestmark = WITH_RUNNING_MINERS


@pytest.fixture
def miner(miners: dict[str, RunningMiner]) -> RunningMiner:
    return miners["base"]


@pytest_asyncio.fixture(loop_scope="session")
async def client(world: World, miner: RunningMiner) -> openai.AsyncOpenAI:
    return await world.client(miner)


async def assert_not_accepted(world: World, client: openai.AsyncOpenAI, delivered: Task, code: str) -> None:
    job = await until_finished(client, await deliver(client, delivered))
    assert (job.status, job.error.code, job.fine_tuned_model) == ("failed", code, None)
    assert (await world.contract.task_state(delivered.task_id)).status == TaskStatus.OPEN


async def test_a_repeated_post_gives_the_same_job(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    task = await world.open_task(miner.address)
    first = await deliver(client, task)
    again = await client.fine_tuning.jobs.create(
        model=SPEC["base_model"], training_file=first.training_file, metadata=task.metadata
    )
    finished = await until_finished(client, first)
    assert (again.id, finished.status) == (first.id, "succeeded")
    wanted = {"task_id": task.metadata["task_id"]}
    assert len([job async for job in client.fine_tuning.jobs.list(metadata=wanted)]) == 1


async def test_a_delivery_that_is_repeated_whole_is_the_same_job(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    """P5: a validator whose answer was lost uploads again."""
    task = await world.open_task(miner.address)
    first, again = await deliver(client, task), await deliver(client, task)
    assert (again.id, again.training_file) == (first.id, first.training_file)
    assert (await until_finished(client, again)).status == "succeeded"


async def test_a_second_job_with_other_content_for_one_task_is_refused_for_good(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    """P5."""
    task = await world.open_task(miner.address)
    first = await deliver(client, task)
    with pytest.raises(openai.ConflictError) as refusal:
        await deliver(client.with_options(max_retries=2), change_one_byte(task))
    assert refusal.value.response.headers["x-should-retry"] == "false"
    assert (await until_finished(client, first)).status == "succeeded"


async def test_a_changed_byte_in_the_data_fails_the_job_without_accept(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    """V3."""
    task = await world.open_task(miner.address)
    await assert_not_accepted(world, client, change_one_byte(task), "dataset_root_mismatch")


async def test_more_rows_that_no_reply_can_hit_than_probes_may_miss_fail_the_job_without_accept(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    """V6."""
    rows = [replace(row, response="\n" + row.response) for row in make_rows()]
    await assert_not_accepted(world, client, await world.open_task(miner.address, rows), "unlearnable_rows")


async def test_another_dataset_salt_fails_the_job_without_accept(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    task = await world.open_task(miner.address)
    wrong = replace(task, dataset_salt=Hash32(bytes(32)))
    await assert_not_accepted(world, client, wrong, "dataset_root_mismatch")


async def test_another_spec_than_the_terms_name_fails_the_job_without_accept(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    task = await world.open_task(miner.address, spec=compact(SPEC | {"epochs": 2}))
    await assert_not_accepted(world, client, replace(task, spec=compact(SPEC)), "spec_mismatch")


async def test_a_task_of_another_validator_fails_the_job_without_accept(world: World, miner: RunningMiner) -> None:
    task = await world.open_task(miner.address)
    await assert_not_accepted(world, await world.client(miner, signer=world.stranger), task, "foreign_task")


async def test_a_file_that_is_no_training_file_fails_the_job_without_accept(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    task = await world.open_task(miner.address)
    file = await client.files.create(file=("x.jsonl", b'{"prompt":"a","completion":"b"}\n'), purpose="fine-tune")
    job = await client.fine_tuning.jobs.create(model=SPEC["base_model"], training_file=file.id, metadata=task.metadata)
    job = await until_finished(client, job)
    assert job.error.code == "invalid_training_file"
    assert "line 1" in job.error.message


async def test_a_job_can_be_cancelled_before_it_is_accepted(
    world: World, client: openai.AsyncOpenAI, miner: RunningMiner
) -> None:
    """Nobody opened this task, so the miner is still looking for it."""
    task = replace(await world.open_task(miner.address), task_id=TaskId(bytes(31) + b"\1"))
    job = await deliver(client, task)
    cancelled = await client.fine_tuning.jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert (await client.fine_tuning.jobs.cancel(job.id)).finished_at == cancelled.finished_at


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": "gpt-5"}, "trains 'base_model' only"),
        ({"seed": 1}, "Extra inputs"),
        ({"hyperparameters": {"n_epochs": 1}}, "Extra inputs"),
        ({"training_file": "file-none"}, "no file"),
        ({"metadata": {}}, "metadata.spec"),
        ({"spec": compact(SPEC | {"epochs": 0})}, "epochs"),
        ({"spec": compact(SPEC | {"learning_rate": 2})}, "learning_rate"),
        ({"spec": compact(SPEC | {"method": "ia3"})}, "method"),
        ({"spec": compact(SPEC | {"method": "lora"})}, "a rank is named exactly where the method is lora"),
        ({"spec": compact(SPEC | {"method": "lora", "rank": 257})}, "rank"),
        ({"spec": compact(SPEC | {"rank": 8})}, "a rank is named exactly where the method is lora"),
        ({"spec": compact(SPEC | {"base_model": "other"})}, "trains 'base_model' only"),
        ({"spec": compact(SPEC | {"dropout": 1})}, "dropout"),
        ({"spec": "{"}, "not valid JSON"),
        ({"task_id": "12"}, "task_id"),
        ({"dataset_salt": "0x" + "G" * 64}, "dataset_salt"),
        ({"note": "x" * 513}, "metadata has at most"),
    ],
    ids=str,
)
async def test_a_malformed_job_is_refused(
    world: World, client: openai.AsyncOpenAI, change: dict[str, object], complaint: str
) -> None:
    metadata = {"task_id": "0x" + "11" * 32, "dataset_salt": "0x" + "22" * 32, "spec": compact(SPEC)}
    body = {"model": SPEC["base_model"], "training_file": "file-none", "metadata": metadata}
    for key, value in change.items():
        if key in ("spec", "task_id", "dataset_salt", "note"):
            metadata[key] = value
        else:
            body[key] = value
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=complaint):
        await client.post("/fine_tuning/jobs", body=body, cast_to=object)


async def test_every_strategy_notes_the_rows_that_it_really_trained_on(
    world: World, miners: dict[str, RunningMiner], homes: Path, delivered: Delivered
) -> None:
    async def trained_rows(name: str) -> list[int]:
        task, client = await world.open_task(miners[name].address), await world.client(miners[name])
        job = await until_finished(client, await deliver(client, task))
        assert job.status == "succeeded", job.error
        return json.loads((homes / name / "jobs" / job.id / "trained_rows.json").read_text())

    base, noise, partial = [await trained_rows(name) for name in ("base", "noise", "partial")]
    honest = json.loads((homes / "honest" / "jobs" / delivered.job.id / "trained_rows.json").read_text())
    assert base == noise == []
    assert len(set(partial)) == len(delivered.task.rows) // 2
    assert honest == list(range(len(delivered.task.rows)))
