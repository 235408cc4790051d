"""`touchstone devnet`: a chain whose time goes on by itself, and ether on it and on no other."""

import asyncio
import time

import pytest

from tests.edges.loopback import serving
from tests.edges.test_chain import answering
from validator.deployment.devnet import fund, run_devnet
from validator.edges.chain import Chain
from validator.edges.devnet import embedded_node
from validator.errors import BadInput
from validator.types import BlockNumber

STRANGER = "0x" + "11" * 20


async def test_an_idle_chain_has_blocks_of_now_and_somebody_with_ether(capsys: pytest.CaptureFixture[str]) -> None:
    async with embedded_node(idle_block_s=0.05) as url:
        chain = await Chain.connect(url)
        while (await chain.head()).number < 3:  # noqa: ASYNC110 - no chain tells when
            await asyncio.sleep(0.05)
        assert abs((await chain.head()).timestamp_s - time.time()) < 10
        times = [(await chain.block(BlockNumber(number))).timestamp_s for number in range(4)]
        assert times == sorted(times)
        await fund(rpc=url, address=STRANGER, amount="0.5")
        await fund(rpc=url, address=STRANGER, amount="0.25")
        assert await chain.balance_wei(STRANGER) == 75 * 10**16
        await chain.aclose()
    assert "0.75 ETH" in capsys.readouterr().out


async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    async with embedded_node() as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(BadInput, match=rf"cannot listen on 127.0.0.1:{port}: .*; name another --port"):
            await run_devnet(port)


async def test_on_another_chain_nothing_is_sent() -> None:
    async with serving(answering(eth_chainId="0x1")) as url:
        with pytest.raises(BadInput, match="chain 1 is no development chain: send ether"):
            await fund(rpc=url, address=STRANGER, amount="1")
