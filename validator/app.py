"""The composition root of a validator: builds its parts, from the journal to the watcher, and runs them together.

Rule kept: whatever stops one part for good stops all of them, and the error is the first one's.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from validator.config import Profile
from validator.driver import Driver
from validator.edges.contract import Touchstone, gas_limits_by_selector
from validator.edges.http import HttpClient
from validator.edges.keys import Signer
from validator.edges.transactions import TransactionManager
from validator.errors import first_error
from validator.executor import ChainAndMiners
from validator.journal import Identity, Journal
from validator.marks.planting import PlantedDataset
from validator.marks.secrets import Secrets
from validator.protocol.events import TaskPlanned
from validator.protocol.state import TaskState
from validator.types import BlockNumber, Hash32
from validator.watcher import ChainWatcher


@dataclass
class ValidatorNode:
    """Everything of one running validator. Use `build`, then `run`."""

    journal: Journal
    transactions: TransactionManager
    executor: ChainAndMiners
    driver: Driver
    watcher: ChainWatcher

    @classmethod
    def build(
        cls,
        *,
        journal_path: Path,
        journal_key: bytes,
        profile: Profile,
        contract: Touchstone,
        signer: Signer,
        http: HttpClient,
        secrets: Secrets,
        planted: Mapping[Hash32, PlantedDataset],
        first_block: BlockNumber,
        on_change: Callable[[TaskState], None],
    ) -> "ValidatorNode":
        identity = Identity(contract.chain.chain_id, contract.address, signer.address)
        journal = Journal(journal_path, journal_key, identity)
        transactions = TransactionManager(
            contract.chain,
            signer,
            journal.transactions,
            stop=journal.stop,
            gas_limits=gas_limits_by_selector(),
            fee_limits=profile.fee_limits,
            finality_depth=profile.finality_depth,
        )
        executor = ChainAndMiners(
            contract=contract,
            transactions=transactions,
            signer=signer,
            http=http,
            secrets=secrets,
            planted=planted,
        )
        driver = Driver(journal, executor, on_change)
        watcher = ChainWatcher(
            contract.chain, contract, driver, start=first_block, finality_depth=profile.finality_depth
        )
        return cls(journal, transactions, executor, driver, watcher)

    async def run(self, tasks: list[TaskPlanned]) -> None:
        """Take on these tasks and return when all of them are closed."""
        for task in tasks:
            self.driver.submit(task)
        try:
            async with asyncio.TaskGroup() as parts:
                serving = [
                    parts.create_task(self.transactions.run(), name="transactions"),
                    parts.create_task(self.watcher.run(), name="watcher"),
                ]
                await self.driver.run_until_closed(len(tasks))
                for part in serving:
                    part.cancel()
        except BaseExceptionGroup as group:
            raise first_error(group) from None
