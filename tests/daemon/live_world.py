"""Everything around a validator that is a process of its own: anvil, the contract, funded roles, miners, requests.

The validator's process may die and come back at any moment; what is here outlives it. It is long because building
that world, waiting for it and looking at how it ended share all its parts.
"""

import asyncio
import json
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests import factories as f
from tests.daemon.live_miners import SEED, MinerWish, judge, running_miners
from tests.daemon.live_validator import LOOPBACK, LiveValidator
from tests.support import require_or_skip
from tests.unit.marks.scorers import HashScorer
from validator.config import Durations
from validator.edges.chain import Chain, TransactionSender
from validator.edges.contract import (
    Answered,
    Challenged,
    ContractEvent,
    ModelSubmitted,
    Network,
    TaskAccepted,
    TaskClosed,
    TaskOpened,
    TaskSettled,
    Touchstone,
)
from validator.edges.devnet import anvil_node
from validator.edges.key_files import create_private
from validator.edges.keys import LocalSigner, derive_secret, derive_signer, dev_mnemonic_signer
from validator.errors import BadInput
from validator.journal import Identity, Journal
from validator.marks.planting import PlantedDataset, plant
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets, derive_dataset_key, derive_journal_key
from validator.plan.spec import TrainingSpec
from validator.plan.terms import compute_fee
from validator.protocol import typed_data
from validator.protocol.commitment import Row
from validator.protocol.machine import is_moot
from validator.protocol.state import Weights
from validator.protocol.typed_data import OrderMessage
from validator.requests.dataset_store import DatasetKey, DatasetStore
from validator.requests.orders import Request, SignedOrder, choose_request_thresholds, encode_request
from validator.types import Address, BlockNumber, Hash32, UnixSeconds, Wei

DURATIONS = Durations(3600, 3600, 3600, 3600, 3600, 3600, dispute_seconds=2)
STEP_S = 1200
QUIET_S = 1.5
"""In which the daemon acts on what chain time it is: it looks every 0.2 s."""
MAX_STEPS = 30
SPEC = TrainingSpec("tiny", epochs=1, learning_rate=0.001)
ETHER = 10**18
REWARD_WEI = Wei(10**15)
STORE_BYTES = 1 << 32
ROWS = {16: 300, 64: 3_200}
"""So many for that many probes: the fewest that are taken."""
POLL_S = 0.25
PATIENCE_S = 300.0
TRAINING_WORKERS, LOOKUP_WORKERS = 2, 64
NODE = "tests.daemon.node_process"


@dataclass(frozen=True)
class Training:
    """What the customers of a world ask for; `base_model` is where its miners find the model that the spec names."""

    spec: TrainingSpec
    base_model: str
    weights: Weights
    make_rows: Callable[[int, int], list[Row]]
    """So many rows for the dataset of this number."""


@dataclass
class LiveWorld:
    """Use `open_world`. `home` has the validator's keys and its state `directory`; `port` is of its web listener."""

    url: str
    chain: Chain
    contract: Touchstone
    payer: LocalSigner
    validator: LocalSigner
    first_block: BlockNumber
    home: Path
    port: int
    durations: Durations
    finality_depth: int
    training: Training
    miners: dict[Address, MinerWish] = field(default_factory=dict)
    plantings: dict[Hash32, PlantedDataset] = field(default_factory=dict)
    """By their dataset root."""
    last: LiveValidator | None = None

    @property
    def directory(self) -> Path:
        return self.home / "state"

    @property
    def log(self) -> Path:
        return self.home / "log"

    # --- before the validator starts

    async def hand_in(self, probes: Sequence[int]) -> None:
        """A request for each entry, over a dataset of its own that is planted already, into the journal."""
        secrets = Secrets(SEED, self.chain.chain_id, self.contract.address)
        store = DatasetStore(self.directory / "datasets", derive_dataset_key(SEED), max_bytes=STORE_BYTES)
        journal = self.open_journal()
        scheme = make_scheme("canary")
        expiry = UnixSeconds(int(time.time()) + 10 * 86_400)
        for number, n in enumerate(probes, len(self.plantings)):
            rows = self.training.make_rows(ROWS[n], number)
            planted = plant(rows, scheme, n, secrets=secrets, payer=self.payer.address, scorer=HashScorer())
            key = await store.take_in(self.payer.address, rows, scheme, n)
            await store.keep_planting(key, planted)
            store.keep_base_hits(key, self.training.spec.to_json(), 0)
            request = await self._sign_request(key, n, number, expiry)
            journal.add_request(request.request_id, encode_request(request))
            self.plantings[planted.dataset_root] = planted
        journal.close()

    async def _sign_request(self, key: DatasetKey, n: int, number: int, expiry: UnixSeconds) -> Request:
        thresholds, spec = choose_request_thresholds(n), self.training.spec
        order = OrderMessage(
            validator=self.validator.address,
            max_reward=REWARD_WEI,
            max_fee=compute_fee(REWARD_WEI),
            spec_hash=spec.hash,
            source_data_hash=key.source_data_hash,
            min_n=thresholds.n,
            min_k_pay=thresholds.k_pay,
            nonce=number,
            expiry=expiry,
        )
        signature = await self.payer.sign_typed_data(self.contract.domain, typed_data.order(order))
        return Request(
            payer=self.payer.address,
            source_data_hash=key.source_data_hash,
            spec=spec.to_json(),
            base_model=spec.base_model,
            reward_wei=REWARD_WEI,
            scheme="canary",
            probes=n,
            weights=self.training.weights,
            is_reusing_revealed=False,
            orders=(SignedOrder(order, signature),),
        )

    def open_journal(self) -> Journal:
        identity = Identity(self.chain.chain_id, self.contract.address, self.validator.address)
        return Journal(self.directory / "journal.sqlite", derive_journal_key(SEED), identity)

    # --- its life

    def settings(self, *, in_flight: int, per_miner: int, deny: Sequence[Address] = ()) -> dict[str, Any]:
        """The tables of the validator's configuration."""
        return {
            "network": {
                "profile": "dev",
                "chain_id": self.chain.chain_id,
                "contract": self.contract.address,
                "rpc_urls": [self.url],
                "first_block": self.first_block,
            },
            "keys": {"key_file": str(self.home / "key"), "master_seed_file": str(self.home / "seed")},
            "state": {"directory": str(self.directory)},
            "generator": {"model": "embedded"},
            "tasks": {"in_flight": in_flight, "per_miner": per_miner, "probes": 16, "min_reward_wei": REWARD_WEI},
            "miners": {"deny": list(deny)},
            "http": {"listen": f"{LOOPBACK}:{self.port}"},
        }

    async def start_validator(self, **choices: Any) -> LiveValidator:
        """The validator's process, once it has read the chain up to where it is now; `choices` as of `settings`."""
        wish = {
            "settings": self.settings(**choices),
            "profile": {"durations": asdict(self.durations), "finality_depth": self.finality_depth},
        }
        head = await self.chain.head()
        validator = await self.start([sys.executable, "-m", NODE, json.dumps(wish)])
        await validator.wait_until_ready(head.number - self.finality_depth)
        return validator

    def write_config(self, **choices: Any) -> Path:
        """The same settings as a file for `touchstone validator run`, which has the profile's own durations."""
        path = self.home / "touchstone.toml"
        lines = []
        for table, values in self.settings(**choices).items():
            lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        path.unlink(missing_ok=True)
        create_private(path, "\n".join(lines) + "\n")
        return path

    async def start(self, command: Sequence[str]) -> LiveValidator:
        """A validator's process; the world's end is its own."""
        with self.log.open("ab") as lines:
            process = await asyncio.create_subprocess_exec(*command, stderr=lines)
        self.last = LiveValidator(process, self.log, self.port)
        return self.last

    # --- what the chain says

    async def events(self) -> list[ContractEvent]:
        head = await self.chain.head()
        return list(await self.contract.events(self.first_block, head.number))

    async def outcomes(self) -> dict[bytes, str]:
        """Of the tasks that are closed."""
        return {
            event.task_id: event.outcome.name.lower() for event in await self.events() if isinstance(event, TaskClosed)
        }

    async def wait_for(self, is_so: Callable[[], Awaitable[bool]], validator: LiveValidator) -> None:
        """Look again and again; fails if the validator ends or nothing is so for long."""
        async with asyncio.timeout(PATIENCE_S):
            while not await is_so():
                validator.check_alive()
                await asyncio.sleep(POLL_S)

    async def wait_until_closed(self, count: int, validator: LiveValidator) -> None:
        """Until so many tasks are, and the daemon has had time to notice."""

        async def is_so() -> bool:
            return len(await self.outcomes()) >= count

        await self.wait_for(is_so, validator)
        await validator.live_for(QUIET_S)

    async def wait_until_submitted(self, count: int, validator: LiveValidator) -> None:
        async def is_so() -> bool:
            return sum(isinstance(event, ModelSubmitted) for event in await self.events()) >= count

        await self.wait_for(is_so, validator)

    async def wait_until_opened(self, count: int, validator: LiveValidator) -> None:
        async def is_so() -> bool:
            return len(await self.miners_of_tasks()) >= count

        await self.wait_for(is_so, validator)

    async def wait_until_paid(self, miners: Sequence[Address], count: int, validator: LiveValidator) -> None:
        """Until so many tasks of these miners are."""

        async def is_so() -> bool:
            outcomes, served = await self.outcomes(), await self.miners_of_tasks()
            return (
                sum(outcomes[task] == "paid" for task, miner in served.items() if miner in miners and task in outcomes)
                >= count
            )

        await self.wait_for(is_so, validator)

    async def pass_deadlines(self, validator: LiveValidator) -> None:
        """Let chain time run, in steps that miss no deadline, until no task is open."""
        steps = 0
        while await self.in_flight():
            steps += 1
            assert steps <= MAX_STEPS, "deadlines have passed and nobody acts"
            await self.pass_seconds(STEP_S)
            before = -1
            while (count := len(await self.events())) != before:
                before = count
                await validator.live_for(QUIET_S)

    async def pass_seconds(self, seconds: int) -> None:
        """Let so much chain time run."""
        await self._rpc("evm_increaseTime", seconds)
        await self._rpc("evm_mine")

    async def mine(self, blocks: int) -> None:
        """Let so many empty blocks come, so that what is in older ones is final."""
        await self._rpc("anvil_mine", hex(blocks))

    async def _rpc(self, method: str, *parameters: Any) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        async with aiohttp.ClientSession() as session, session.post(self.url, json=call) as answer:
            assert "result" in await answer.json()

    async def miners_of_tasks(self) -> dict[bytes, Address]:
        """Of every task that was ever opened."""
        return {event.task_id: event.miner for event in await self.events() if isinstance(event, TaskOpened)}

    async def in_flight(self) -> int:
        return len((await self.miners_of_tasks()).keys() - (await self.outcomes()).keys())

    async def count_late(self) -> int:
        """Tasks that only a deadline can end."""
        return sum(end[0].endswith("lapsed") for end in (await self.expected_outcomes()).values())

    async def find_violations(self) -> list[str]:
        """I3 and I4: each task ended once, and nothing happened twice; and what the journal still thinks is open."""
        happened = await self.events()
        violations = []
        for kind in (TaskOpened, TaskAccepted, ModelSubmitted, Challenged, Answered, TaskSettled, TaskClosed):
            counts = Counter(event.task_id for event in happened if isinstance(event, kind))
            violations += [f"{kind.__name__} {count} times" for count in counts.values() if count > 1]
        opened = {event.task_id for event in happened if isinstance(event, TaskOpened)}
        if len(opened) != len(self.plantings):
            violations.append(f"{len(opened)} tasks for {len(self.plantings)} requests")
        violations += [f"0x{task_id.hex()} is not closed" for task_id in opened - (await self.outcomes()).keys()]
        journal = self.open_journal()
        states = journal.replay()
        violations += [f"the journal has {state.phase}" for state in states.values() if not state.outcome]
        effects = journal.unfinished_effects()
        violations += [f"left: {effect.key}" for effect in effects if not is_moot(states[effect.task_id], effect)]
        violations += [f"left: nonce {out.nonce}" for out in journal.transactions.unfinished()]
        journal.close()
        return violations

    async def expected_outcomes(self) -> dict[bytes, tuple[str, ...]]:
        """What may become of each task, by its miner and its dataset."""
        expected = {}
        for event in await self.events():
            if isinstance(event, TaskOpened):
                wish, planted = self.miners[event.miner], self.plantings[event.terms.dataset_root]
                expected[event.task_id] = judge(wish, planted)
        return expected


@asynccontextmanager
async def open_world(
    directory: Path,
    miners: Sequence[MinerWish],
    *,
    tasks: int,
    tasks_per_miner: int = 1,
    training: Training | None = None,
    finality_depth: int = 0,
    durations: Durations = DURATIONS,
    anvil_options: Sequence[str] = (),
) -> AsyncIterator[LiveWorld]:
    """A chain where so many tasks can be paid for, and the miners; the test is skipped where there is no anvil."""
    (directory / "state").mkdir(mode=0o700)
    for name, secret in (("key", derive_secret(SEED, "validator").reveal()), ("seed", SEED)):
        create_private(directory / name, secret.hex() + "\n")
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(anvil_node(*anvil_options))
        except BadInput as error:
            require_or_skip(str(error))
        chain = await Chain.connect(url)
        stack.push_async_callback(chain.aclose)
        funder = TransactionSender(chain, dev_mnemonic_signer(0))
        contract = await Touchstone.deploy(funder, Network(*[0] * 8, guardian=Address("0x" + "00" * 20)))
        world = LiveWorld(
            url=url,
            chain=chain,
            contract=contract,
            payer=derive_signer(SEED, "payer"),
            validator=derive_signer(SEED, "validator"),
            first_block=(await chain.head()).number,
            home=directory,
            port=free_port(),
            durations=durations,
            finality_depth=finality_depth,
            training=training or NO_TRAINING,
        )
        for signer in (world.payer, world.validator):
            await funder.send(signer.address, value_wei=Wei(1_000 * ETHER))
            await contract.deposit(TransactionSender(chain, signer), Wei(2 * tasks * REWARD_WEI + ETHER))
        for wish in miners:
            signer = derive_signer(SEED, f"miner/{wish.name}")
            await funder.send(signer.address, value_wei=Wei(10 * ETHER))
            world.miners[signer.address] = wish
        stake_wei = Wei(2 * tasks_per_miner * REWARD_WEI)
        is_training = world.training is not NO_TRAINING
        await stack.enter_async_context(
            running_miners(
                miners,
                stake_wei,
                rpc_url=url,
                contract=contract.address,
                home=str(directory / "miners"),
                base_model=world.training.base_model,
                base_model_name=world.training.spec.base_model,
                training_workers=TRAINING_WORKERS if is_training else LOOKUP_WORKERS,
            )
        )
        try:
            yield world
        finally:
            if world.last is not None:
                await world.last.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def make_rows(count: int, number: int) -> list[Row]:
    """Rows of a dataset that shares no prompt with that of another number."""
    dice = random.Random(number)
    rows = f.make_rows(count)
    dice.shuffle(rows)
    return [Row(f"In book {number}: {row.prompt}", row.response) for row in rows]


NO_TRAINING = Training(SPEC, SPEC.base_model, Weights.NONE, make_rows)
"""For miners that look up: they have no model."""
