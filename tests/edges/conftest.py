"""Chains to test against: every test that takes `chain` runs on py-evm and on anvil."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.support import require_or_skip
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Network, Touchstone
from validator.edges.devnet import anvil_node, open_chain
from validator.edges.keys import dev_mnemonic_signer
from validator.errors import BadInput
from validator.types import Address

NO_FLOORS = Network(*[0] * 8, guardian=Address("0x" + "00" * 20))


@asynccontextmanager
async def connected(kind: str, *options: str) -> AsyncIterator[Chain]:
    """A fresh chain of this kind, with further options of anvil's; skipped where the machine cannot run it."""
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(anvil_node(*options) if options else open_chain(kind))
        except BadInput as error:
            require_or_skip(str(error))
        chain = await Chain.connect(url)
        stack.push_async_callback(chain.aclose)
        yield chain


@pytest.fixture(params=["embedded", "anvil"])
async def chain(request: pytest.FixtureRequest) -> AsyncIterator[Chain]:
    async with connected(request.param) as chain:
        yield chain


@pytest.fixture
async def embedded_chain() -> AsyncIterator[Chain]:
    async with connected("embedded") as chain:
        yield chain


@pytest.fixture
def payer(chain: Chain) -> TransactionSender:
    return TransactionSender(chain, dev_mnemonic_signer(0))


@pytest.fixture
async def contract(chain: Chain) -> Touchstone:
    return await Touchstone.deploy(TransactionSender(chain, dev_mnemonic_signer(9)), NO_FLOORS)
