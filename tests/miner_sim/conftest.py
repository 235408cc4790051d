"""One embedded chain and one set of running miners for all tests of this directory: starting them is what costs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from miner_sim.config import MinerConfig
from miner_sim.fleet import RunningMiner, running_fleet
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.world import ETHER, World, evidence_key, private_key
from validator.edges.devnet import embedded_node

STRATEGIES = {
    "honest": "honest",
    "base": "base",
    "noise": "noise:0.5",
    "partial": "partial:0.5",
    "returning": "honest",
    "lookup": "lookup",
}
FIRST_MINER_ACCOUNT = 3


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def world() -> AsyncIterator[World]:
    async with embedded_node() as rpc_url:
        world = await World.create(rpc_url)
        yield world
        await world.aclose()


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("homes")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def miners(world: World, homes: Path) -> AsyncIterator[dict[str, RunningMiner]]:
    """One running miner per strategy, by its name."""
    configs = [
        MinerConfig(
            name=name,
            strategy=strategy,
            private_key=private_key(FIRST_MINER_ACCOUNT + i),
            evidence_key=evidence_key(i),
            seed=i,
            stake_wei=ETHER,
            tls=False,
        )
        for i, (name, strategy) in enumerate(STRATEGIES.items())
    ]
    async with running_fleet(world.fleet_config(homes, configs)) as running:
        yield {miner.name: miner for miner in running}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def delivered(world: World, miners: dict[str, RunningMiner]) -> Delivered:
    """A task that the honest miner has accepted, trained for and submitted; nothing has been asked yet."""
    miner = miners["honest"]
    client = await world.client(miner)
    task = await world.open_task(miner.address)
    job = await until_finished(client, await deliver(client, task))
    assert job.status == "succeeded", job.error
    return Delivered(task, miner, client, job)
