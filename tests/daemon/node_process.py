"""A validator as a process to be killed: the product's parts, with short durations and words that need no model.

    python -m tests.daemon.node_process JSON

Prints {"ready": ...} once the journal is replayed, the chain read up to its head and what was unfinished taken up
again, then twice a second how it is; ends with status 0 on SIGTERM. The JSON is that of `LiveWorld.start_validator`.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.daemon.live_world import SEED, STORE_BYTES
from tests.unit.marks.scorers import HashScorer
from validator.app import ValidatorNode
from validator.config import DEV, Durations, Profile
from validator.dataset_store import DatasetKey, DatasetStore
from validator.desk import Desk
from validator.edges.chain import Chain
from validator.edges.contract import Touchstone
from validator.edges.http import HttpClient
from validator.edges.keys import derive_signer
from validator.evidence.store import BundleStore
from validator.evidence_keeper import EvidenceKeeper
from validator.journal import Identity, Journal
from validator.logs import log_to
from validator.loop_lag import LoopLag
from validator.marks.planting import PlantedDataset, plant
from validator.marks.schemes import Scheme
from validator.marks.secrets import Secrets, derive_bundle_key, derive_dataset_key, derive_journal_key
from validator.miner_directory import MinerDirectory
from validator.model_work import Children
from validator.progress import Progress
from validator.protocol.commitment import Row
from validator.protocol.state import Phase, TaskState
from validator.scheduler import Scheduler, SeedingLimits
from validator.types import Address, BlockNumber
from validator.weights.returned import ReturnedWeights

LOOK_S = 0.02
SAY_S = 0.5


@dataclass(frozen=True)
class Stored:
    """PlantedDatasets out of the store."""

    store: DatasetStore

    def key(self, state: TaskState) -> DatasetKey:
        return DatasetKey(state.terms.payer, state.planned.order.source_data_hash)

    async def of(self, state: TaskState) -> PlantedDataset:
        return await self.store.load(self.key(state))

    async def reveal(self, state: TaskState) -> None:
        await self.store.reveal(self.key(state))


@dataclass
class Parts:
    node: ValidatorNode
    scheduler: Scheduler
    lag: LoopLag
    chain: Chain


async def build(wish: dict[str, Any], stack: AsyncExitStack) -> Parts:
    profile: Profile = replace(DEV, durations=Durations(*wish["durations"]), finality_depth=wish["finality_depth"])
    directory, signer = Path(wish["directory"]), derive_signer(SEED, "validator")
    chain = await Chain.connect(wish["rpc_url"])
    stack.push_async_callback(chain.aclose)
    contract = await Touchstone.at(chain, Address(wish["contract"]))
    identity = Identity(chain.chain_id, contract.address, signer.address)
    journal = Journal(directory / "journal.sqlite", derive_journal_key(SEED), identity)
    stack.callback(journal.close)
    secrets = Secrets(SEED, chain.chain_id, contract.address)
    store = DatasetStore(directory / "datasets", derive_dataset_key(SEED), max_bytes=STORE_BYTES)
    stored, miners = Stored(store), MinerDirectory()
    progress = Progress()
    bundles = BundleStore(directory / "bundles", derive_bundle_key(SEED))

    async def plant_here(rows: Sequence[Row], scheme: Scheme, n: int, payer: Address) -> PlantedDataset:
        return await asyncio.to_thread(plant, rows, scheme, n, secrets=secrets, payer=payer, scorer=HashScorer())

    def wake(_state: TaskState) -> None:
        scheduler.wake()

    node = ValidatorNode.build(
        journal=journal,
        profile=profile,
        contract=contract,
        signer=signer,
        http=await stack.enter_async_context(HttpClient(profile)),
        secrets=secrets,
        planted=stored,
        evidence=EvidenceKeeper(contract, secrets, bundles, stored.reveal),
        weights=ReturnedWeights(Children(1), directory / "models", {}),
        first_block=BlockNumber(wish["first_block"]),
        on_change=wake,
        miners=miners,
        keeps_replies=False,
    )
    desk = Desk(
        contract=contract,
        validator=signer.address,
        journal=journal,
        store=store,
        states=lambda: node.driver.states,
        model_directory=lambda _task_id: directory / "models",
        durations=profile.durations,
        min_reward_wei=1,
        preferred=("canary", 16),
    )
    scheduler = Scheduler(
        desk=desk,
        store=store,
        driver=node.driver,
        contract=contract,
        validator=signer.address,
        miners=miners,
        secrets=secrets,
        profile=profile,
        limits=SeedingLimits(wish["in_flight"], wish["per_miner"], frozenset()),
        plant=plant_here,
        may_begin=lambda: "too much waits to be sent" if node.transactions.is_busy else None,
    )
    return Parts(node, scheduler, LoopLag(progress), chain)


def say(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


async def say_how_it_is(parts: Parts) -> None:
    head = await parts.chain.head()
    while parts.node.watcher.progress.final_number < head.number - (parts.node.watcher._finality_depth or 0):  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    say(ready=True, tasks=len(parts.node.driver.states))
    while True:
        states = parts.node.driver.states.values()
        say(
            at_s=time.time(),
            open=sum(state.phase is not Phase.CLOSED for state in states),
            closed=sum(state.phase is Phase.CLOSED for state in states),
            effects=len(parts.node.driver.running),
            lag_p999_s=parts.lag.quantile_s(0.999),
            lag_max_s=parts.lag.quantile_s(1.0),
            waits_for=parts.scheduler.waits_for,
        )
        await asyncio.sleep(SAY_S)


async def main(wish: dict[str, Any]) -> None:
    loop, this_task = asyncio.get_running_loop(), asyncio.current_task()
    assert this_task is not None
    loop.add_signal_handler(signal.SIGTERM, this_task.cancel)
    async with AsyncExitStack() as stack:
        stack.enter_context(log_to(sys.stderr.fileno()))
        parts = await build(wish, stack)
        try:
            async with asyncio.TaskGroup() as group:
                for work in (parts.node.run(), parts.scheduler.run(), parts.lag.run(), say_how_it_is(parts)):
                    group.create_task(work)
        except asyncio.CancelledError:
            return


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
