"""One embedded chain for all tests of this directory; each test has a miner of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.miner.place import Place, open_place
from tests.miner_sim.world import World
from validator.edges.devnet import embedded_node


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def world() -> AsyncIterator[World]:
    async with embedded_node() as rpc_url:
        world = await World.create(rpc_url)
        yield world
        await world.aclose()


@pytest_asyncio.fixture(loop_scope="package")
async def place(world: World, tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(world, tmp_path) as place:
        yield place
