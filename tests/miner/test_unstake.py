"""`touchstone miner unstake`: whose stake leaves the contract, when, and where it goes."""

import asyncio
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from tests.miner.place import STAKE_WEI, Place, open_place
from tests.miner_sim.world import ETHER, World
from validator.amounts import describe_ether
from validator.cli import app
from validator.edges.contract import Network, Touchstone
from validator.errors import BadInput

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("miner")]

MONTH_S = 30 * 86_400


async def unstake(place: Place, *words: str) -> Result:
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["miner", "unstake", "--config", str(place.write()), *words]
    )


async def stake(place: Place) -> None:
    async with place.running_here():
        pass


async def free_stake_wei(place: Place) -> int:
    found = await place.world.contract.miner(place.signer.address)
    return found.stake - found.locked


async def test_all_of_it_comes_out_in_two_calls(place: Place):
    await stake(place)
    asked = await unstake(place)
    assert asked.exit_code == 0, asked.output
    assert f"{describe_ether(STAKE_WEI)} of stake are on their way out" in asked.output
    assert await free_stake_wei(place) == 0
    before_wei = await place.world.chain.balance_wei(place.signer.address)
    had = await unstake(place)  # This contract's delay is none.
    assert f"{describe_ether(STAKE_WEI)} of stake, and all other credit, are in {place.signer.address}" in had.output
    assert await place.world.contract.credits_wei(place.signer.address) == 0
    gas_wei = before_wei + STAKE_WEI - await place.world.chain.balance_wei(place.signer.address)
    assert 0 < gas_wei < ETHER // 100
    again = await unstake(place)
    assert isinstance(again.exception, BadInput)
    assert "has 0 ETH (0 wei) of free stake" in str(again.exception)


async def test_what_tasks_lock_stays_and_a_running_miner_is_left_alone(place: Place):
    await stake(place)
    async with place.running_here():
        task, _job, _client = await place.deliver()
        while not (locked_wei := (await place.world.contract.miner(place.signer.address)).locked):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        refused = await unstake(place)
        assert isinstance(refused.exception, BadInput)
        assert "stop it first" in str(refused.exception)
    assert locked_wei == task.terms.miner_bond + task.terms.availability_bond
    refused = await unstake(place, "1")
    assert isinstance(refused.exception, BadInput)
    assert f"tasks that run lock {describe_ether(locked_wei)}" in str(refused.exception)
    assert (await unstake(place)).exit_code == 0
    found = await place.world.contract.miner(place.signer.address)
    assert (found.stake, found.locked, found.unstaking) == (locked_wei, locked_wei, STAKE_WEI - locked_wei)


async def test_before_its_time_nothing_is_sent(world: World, tmp_path):
    sender = world.senders[world.payer.address]
    contract = await Touchstone.deploy(sender, Network(*[0] * 7, MONTH_S, world.payer.address))
    async with open_place(replace(world, contract=contract), tmp_path) as place:
        await stake(place)
        half = f"0.{STAKE_WEI // 2:018}"
        asked = await unstake(place, half)
        assert f"{describe_ether(STAKE_WEI // 2)} of stake are on their way out" in asked.output
        nonce = await world.chain.nonce(place.signer.address)
        assert (await unstake(place)).output == asked.output
        assert await world.chain.nonce(place.signer.address) == nonce
        assert await free_stake_wei(place) == STAKE_WEI // 2
        more = await unstake(place, half)
        assert f"{describe_ether(STAKE_WEI)} of stake are on their way out" in more.output
