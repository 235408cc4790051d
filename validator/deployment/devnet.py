"""`touchstone devnet`: a development chain for whoever has no node, and ether on any such chain."""

import asyncio

from rich.console import Console

from validator.amounts import describe_ether, parse_ether
from validator.deployment.parameters import parse_address
from validator.edges.chain import Chain, TransactionSender
from validator.edges.keys import dev_mnemonic_signer
from validator.errors import BadInput

BLOCK_S = 12.0
"""Between blocks of an idle chain, as on Ethereum: without any, deadlines never come, and a validator is not ready."""


async def run_devnet(port: int) -> None:
    """Serve a fresh chain on loopback until cancelled; it is kept in memory, and gone then."""
    from validator.edges.devnet import embedded_node  # py-evm, which is an extra

    async with embedded_node(port, idle_block_s=BLOCK_S) as url:
        chain = await Chain.connect(url)
        await chain.aclose()
        Console(soft_wrap=True, highlight=False).print(f"{url}, chain id {chain.chain_id}; Ctrl-C ends it for good")
        await asyncio.Event().wait()


async def fund(*, rpc: str, address: str, amount: str) -> None:
    """Send ether of the public test mnemonic's first account; BadInput where that could be worth something."""
    receiver, amount_wei = parse_address(address), parse_ether(amount)
    chain = await Chain.connect(rpc)
    try:
        if not chain.is_dev_chain:
            raise BadInput(f"chain {chain.chain_id} is no development chain: send ether to {receiver} from your wallet")
        await TransactionSender(chain, dev_mnemonic_signer(0)).send(receiver, value_wei=amount_wei)
        print(f"{receiver} has {describe_ether(await chain.balance_wei(receiver))}")
    finally:
        await chain.aclose()
