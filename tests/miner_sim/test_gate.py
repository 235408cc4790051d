"""Who is let in: 401 for every token but a staked validator's own, newest, unexpired one."""

import asyncio
from urllib.parse import urlsplit

import openai
import pytest
from aiohttp import ClientSession

from miner_sim.fleet import RunningMiner
from tests.miner_sim.world import ETHER, WITH_RUNNING_MINERS, World, new_signer
from validator.edges.chain import TransactionSender
from validator.types import Wei

pytestmark = WITH_RUNNING_MINERS


@pytest.fixture
def miner(miners: dict[str, RunningMiner]) -> RunningMiner:
    return miners["base"]


async def assert_refused(world: World, miner: RunningMiner, token: str, reason: str) -> None:
    with pytest.raises(openai.AuthenticationError, match=reason):
        await world.client_with(miner, token).models.list()


async def test_a_token_is_needed(miner: RunningMiner) -> None:
    async with ClientSession() as http, http.get(f"{miner.url}/v1/models") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await response.json())["error"]["code"] == "invalid_session"


@pytest.mark.parametrize("token", ["sk-something", "A" * 160, "A" * 162, "\u00e4"])
async def test_what_is_no_token_is_refused(miner: RunningMiner, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with ClientSession() as http, http.get(f"{miner.url}/v1/models", headers=headers) as response:
        assert response.status == 401


async def test_an_expired_token_is_refused(world: World, miner: RunningMiner) -> None:
    await assert_refused(world, miner, await world.session(miner.address, lifetime_s=-1), "expired")


async def test_a_token_for_another_miner_is_refused(
    world: World, miner: RunningMiner, miners: dict[str, RunningMiner]
) -> None:
    await assert_refused(world, miner, await world.session(miners["honest"].address), "another miner")


async def test_a_token_signed_by_somebody_else_is_refused(world: World, miner: RunningMiner) -> None:
    token = await world.session(miner.address, signer=world.stranger, claims=world.validator.address)
    await assert_refused(world, miner, token, "not signed")


async def test_a_token_with_a_lower_nonce_than_the_highest_seen_is_a_replay(world: World, miner: RunningMiner) -> None:
    older, newer = [await world.session(miner.address) for _ in range(2)]
    for token in (older, newer, newer):
        await world.client_with(miner, token).models.list()
    await assert_refused(world, miner, older, "replaced")


async def test_a_validator_with_nothing_in_the_contract_is_refused_until_it_deposits(
    world: World, miner: RunningMiner
) -> None:
    newcomer = new_signer()
    token = await world.session(miner.address, signer=newcomer)
    await assert_refused(world, miner, token, "no credit")
    await world.senders[world.payer.address].send(newcomer.address, value_wei=Wei(ETHER))
    await world.contract.deposit(TransactionSender(world.chain, newcomer), Wei(1))
    client = world.client_with(miner, token)
    async with asyncio.timeout(10):
        while True:  # the miner asks the chain again after a second
            try:
                await client.models.list()
                return
            except openai.AuthenticationError:
                await asyncio.sleep(0.2)


async def test_the_refusal_comes_before_the_body(miner: RunningMiner) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(miner.url).port)
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nHost: miner\r\nAuthorization: Bearer nonsense\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 50000000\r\n\r\n"
    )
    await writer.drain()
    assert b"401" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()
