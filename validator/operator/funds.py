"""`touchstone validator deposit` and `sweep`: money in and out by the validator's own key, while no daemon has it.

Rule kept: a daemon takes a transaction that its journal does not count for a second validator's, and stops (P7). So the
journal is held while the key is used here, nothing of the daemon's may be on its way, and what was sent is counted once
it is final: earlier, a reorganisation would leave a gap that holds up everything after it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from validator.amounts import describe_ether
from validator.edges.chain import Receipt, TransactionSender, configured_chain
from validator.edges.contract import Touchstone
from validator.errors import BadInput, TouchstoneError, Transient
from validator.journal import Identity, Journal
from validator.marks.secrets import derive_journal_key
from validator.operator.costs import surplus_wei
from validator.operator.wallet import load_master_seed, open_signer
from validator.plan.terms import compute_validator_bond
from validator.settings import Settings
from validator.types import Hash32, Wei

POLL_S = 0.5
FINAL_TIMEOUT_S = 3_600.0
"""Four times what Ethereum takes at its usual pace."""


@dataclass(frozen=True, slots=True)
class _Purse:
    """The key in use."""

    contract: Touchstone
    sender: TransactionSender
    finality_depth: int | None

    async def finish(self, sending: Awaitable[Receipt]) -> None:
        """Wait until the transaction is final; Transient if it is not in time."""
        tx_hash = (await sending).tx_hash
        try:
            async with asyncio.timeout(FINAL_TIMEOUT_S):
                while not await self._is_final(tx_hash):  # noqa: ASYNC110  no chain tells when
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise Transient(f"the transaction 0x{tx_hash.hex()} is not final after {FINAL_TIMEOUT_S:.0f} s") from None

    async def _is_final(self, tx_hash: Hash32) -> bool:
        chain = self.sender.chain
        final, receipt = await chain.finalized(self.finality_depth), await chain.find_receipt(tx_hash)
        return receipt is not None and receipt.block_number <= final.number


async def deposit(settings: Settings, amount_wei: Wei) -> str:
    """Turn ether of the key's account into credit, and say how much there is then. BadInput if there is too little."""
    async with _open_purse(settings) as purse:
        address = purse.sender.address
        balance_wei = await purse.sender.chain.balance_wei(address)
        if balance_wei <= amount_wei:
            raise BadInput(
                f"{address} has {describe_ether(balance_wei)}, less than the deposit of {describe_ether(amount_wei)} "
                "and its gas"
            )
        await purse.finish(purse.contract.deposit(purse.sender, amount_wei))
        credit_wei = await purse.contract.credits_wei(address)
    return f"deposited {describe_ether(amount_wei)}: {address} has a credit of {describe_ether(credit_wei)}"


async def sweep(settings: Settings) -> str:
    """Move the credit that no task can need to `keys.cold_address`, and say how much that was (H1)."""
    cold_address = settings.keys.cold_address
    if cold_address is None:
        raise BadInput("keys.cold_address is missing: it says where the credit goes")
    async with _open_purse(settings) as purse:
        credit_wei = await purse.contract.credits_wei(purse.sender.address)
        bond_wei = compute_validator_bond(Wei(settings.tasks.min_reward_wei))
        amount_wei = surplus_wei(credit_wei, bond_wei, settings.tasks.in_flight)
        if not amount_wei:
            return (
                f"nothing to move: the credit of {describe_ether(credit_wei)} is for {settings.tasks.in_flight} bonds"
            )
        await purse.finish(purse.contract.withdraw(purse.sender, amount_wei))
        try:
            await purse.finish(purse.sender.send(cold_address, value_wei=amount_wei))
        except TouchstoneError as error:
            error.add_note(f"{describe_ether(amount_wei)} were withdrawn and may still be in the key's own account")
            raise
    return f"moved {describe_ether(amount_wei)} to {cold_address}"


@asynccontextmanager
async def _open_purse(settings: Settings) -> AsyncIterator[_Purse]:
    """BadInput while a daemon runs, while transactions of one are on their way, and after somebody else's."""
    async with open_signer(settings.keys) as signer, AsyncExitStack() as stack:
        chain = await stack.enter_async_context(configured_chain(settings.network.rpc_urls, settings.network.chain_id))
        contract = await Touchstone.at(chain, settings.network.contract)
        depth = settings.profile.finality_depth
        purse = _Purse(contract, TransactionSender(chain, signer), depth)
        place = settings.state.journal_place
        if isinstance(place, Path) and not place.exists():
            # There was no daemon, and the first one takes over the account as it is.
            yield purse
            return
        seed = (await load_master_seed(settings.keys)).reveal()
        journal = Journal(place, derive_journal_key(seed), Identity(chain.chain_id, contract.address, signer.address))
        stack.callback(journal.close)
        await _check_rest(journal, purse)
        try:
            yield purse
        except Transient as error:
            error.add_note("if the daemon stops because of it: `touchstone validator resume`")
            raise
        finally:
            journal.transactions.accept_foreign(await chain.nonce(signer.address, depth))


async def _check_rest(journal: Journal, purse: _Purse) -> None:
    known, mined = journal.transactions.next_nonce(), await purse.sender.chain.nonce(purse.sender.address)
    if journal.transactions.unfinished():
        raise BadInput("transactions of the daemon are on their way: run it until `status` shows none")
    if known and mined > known:
        raise BadInput(
            f"the chain has {mined} transactions of {purse.sender.address}, the journal knows of {known}: another "
            "program uses the key, or the journal is an old copy"
        )
