"""Everything around one validator, in this process: chain, contract, payer, miners, and its files.

The world outlives the validator: it has no part in the validator's loop but the clock, so that whoever comes back after
a crash finds it as it was left.
"""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.daemon.memory_blocks import Transaction
from tests.daemon.memory_http import MemoryHttp
from tests.daemon.memory_miner import Behaviour, MemoryMiner, Purse
from tests.daemon.memory_node import MemoryNode
from tests.daemon.memory_rpc import Wire, open_chain
from tests.daemon.plans import plan_task, plant_once
from tests.daemon.virtual_time import Clock
from validator.app import ValidatorNode
from validator.config import DEV, Durations, Profile
from validator.edges.chain import Chain
from validator.edges.contract import Network, Touchstone, encode_deployment
from validator.edges.keys import LocalSigner, derive_signer
from validator.errors import Transient
from validator.evidence.store import BundleStore
from validator.evidence_keeper import EvidenceKeeper
from validator.journal import Identity, Journal
from validator.marks.coverage import CoverageMark
from validator.marks.planting import PlantedDataset
from validator.marks.secrets import Secrets, derive_journal_key
from validator.protocol.commitment import Row
from validator.protocol.events import TaskPlanned
from validator.protocol.state import TaskState
from validator.types import BlockNumber, Hash32, TaskId, Wei

SEED = bytes(range(32))
ETHER = 10**18
DURATIONS = Durations(
    accept_seconds=40,
    train_seconds=60,
    submitted_seconds=60,
    challenged_seconds=40,
    answered_seconds=60,
    judging_seconds=40,
    dispute_seconds=4,
)
START_S, REST_S = 1.0, 1.0
"""Between two attempts to start, and between two looks whether all is done."""
PARTS = "validator", "miners"
PATIENCE_S = 500.0
"""Of the clock, for one life: three times what the slowest scenario needs."""
PROFILE = replace(DEV, durations=DURATIONS, finality_depth=2)


@dataclass
class World:
    """Use `create`. `wire` is the validator's way out; `directory` is where its files are, now."""

    clock: Clock
    node: MemoryNode
    contract: Touchstone
    wire: Wire
    payer: LocalSigner
    validator: LocalSigner
    miners: list[MemoryMiner]
    secrets: Secrets
    planted: PlantedDataset
    profile: Profile
    directory: Path
    tasks: list[TaskPlanned] = field(default_factory=list)
    states: dict[TaskId, TaskState] = field(default_factory=dict)
    """As the validator's driver has last shown them."""
    violations: list[str] = field(default_factory=list)
    before_block: Callable[[], None] = lambda: None
    after_block: Callable[[], None] = lambda: None
    on_change: Callable[[TaskState], None] = lambda _state: None
    block_s: float = 0.25
    """Between two blocks, on the clock; on the chain it is a second at least."""
    next_block_s: float = 0.0
    is_disk_full: bool = False
    disk_refusals: int = 0
    raw_journal: Any = None
    """The journal's own connection of sqlite3."""

    @classmethod
    async def create(
        cls, behaviours: Sequence[Behaviour], directory: Path, clock: Clock, wire: Wire, profile: Profile = PROFILE
    ) -> "World":
        deployer, payer, validator = (derive_signer(SEED, role) for role in ("deployer", "payer", "validator"))
        miner_keys = [derive_signer(SEED, f"miner/{i}") for i in range(len(behaviours))]
        accounts = [deployer, payer, validator, *miner_keys]
        node = MemoryNode(
            clock, {account.address: 100 * ETHER for account in accounts}, finality_depth=profile.finality_depth or 0
        )
        chain = await open_chain(node)
        await Purse(node, deployer).send(None, encode_deployment(Network.of_profile(profile, deployer.address)))
        created = node.mine().outcomes[0].created
        assert created is not None
        contract = Touchstone(chain, created)
        miners = [
            MemoryMiner(node, contract, SEED, behaviour, directory / "miners", str(i))
            for i, behaviour in enumerate(behaviours)
        ]
        world = cls(
            clock=clock,
            node=node,
            contract=contract,
            wire=wire,
            payer=payer,
            validator=validator,
            miners=miners,
            secrets=Secrets(SEED, node.chain_id, created),
            planted=plant_once(SEED, node.chain_id, created, payer.address),
            profile=profile,
            directory=directory,
        )
        for part in PARTS:
            (directory / part).mkdir()
        node.on_send = world._check_settle_gate
        await world._fund()
        return world

    async def _fund(self) -> None:
        for signer in (self.payer, self.validator):
            await self.contract.deposit(Purse(self.node, signer), Wei(10 * ETHER))
        for miner in self.miners:
            await self.contract.deposit(miner.purse, Wei(2 * ETHER))
        self.node.mine()
        for miner in self.miners:
            await self.contract.stake(miner.purse, Wei(2 * ETHER))
            await self.contract.register(miner.purse, miner.evidence_key.address, miner.url, Hash32(bytes(32)))
        for _ in range(1 + self.node.finality_depth):
            self.node.mine()
        self.tasks = [await self._plan(number, miner) for number, miner in enumerate(self.miners)]

    async def _plan(self, number: int, miner: MemoryMiner) -> TaskPlanned:
        return await plan_task(
            number,
            contract=self.contract,
            payer=self.payer,
            validator=self.validator.address,
            miner=miner.signer.address,
            miner_url=miner.url,
            secrets=self.secrets,
            planted=self.planted,
            durations=self.profile.durations,
            now_s=self.node.head.timestamp_s,
        )

    # --- its life

    async def go_on(self) -> None:
        """Blocks, and what miners do after each; cancel to stop."""
        while True:
            await asyncio.sleep(max(0.0, self.next_block_s - self.clock.now_s))
            self.next_block_s = self.clock.now_s + self.block_s
            self.before_block()
            self.node.mine()
            self.after_block()
            for miner in self.miners:
                await miner.look()

    async def be_without_validator(self, seconds: float) -> None:
        """The world goes on alone."""
        going_on = asyncio.create_task(self.go_on())
        await asyncio.sleep(seconds)
        going_on.cancel()

    async def live(self) -> Journal:
        """One life of the validator, until every task is closed and nothing is left to do; its journal, still open.

        TimeoutError if that does not come.
        """
        chain = await self._connect()
        try:
            validator = self._start_validator(chain)
            try:
                await self._run(validator)
            except BaseException:  # boundary: however the life ends, its files are given back
                validator.journal.close()
                raise
            return validator.journal
        finally:
            await chain.aclose()

    async def _run(self, validator: ValidatorNode) -> None:
        self.states = dict(validator.driver.states)
        running = [asyncio.create_task(self.go_on()), asyncio.create_task(validator.run())]
        try:
            for task in self.tasks:
                if task.task_id not in validator.driver.states:
                    validator.driver.submit(task)
            async with asyncio.timeout(PATIENCE_S):
                while not self._is_at_rest(validator):
                    done, _pending = await asyncio.wait(running, timeout=REST_S)
                    for ended in done:
                        ended.result()
        finally:
            for unended in running:
                unended.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _connect(self) -> Chain:
        """As often as its supervisor starts a program that reaches no node."""
        while True:
            try:
                return await open_chain(self.node, self.wire)
            except Transient:
                await asyncio.sleep(START_S)

    def _start_validator(self, chain: Chain) -> ValidatorNode:
        """The program as it starts on whatever files there are."""
        contract = Touchstone(chain, self.contract.address)
        identity = Identity(chain.chain_id, contract.address, self.validator.address)
        files, journal_key = self.directory / "validator", derive_journal_key(SEED)
        bundles = BundleStore(files / "bundles", journal_key)
        unused: Any = None  # The terms ask for no weights.
        return ValidatorNode.build(
            journal=Journal(files / "journal.sqlite", journal_key, identity),
            profile=self.profile,
            contract=contract,
            signer=self.validator,
            http=MemoryHttp(self.miners, self.wire),  # type: ignore[arg-type]
            secrets=self.secrets,
            planted=self,
            evidence=EvidenceKeeper(contract, self.secrets, bundles, self._reveal),
            weights=unused,
            first_block=BlockNumber(0),
            on_change=self._notice,
        )

    async def marks(self, _state: TaskState) -> PlantedDataset:
        """All tasks are about one dataset."""
        return self.planted

    async def covered(self, _state: TaskState) -> list[tuple[Row, CoverageMark]]:
        return []

    async def training_file(self, _state: TaskState) -> bytes:
        return self.planted.training_file

    async def _reveal(self, _state: TaskState) -> None:
        """Nobody keeps account of rows that are public here."""

    def _notice(self, state: TaskState) -> None:
        self.states[state.task_id] = state
        self.on_change(state)

    def _is_at_rest(self, validator: ValidatorNode) -> bool:
        return (
            all(task.task_id in self.states and self.states[task.task_id].outcome for task in self.tasks)
            and not validator.journal.unfinished_effects()
            and not validator.journal.transactions.unfinished()
        )

    # --- what tests look at, and do

    def move_to(self, directory: Path) -> None:
        """The files as a killed process leaves them: what is written, without what lives in memory and locks alone."""
        for part in PARTS:
            shutil.copytree(self.directory / part, directory / part, ignore=shutil.ignore_patterns("*.lock", "*-shm"))
        self.directory = directory
        for miner in self.miners:
            miner.directory = directory / "miners"

    def limit_disk(self, *, is_full: bool) -> None:
        """Let SQLite find no page more than there are: it refuses then as on a full disk (SQLITE_FULL)."""
        self.is_disk_full = is_full
        (page_count,) = self.raw_journal.execute("PRAGMA page_count").fetchone()
        self.raw_journal.execute(f"PRAGMA max_page_count = {page_count if is_full else 2**30}")

    def _check_settle_gate(self, transaction: Transaction) -> None:
        """C3: it opens the commitment, so the replies must stand by then: signed, or final on chain."""
        if transaction.function == "settle":
            is_answered = any(name == "Answered" for name, _task_id in self.node.facts(self.node.final.number))
            if not is_answered and not any(miner.signed for miner in self.miners):
                self.violations.append("gate: settle is sent before the replies stand")
