"""What we believe of anvil, where tests of ours rest on it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.support import require_or_skip
from validator.edges.chain import Chain, TransactionSender, UnsentTransaction
from validator.edges.devnet import anvil_node
from validator.edges.keys import dev_mnemonic_signer
from validator.errors import BadInput, Reverted

SIGNER = dev_mnemonic_signer(0)
Rpc = Callable[..., Awaitable[Any]]
ONCE_ONLY = "0x5f54600a57" + "60015f5500" + "5b5f5ffd"
"""Code that sets a slot, and reverts if it is set."""


@pytest.fixture
async def anvil() -> AsyncIterator[tuple[Chain, Rpc]]:
    """A node that mines when it is told to."""
    node = anvil_node("--no-mining")
    try:
        url = await node.__aenter__()
    except BadInput as error:
        require_or_skip(str(error))
    chain = await Chain.connect(url)
    yield chain, lambda method, *params: chain.ask(lambda result: result, method, *params)
    await chain.aclose()
    await node.__aexit__(None, None, None)


async def mined(chain: Chain, rpc: Rpc) -> UnsentTransaction:
    signed = await TransactionSender(chain, SIGNER).sign(SIGNER.address)
    assert await chain.broadcast(signed.raw) is None
    assert await chain.nonce(SIGNER.address) == 0, "what waits does not count at `latest`"
    await rpc("anvil_mine", "0x1")
    assert await chain.nonce(SIGNER.address) == 1
    return signed


@pytest.mark.parametrize("way", ["anvil_reorg", "evm_revert"])
async def test_a_block_that_is_taken_back_takes_receipt_nonce_and_pool_with_it(
    anvil: tuple[Chain, Rpc], way: str
) -> None:
    """C1: nothing goes back to the pool, so whoever wants it mined must send it again; and the same bytes are taken."""
    chain, rpc = anvil
    snapshot = await rpc("evm_snapshot")
    signed = await mined(chain, rpc)
    before = await chain.head()
    if way == "anvil_reorg":
        await rpc("anvil_reorg", 1, [])
        after = await chain.head()
        assert after.number == before.number
        assert after.hash != before.hash
    else:
        await rpc("evm_revert", snapshot)
        assert (await chain.head()).number == before.number - 1
    assert await chain.find_receipt(signed.tx_hash) is None
    assert await chain.nonce(SIGNER.address) == 0
    assert await rpc("txpool_status") == {"pending": "0x0", "queued": "0x0"}
    assert await chain.broadcast(signed.raw) is None
    await rpc("anvil_mine", "0x1")
    assert (await chain.receipt(signed.tx_hash)).is_success


@pytest.mark.parametrize(("blocks", "final"), [(10, 0), (64, 0), (65, 1), (200, 136)])
async def test_finalized_is_64_blocks_behind_the_head_whatever_became_of_them(
    anvil: tuple[Chain, Rpc], blocks: int, final: int
) -> None:
    """Rule 9 of the transaction manager: the tag is a name for a depth, so a deeper reorganisation changes it."""
    chain, rpc = anvil
    await rpc("anvil_mine", hex(blocks))
    block = await chain.finalized(None)
    assert block.number == final
    await rpc("anvil_reorg", min(blocks, 70), [])
    again = await chain.finalized(None)
    assert again.number == final
    assert (again.hash == block.hash) == (final == 0 or blocks - 70 >= final)


async def test_a_call_at_pending_sees_what_waits_and_a_call_at_latest_does_not(anvil: tuple[Chain, Rpc]) -> None:
    """Rule 13 of the transaction manager."""
    chain, rpc = anvil
    target = dev_mnemonic_signer(5).address
    await rpc("anvil_setCode", target, ONCE_ONLY)
    attempt = (SIGNER.address, target, b"", 0, 100_000)
    signed = await TransactionSender(chain, SIGNER).sign(target)
    await chain.preflight(*attempt)
    await chain.broadcast(signed.raw)
    await chain.preflight(*attempt, tag="latest")
    with pytest.raises(Reverted):
        await chain.preflight(*attempt)
