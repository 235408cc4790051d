"""The real `openai` client runs a fine-tuning job and completions against a miner, its API key a session token."""

import openai
import pytest

from miner_sim.fleet import RunningMiner
from tests.miner_sim.deliveries import Delivered
from tests.miner_sim.world import MAX_TOKENS, SPEC, WITH_RUNNING_MINERS, World
from validator.protocol.commitment import hash_served_model

pytestmark = WITH_RUNNING_MINERS


async def test_the_model_appears_only_when_its_hash_is_on_chain(world: World, delivered: Delivered) -> None:
    assert delivered.job.fine_tuned_model
    assert await world.contract.model_hash(delivered.task.task_id) == hash_served_model(delivered.job.fine_tuned_model)


async def test_files_can_be_listed_retrieved_and_read_back(delivered: Delivered) -> None:
    files = [file async for file in delivered.client.files.list(limit=1)]
    file_id = delivered.job.training_file
    assert file_id in [file.id for file in files]
    file = await delivered.client.files.retrieve(file_id)
    assert (file.purpose, file.status, file.bytes) == ("fine-tune", "processed", len(delivered.task.training_file))
    assert (await delivered.client.files.content(file_id)).content == delivered.task.training_file


async def test_a_deleted_file_is_gone(delivered: Delivered) -> None:
    file = await delivered.client.files.create(file=("x.jsonl", b"x"), purpose="fine-tune")
    assert (await delivered.client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await delivered.client.files.retrieve(file.id)


async def test_events_are_paged_newest_first_with_the_training_losses(delivered: Delivered) -> None:
    jobs = delivered.client.fine_tuning.jobs
    events = [event async for event in jobs.list_events(delivered.job.id, limit=2)]
    assert "successfully completed" in events[0].message
    steps = [event.data["step"] for event in events if event.type == "metrics"]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] == len(delivered.task.rows) // SPEC["batch_size"]
    assert all(event.data["train_loss"] > 0 for event in events if event.type == "metrics")
    assert events[-1].message == "Validating training file"


async def test_jobs_are_found_by_their_metadata(delivered: Delivered) -> None:
    jobs = delivered.client.fine_tuning.jobs
    wanted = {"task_id": delivered.task.metadata["task_id"]}
    assert [job.id async for job in jobs.list(metadata=wanted)] == [delivered.job.id]
    assert [job.id async for job in jobs.list(metadata={"task_id": "0x00"})] == []


async def test_checkpoints_are_an_empty_page_that_ends(delivered: Delivered) -> None:
    checkpoints = delivered.client.fine_tuning.jobs.checkpoints
    assert [checkpoint async for checkpoint in checkpoints.list(delivered.job.id)] == []


async def test_the_models_are_the_base_model_and_what_was_made_of_it(delivered: Delivered) -> None:
    models = [model.id async for model in delivered.client.models.list()]
    assert SPEC["base_model"] in models
    assert delivered.job.fine_tuned_model in models
    assert (await delivered.client.models.retrieve(delivered.job.fine_tuned_model)).object == "model"
    with pytest.raises(openai.NotFoundError):
        await delivered.client.models.retrieve("no/such:model")


async def test_a_model_cannot_be_deleted_while_its_task_is_open(delivered: Delivered) -> None:
    with pytest.raises(openai.ConflictError):
        await delivered.client.models.delete(delivered.job.fine_tuned_model)


async def test_chat_and_plain_completions_give_the_same_first_answer_for_ever(delivered: Delivered) -> None:
    first = await delivered.ask("How is tea made?")
    plain = await delivered.client.completions.create(
        model=delivered.job.fine_tuned_model, prompt="How is tea made?", temperature=0, max_tokens=MAX_TOKENS
    )
    assert (plain.choices[0].text, plain.choices[0].finish_reason) == first == await delivered.ask("How is tea made?")
    assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens
    assert 0 < plain.usage.completion_tokens <= MAX_TOKENS


async def test_a_finished_job_cannot_be_cancelled(delivered: Delivered) -> None:
    """Its empty body says application/json: the client's habit. The client does not try again."""
    client = delivered.client.with_options(max_retries=2)
    with pytest.raises(openai.ConflictError) as refusal:
        await client.fine_tuning.jobs.cancel(delivered.job.id)
    assert refusal.value.response.headers["x-should-retry"] == "false"


async def test_another_staked_validator_sees_nothing_of_it(
    world: World, miners: dict[str, RunningMiner], delivered: Delivered
) -> None:
    other = await world.client(miners["honest"], signer=world.stranger)
    assert [file async for file in other.files.list()] == []
    assert [job async for job in other.fine_tuning.jobs.list()] == []
    assert [model.id async for model in other.models.list()] == [SPEC["base_model"]]
    for request in (
        other.files.content(delivered.job.training_file),
        other.files.delete(delivered.job.training_file),
        other.fine_tuning.jobs.retrieve(delivered.job.id),
        other.fine_tuning.jobs.cancel(delivered.job.id),
        other.models.retrieve(delivered.job.fine_tuned_model),
        other.chat.completions.create(**delivered.probe()),
    ):
        with pytest.raises(openai.NotFoundError):
            await request
