"""The miner's own transactions."""

import asyncio

from tests.edges.conftest import NO_FLOORS, connected
from validator.edges.chain import TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.keys import dev_mnemonic_signer
from validator.miner.chain_client import MinerChain
from validator.types import BlockNumber, Wei


async def test_jobs_that_are_paid_together_draw_the_credit_once() -> None:
    async with connected("embedded") as chain:
        sender = TransactionSender(chain, dev_mnemonic_signer(0))
        contract = await Touchstone.deploy(sender, NO_FLOORS)
        await contract.deposit(sender, Wei(1_000))
        miner = MinerChain(contract, sender, BlockNumber(0))
        await asyncio.gather(miner.withdraw_all(), miner.withdraw_all())
        assert await contract.credits_wei(sender.address) == 0
        assert await chain.balance_wei(contract.address) == 0
