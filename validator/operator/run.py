"""`touchstone validator run` and `resume`."""

import asyncio
import sys
from pathlib import Path

from validator.daemon import run_daemon
from validator.edges.chain import configured_chain
from validator.edges.contract import Touchstone
from validator.errors import BadInput
from validator.journal import Identity, Journal
from validator.logs import log_to
from validator.marks.secrets import derive_journal_key
from validator.operator.wallet import load_master_seed, open_signer
from validator.settings import Settings
from validator.settings_file import load_settings


def run_validator(config: Path, *, is_history_lost: bool) -> None:
    """Until a signal comes."""
    settings = load_settings(config)
    with log_to(sys.stderr.fileno(), level=settings.log.level, form=settings.log.format):
        asyncio.run(run_daemon(settings, is_history_lost=is_history_lost))


def run_resume(config: Path) -> None:
    """Clear the stop and say what it was; BadInput if there is none."""
    print(asyncio.run(_resume(load_settings(config))))


async def _resume(settings: Settings) -> str:
    seed = (await load_master_seed(settings.keys)).reveal()
    network = settings.network
    async with open_signer(settings.keys) as signer, configured_chain(network.rpc_urls, network.chain_id) as chain:
        contract = await Touchstone.at(chain, network.contract)
        identity = Identity(chain.chain_id, contract.address, signer.address)
        journal = Journal(settings.state.journal_place, derive_journal_key(seed), identity, despite_stop=True)
        try:
            reason = journal.stop_reason
            if reason is None:
                raise BadInput(f"the journal {settings.state.journal_place} is not stopped")
            journal.transactions.accept_foreign(await chain.confirmed_nonce(signer.address))
            journal.clear_stop()
        finally:
            journal.close()
    return f"no longer stopped; it was: {reason}"
