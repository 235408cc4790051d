"""The composition root of a validator: builds its parts, from the journal to the watcher, and runs them together.

Rule kept: whatever stops one part for good stops all of them, and the error is the first one's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from validator.config import Profile
from validator.driver import Driver
from validator.edges.contract import Touchstone, gas_limits_by_selector
from validator.edges.http import HttpClient
from validator.edges.keys import Signer
from validator.edges.transactions import TransactionManager
from validator.errors import first_error
from validator.executor import ChainAndMiners, Evidence, PlantedDatasets
from validator.journal import Journal
from validator.marks.secrets import Secrets
from validator.miner_directory import MinerDirectory
from validator.protocol.events import TaskPlanned
from validator.protocol.state import TaskState
from validator.types import BlockNumber
from validator.watcher import ChainWatcher, HeadPolled, ignore_polls
from validator.weights.returned import ReturnedWeights


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
        journal: Journal,
        profile: Profile,
        contract: Touchstone,
        signer: Signer,
        http: HttpClient,
        secrets: Secrets,
        planted: PlantedDatasets,
        evidence: Evidence,
        weights: ReturnedWeights,
        first_block: BlockNumber,
        on_change: Callable[[TaskState], None],
        on_disk_full: Callable[[], None] = lambda: None,
        head_polled: HeadPolled = ignore_polls,
        miners: MinerDirectory | None = None,
        keeps_replies: bool = True,
    ) -> "ValidatorNode":
        """`first_block` is where the contract begins; a journal that has a cursor goes on from there."""
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
            evidence=evidence,
            weights=weights,
        )
        driver = Driver(journal, executor, on_change, on_disk_full, keeps_replies=keeps_replies)
        watcher = ChainWatcher(
            contract.chain,
            contract,
            driver,
            journal,
            start=first_block,
            finality_depth=profile.finality_depth,
            miners=miners,
            head_polled=head_polled,
        )
        return cls(journal, transactions, executor, driver, watcher)

    async def run(self) -> None:
        """Run for ever; cancel to stop. What is fatal is raised."""
        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(self.driver.run(), name="driver")
                parts.create_task(self.transactions.run(), name="transactions")
                parts.create_task(self.watcher.run(), name="watcher")
        except BaseExceptionGroup as group:  # boundary: nothing is swallowed, the first error goes on alone
            raise first_error(group) from None

    async def run_tasks(self, tasks: list[TaskPlanned]) -> None:
        """Take on these tasks, or go on with them, and return when all of them are closed."""
        running = asyncio.create_task(self.run())
        try:
            for task in tasks:
                if task.task_id not in self.driver.states:
                    self.driver.submit(task)
            done = asyncio.create_task(self.driver.closed({task.task_id for task in tasks}))
            await asyncio.wait({running, done}, return_when=asyncio.FIRST_COMPLETED)
            done.cancel()
            if running.done():
                running.result()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
