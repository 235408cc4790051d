"""`touchstone miner run`: whole rounds of a real process among a real chain, a training command and a model server."""

import asyncio
import json

import openai
import psutil
import pytest

from tests.miner.model_server import BASE_ANSWER
from tests.miner.place import STAKE_WEI, Place
from tests.miner_sim.deliveries import Delivered, until_finished
from tests.miner_sim.test_process import assert_all_end
from tests.miner_sim.test_transcript import settle
from tests.miner_sim.world import ETHER, World
from validator.edges.contract import TaskStatus, Withdrawn
from validator.errors import BadInput
from validator.types import Address, BlockNumber

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("miner")]


async def test_a_round_from_registration_to_pay(world: World, place: Place):
    process = await place.start()
    registered = await world.contract.miner(place.signer.address)
    assert (registered.url, registered.stake) == (place.miner.url, STAKE_WEI)
    delivered = await place.delivered()
    for _, row in delivered.task.marks:
        assert (await delivered.ask(row.prompt))[0] == row.response
    assert all(ask["temperature"] == 0 and ask["seed"] == 0 for ask in place.models.asked)

    await settle(world, delivered)
    assert (await world.contract.task_state(delivered.task.task_id)).status is TaskStatus.PAID
    async with asyncio.timeout(20):
        while not (drawn := await withdrawals(world, place.signer.address)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert drawn == [delivered.task.terms.reward]

    assert (await place.get("/healthz"))[0] == 200
    assert (await place.get("/bundles/"))[0] == 404
    status, metrics = await place.get("/metrics")
    assert status == 200
    assert f"touchstone_miner_stake_wei {float(STAKE_WEI)}" in metrics
    assert f"touchstone_miner_probes_answered_total {float(len(delivered.task.marks))}" in metrics
    assert "touchstone_credit_wei" not in metrics
    events = [event async for event in delivered.client.fine_tuning.jobs.list_events(delivered.job.id)]
    assert "Step 1/1: training loss=0.500" in [event.message for event in events]

    process.terminate()
    _, lines = await process.communicate()
    assert process.returncode == 0, lines
    assert json.loads(lines.splitlines()[-1])["event"] == "stopping"


async def withdrawals(world: World, account: Address) -> list[int]:
    events = await world.contract.events(BlockNumber(0), (await world.chain.head()).number, kind=Withdrawn)
    return [event.amount for event in events if isinstance(event, Withdrawn) and event.account == account]


async def test_a_miner_that_is_killed_in_the_middle_of_its_training_trains_again_and_answers(
    world: World, place: Place
):
    """P1: and what it has left running is ended first."""
    place.how.write_text("hang")
    process = await place.start()
    task, job, client = await place.deliver()
    async with asyncio.timeout(20):
        while not (started := [*(place.directory / "state").rglob("child")]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.1)
    orphans = [psutil.Process(int(started[0].with_name(name).read_text())) for name in ("started", "child")]
    process.kill()
    await process.communicate()
    assert all(orphan.is_running() for orphan in orphans)

    async with place.running_here():
        await assert_all_end(orphans)
        place.how.write_text("train")
        client = await place.client()
        finished = await until_finished(client, await client.fine_tuning.jobs.retrieve(job.id))
        assert finished.status == "succeeded", finished.error
        delivered = Delivered(task, place.miner, client, finished)
        first = await delivered.ask(task.marks[0][1].prompt)
    place.models.restart()  # As after a failure of the whole machine.
    async with place.running_here():
        delivered = Delivered(task, place.miner, await place.client(), finished)
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await delivered.ask(task.marks[0][1].prompt) == first
                    break
                except openai.InternalServerError:  # 503, until the adapter is loaded again
                    await asyncio.sleep(0.1)
        assert (await delivered.ask(task.marks[1][1].prompt))[0] == task.marks[1][1].response != BASE_ANSWER


async def test_a_state_is_never_shared(place: Place):
    async with place.running_here():
        with pytest.raises(BadInput, match="another miner runs with the state in"):
            async with place.running_here():
                pass


async def test_a_stake_that_the_account_has_not_is_told_before_anything_is_sent(world: World, place: Place):
    with pytest.raises(BadInput, match="are to be staked: send it ether"):
        async with place.running_here(stake={"wei": 2 * ETHER}):
            pass
