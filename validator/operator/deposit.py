"""`touchstone validator deposit`: the credit that bonds are taken from, before there is a history.

Rule kept: once the journal knows of a task, the key is the daemon's alone: it takes a transaction that it does not know
of for a second validator, and stops (P7).
"""

import asyncio
from pathlib import Path

from validator.amounts import describe_ether
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.keys import Signer
from validator.errors import BadInput
from validator.journal import Identity
from validator.marks.secrets import derive_journal_key
from validator.operator.check import is_journal_new
from validator.operator.wallet import load_master_seed, open_signer
from validator.settings import Settings
from validator.types import Wei


async def deposit(settings: Settings, amount_wei: Wei) -> str:
    """Deposit from the key's account; what the key's credit is then. BadInput if the daemon has a history."""
    urls = [url.get_secret_value() for url in settings.network.rpc_urls]
    async with open_signer(settings.keys) as signer:
        chain = await Chain.connect(urls)
        try:
            if chain.chain_id != settings.network.chain_id:
                raise BadInput(f"the nodes are on chain {chain.chain_id}, not on {settings.network.chain_id}")
            contract = await Touchstone.at(chain, settings.network.contract)
            await _check_no_history(settings, signer)
            balance_wei = await chain.balance_wei(signer.address)
            if balance_wei <= amount_wei:
                raise BadInput(
                    f"{signer.address} has {describe_ether(balance_wei)}, less than the deposit of "
                    f"{describe_ether(amount_wei)} and its gas"
                )
            await contract.deposit(TransactionSender(chain, signer), amount_wei)
            credit_wei = await contract.credits_wei(signer.address)
        finally:
            await chain.aclose()
    return f"deposited {describe_ether(amount_wei)}: {signer.address} has a credit of {describe_ether(credit_wei)}"


async def _check_no_history(settings: Settings, signer: Signer) -> None:
    place = settings.state.journal_place
    if isinstance(place, Path) and not place.exists():
        return
    seed = (await load_master_seed(settings.keys)).reveal()
    identity = Identity(settings.network.chain_id, settings.network.contract, signer.address)
    if not await asyncio.to_thread(is_journal_new, place, derive_journal_key(seed), identity):
        raise BadInput("this validator has a history, and from then on only its daemon may use the key")
