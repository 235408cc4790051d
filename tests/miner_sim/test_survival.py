"""A miner keeps its bonds through a validator that lies and a machine that stops: it answers on chain, and goes on."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from miner_sim.config import MinerConfig
from miner_sim.fleet import RunningMiner
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.test_process import start as start_process
from tests.miner_sim.test_weights import LORA_SPEC, fetch, store
from tests.miner_sim.world import ETHER, WITH_RUNNING_MINERS, N, Task, W, World, evidence_key, private_key
from validator.edges.contract import Answered, TaskStatus
from validator.protocol.commitment import hash_head, split_head
from validator.protocol.state import Weights
from validator.types import BlockNumber, Hash32, TaskId

pytestmark = WITH_RUNNING_MINERS

ACCOUNT = 9


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def running(world: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], object]:
    """Starts the same miner, with the same home and port, as often as it is asked to, and kills it each time."""
    miner = MinerConfig(
        name="survivor",
        strategy="lookup",
        port=free_port(),
        private_key=private_key(ACCOUNT),
        evidence_key=evidence_key(ACCOUNT),
        seed=1,
        stake_wei=ETHER,
        tls=False,
    )
    config = world.fleet_config(tmp_path_factory.mktemp("survivor"), [miner])

    @asynccontextmanager
    async def start() -> AsyncIterator[RunningMiner]:
        process = await start_process(config.model_dump(mode="json"))
        try:
            [ready] = json.loads(await process.stdout.readline())["ready"]
            yield RunningMiner(**ready)
        finally:
            process.kill()
            await process.communicate()

    return start


async def until(world: World, task: Task, status: TaskStatus) -> None:
    async with asyncio.timeout(30):
        while (await world.contract.task_state(task.task_id)).status is not status:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def challenge(world: World, task: Task, leaves: list[Hash32]) -> None:
    sender = world.senders[world.validator.address]
    await world.contract.challenge(sender, task.terms, task.validator_nonce, leaves)


async def answered(world: World, task: Task) -> tuple[Hash32, ...]:
    await until(world, task, TaskStatus.ANSWERED)
    events = await world.contract.events(BlockNumber(0), (await world.chain.head()).number)
    [answer] = [event for event in events if isinstance(event, Answered) and event.task_id == task.task_id]
    return answer.replies


async def test_a_validator_that_never_asked_gets_its_answer_on_chain(world, running):
    """V5: the challenge says that there was no answer; the miner answers there, and keeps its availability bond."""
    async with running() as miner:
        task = await world.open_task(miner.address)
        client = await world.client(miner)
        assert (await until_finished(client, await deliver(client, task))).status == "succeeded"
        await challenge(world, task, [hashes.leaf for hashes, _ in task.marks])
        replies = await answered(world, task)
    assert replies == tuple(hash_head(task.dataset_salt, split_head(row.response, W)[0]) for _, row in task.marks)


async def test_a_challenge_over_rows_that_do_not_exist_is_answered_with_misses(world, running):
    """V5: it can never be settled, so its validator lapses; an answer keeps the miner's bond out of it."""
    async with running() as miner:
        task = await world.open_task(miner.address)
        client = await world.client(miner)
        await until_finished(client, await deliver(client, task))
        await challenge(world, task, [Hash32(bytes([i + 1]) * 32) for i in range(N)])
        assert await answered(world, task) == (Hash32(bytes(32)),) * N


async def test_a_miner_that_was_killed_goes_on_with_its_jobs(world, running, tmp_path):
    """P1: challenged while it was gone, it answers when it is back; job, file and weights are what they were."""
    async with running() as miner:
        task = await world.open_task(miner.address, spec=LORA_SPEC, weights=Weights.DELIVERED)
        task = replace(task, spec=LORA_SPEC)
        client = await world.client(miner)
        before = await until_finished(client, await deliver(client, task))
    await challenge(world, task, [hashes.leaf for hashes, _ in task.marks])
    async with running() as miner:
        assert len(await answered(world, task)) == N
        client = await world.client(miner)
        after = await until_finished(client, await client.fine_tuning.jobs.retrieve(before.id))
        assert (after.status, after.fine_tuned_model) == ("succeeded", before.fine_tuned_model)
        again = await deliver(client, task)
        assert (again.id, again.training_file) == (before.id, before.training_file)
        assert (await fetch(world, store(tmp_path), Delivered(task, miner, client, after))).weights_files


async def test_a_miner_knows_the_tasks_that_were_opened_while_it_was_gone(world, running):
    """P1: and is killed once more in the middle of the job."""
    async with running() as miner:
        address = miner.address
    task = await world.open_task(address)
    async with running() as miner:
        client = await world.client(miner)
        job = await deliver(client, task)
    async with running() as miner:
        client = await world.client(miner)
        assert (await until_finished(client, await client.fine_tuning.jobs.retrieve(job.id))).status == "succeeded"
        assert (await world.contract.task_state(task.task_id)).status is TaskStatus.SUBMITTED


async def test_a_cancelled_job_stays_cancelled(world, running):
    async with running() as miner:
        task = await world.open_task(miner.address)
        missing = replace(task, task_id=TaskId(bytes(31) + b"\7"))
        client = await world.client(miner)
        job = await deliver(client, missing)
        await client.fine_tuning.jobs.cancel(job.id)
    async with running() as miner:
        client = await world.client(miner)
        assert job.id not in [job.id async for job in client.fine_tuning.jobs.list()]
