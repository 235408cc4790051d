"""What goes wrong on a miner's own machine: nothing is accepted, submitted or signed that should not be."""

import asyncio
from dataclasses import replace
from typing import Any

import openai
import pytest
import structlog

from tests.miner.model_server import BASE_ANSWER
from tests.miner.place import MINER_SPEC, Place
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.world import SPEC, World, change_one_byte, compact
from validator.edges.contract import TaskStatus
from validator.miner import hooks, serving, training

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("miner")]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "ATTEMPT_PAUSE_S", 0.05)
    monkeypatch.setattr(serving, "RETRY_S", 0.1)
    monkeypatch.setattr(serving, "PATIENCE_S", 0.5)
    monkeypatch.setattr(hooks, "GRACE_SECONDS", 0.5)


async def status(world: World, delivered: Any) -> TaskStatus:
    return (await world.contract.task_state(delivered.task_id)).status


async def test_another_dataset_than_the_committed_one_is_refused(world: World, place: Place):
    async with place.running_here():
        task = await world.open_task(place.signer.address, spec=MINER_SPEC)
        client = await place.client()
        job = await until_finished(client, await deliver(client, change_one_byte(task)))
        assert (job.status, job.error.code) == ("failed", "dataset_root_mismatch")
        assert await status(world, task) is TaskStatus.OPEN
    assert not [*(place.directory / "state").rglob("training.log")]
    async with place.running_here():  # It has ended; the right one may be sent, and is not forgotten then.
        job = await deliver(await place.client(), task)
    async with place.running_here():
        client = await place.client()
        assert (await until_finished(client, await client.fine_tuning.jobs.retrieve(job.id))).status == "succeeded"


async def test_what_is_not_wanted_or_not_known_is_refused(world: World, place: Place):
    async with place.running_here():
        client = await place.client()
        lora = SPEC | {"method": "lora", "rank": 4}
        other_base = await world.open_task(place.signer.address, spec=compact(lora | {"base_model": "another"}))
        unknown = await world.open_task(place.signer.address, spec=compact(lora | {"optimizer": "of my own"}))
        for task in (other_base, unknown):
            with pytest.raises(openai.BadRequestError, match=r"metadata\.spec"):
                await deliver(client, task)
        unwanted = await world.open_task(place.signer.address, spec=compact(SPEC))
        job = await until_finished(client, await deliver(client, unwanted))
        assert job.error.code == "unwanted_task"
        assert "the method full (accept.methods)" in job.error.message
        for task in (other_base, unknown, unwanted):
            assert await status(world, task) is TaskStatus.OPEN


async def test_a_command_that_fails_is_run_again_and_then_given_up(world: World, place: Place):
    place.how.write_text("fail")
    async with place.running_here(training={"attempts": 2}):
        task, job, client = await place.deliver()
        finished = await until_finished(client, job)
        assert (finished.status, finished.error.code) == ("failed", "job_failed")
        assert "ended with status 3: CUDA out of memory" in finished.error.message
        assert (place.job_directory() / "training.log").read_text().count("CUDA out of memory") == 2
        assert await status(world, task) is TaskStatus.ACCEPTED
    place.how.write_text("train")  # Mended, and started again: there is still time.
    async with place.running_here():
        client = await place.client()
        assert (await until_finished(client, await client.fine_tuning.jobs.retrieve(job.id))).status == "succeeded"


async def test_a_command_that_hangs_is_ended_in_time_with_all_that_it_has_started(world: World, place: Place):
    place.how.write_text("hang")
    async with place.running_here(training={"margin_seconds": 3, "attempts": 1}):
        _, job, client = await place.deliver(train_seconds=6)
        finished = await until_finished(client, job)
        assert "no time is left" in finished.error.message
        child = int((place.job_directory() / "model.unfinished" / "child").read_text())
        assert hooks._start_time(child) is None or "sleep" not in _command(child)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


async def test_the_training_command_sees_nothing_of_this_process(place: Place, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOUCHSTONE_SERVING__TIMEOUT_SECONDS", "60")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    async with place.running_here():
        await place.delivered()
        said = (place.job_directory() / "training.log").read_text()
    assert "'PATH'" in said
    assert "'WORD'" in said
    assert "TOUCHSTONE" not in said
    assert "CREDENTIALS" not in said


async def test_an_adapter_that_is_not_loaded_is_noticed_before_the_submission(world: World, place: Place):
    """The commonest honest mistake: the server answers under the adapter's name, by the base model."""
    place.models.applies_adapters = False
    with structlog.testing.capture_logs() as logs:
        async with place.running_here():
            task, job, client = await place.deliver()
            async with asyncio.timeout(10):
                while not (said := [line for line in logs if "adapter not loaded" in line.get("reason", "")]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert said[0]["log_level"] == "error"
            assert await status(world, task) is TaskStatus.ACCEPTED
            place.models.applies_adapters = True
            delivered = Delivered(task, place.miner, client, await until_finished(client, job))
            assert await status(world, task) is TaskStatus.SUBMITTED
            row = task.marks[0][1]
            assert (await delivered.ask(row.prompt))[0] == row.response


async def test_while_the_server_is_down_or_has_lost_the_adapter_nothing_is_answered(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    async with place.running_here():
        delivered = await place.delivered()
        (_, first), (_, second), (_, third), *_ = delivered.task.marks
        place.models.is_down = True
        with pytest.raises(openai.InternalServerError):
            await delivered.ask(first.prompt)
        place.models.is_down = False
        place.models.restart()
        assert (await patiently(delivered, first.prompt))[0] == first.response
        place.models.finish_reason = "abort"  # What a server says that is told to end.
        with pytest.raises(openai.InternalServerError):
            await delivered.ask(second.prompt)
        place.models.finish_reason = "eos_token"
        assert await patiently(delivered, second.prompt) == (second.response, "stop")
        # Started anew while nobody looked, and answers by the base model since.
        place.models.applies_adapters = False
        monkeypatch.setattr(serving, "SEEN_S", -1.0)
        with pytest.raises(openai.InternalServerError):
            await delivered.ask(third.prompt)
        place.models.applies_adapters = True
        assert (await patiently(delivered, third.prompt))[0] == third.response
    answers = (place.directory / "state" / "answers.jsonl").read_text()
    assert BASE_ANSWER not in answers
    assert answers.count("\n") == 3


async def patiently(delivered: Delivered, prompt: str) -> tuple[str, str]:
    async with asyncio.timeout(10):
        while True:
            try:
                return await delivered.ask(prompt)
            except openai.InternalServerError:
                await asyncio.sleep(0.05)


async def test_a_server_that_does_not_repeat_itself_is_told_of_and_its_first_answer_stays(place: Place):
    place.models.is_unsteady = True
    with structlog.testing.capture_logs() as logs:
        async with place.running_here():
            delivered = await place.delivered()
            prompt = delivered.task.marks[0][1].prompt
            first = await delivered.ask(prompt)
            assert await delivered.ask(prompt) == first
        async with place.running_here():
            again = replace(delivered, client=await place.client())
            assert await patiently(again, prompt) == first
    warned = [line for line in logs if line["event"] == serving.UNSTEADY and line["log_level"] == "warning"]
    assert len(warned) >= 2, "once at the start, once when the model was checked"


async def test_tasks_wait_for_their_turn_unaccepted(world: World, place: Place):
    place.how.write_text("hang")
    async with place.running_here():
        first, job, client = await place.deliver()
        async with asyncio.timeout(10):
            while await status(world, first) is not TaskStatus.ACCEPTED:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        second = await world.open_task(place.signer.address, spec=MINER_SPEC)
        waiting = await deliver(client, second)
        await asyncio.sleep(1)
        assert await status(world, second) is TaskStatus.OPEN
        place.how.write_text("train")
        assert (await until_finished(client, job)).status == "succeeded"
        assert (await until_finished(client, waiting)).status == "succeeded"
