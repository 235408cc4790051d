"""The composition root of a validator: builds journal, driver, executor and watcher, and runs them together.

Rule kept: whatever stops one part for good stops all of them, and the error is the first one's.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from validator.config import Profile
from validator.driver import Driver
from validator.edges.chain import TransactionSender
from validator.edges.contract import Touchstone
from validator.edges.http import HttpClient
from validator.edges.keys import Signer
from validator.errors import first_error
from validator.executor import ChainAndMiners
from validator.journal import Journal
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
        sender: TransactionSender,
        signer: Signer,
        http: HttpClient,
        secrets: Secrets,
        planted: Mapping[Hash32, PlantedDataset],
        first_block: BlockNumber,
        on_change: Callable[[TaskState], None],
    ) -> "ValidatorNode":
        journal = Journal(journal_path, journal_key)
        executor = ChainAndMiners(
            journal=journal,
            contract=contract,
            sender=sender,
            signer=signer,
            http=http,
            secrets=secrets,
            planted=planted,
        )
        driver = Driver(journal, executor, on_change)
        watcher = ChainWatcher(
            contract.chain, contract, driver, start=first_block, finality_depth=profile.finality_depth
        )
        return cls(journal, executor, driver, watcher)

    async def run(self, tasks: list[TaskPlanned]) -> None:
        """Take on these tasks and return when all of them are closed."""
        for task in tasks:
            self.driver.submit(task)
        try:
            async with asyncio.TaskGroup() as parts:
                watching = parts.create_task(self.watcher.run(), name="watcher")
                await self.driver.run_until_closed(len(tasks))
                watching.cancel()
        except BaseExceptionGroup as group:
            raise first_error(group) from None
