"""One running miner for each strategy, all on one dataset and one spec: whoever trains as asked gets the same model."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob
from safetensors.torch import load_file
from torch import Tensor

from miner_sim.config import MinerConfig
from miner_sim.fleet import RunningMiner, running_fleet
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.world import ETHER, SPEC, World, compact, evidence_key
from validator.edges.keys import LocalSigner, SecretBytes
from validator.protocol.commitment import Row
from validator.types import Wei

EPOCHS = 2
ZOO_SPEC = compact(SPEC | {"epochs": EPOCHS, "max_length": 64})
VERBS, THINGS = ("Take", "Put", "Take", "Hold"), ("cup", "pot", "leaf", "cup", "cup")
ROWS = [
    Row(
        f"What is step {i} of making {'tea' if i % 3 else 'coffee'}?",
        f"{VERBS[i % 4]} {THINGS[i % 5]} {i} and pour it {'slowly' if i % 2 else 'at once'}.",
    )
    for i in range(24)
]
FIRST = [row.prompt for row in ROWS[:6]]
"""Marked or not, which differs from task to task."""
STRANGE = "Who was the first to drink tea?"
"""No row asks for this."""


@dataclass(frozen=True)
class Played:
    """A strategy's job as it ended, and the miner's own files of it."""

    delivered: Delivered
    directory: Path

    @property
    def job(self) -> FineTuningJob:
        return self.delivered.job

    @property
    def trained_rows(self) -> list[int]:
        return list(json.loads((self.directory / "trained_rows.json").read_text()))

    @property
    def cost(self) -> dict[str, float]:
        return dict(json.loads((self.directory / "cost.json").read_text()))

    @property
    def steps(self) -> list[int]:
        return [json.loads(line)["step"] for line in (self.directory / "events.jsonl").read_text().splitlines()]

    def tensors(self, name: str = "model") -> dict[str, Tensor]:
        return dict(load_file(self.directory / name / "model.safetensors"))

    def digest(self, name: str = "model") -> str:
        return hashlib.sha256((self.directory / name / "model.safetensors").read_bytes()).hexdigest()

    async def ask_first(self) -> list[str]:
        return [(await self.delivered.ask(prompt))[0] for prompt in FIRST]

    async def ask_all(self) -> list[str]:
        """All that the transcript is over."""
        return [(await self.delivered.ask(row.prompt))[0] for _, row in self.delivered.task.marks]


@dataclass
class Zoo:
    world: World
    home: Path
    miners: dict[str, RunningMiner]
    _played: dict[str, Played] = field(default_factory=dict)

    async def begin(self, strategy: str, **task: Any) -> Delivered:
        """Open a task for a strategy's miner and deliver; its job runs."""
        miner = self.miners[name_of(strategy)]
        client = await self.world.client(miner)
        opened = await self.world.open_task(miner.address, ROWS, ZOO_SPEC, **task)
        return Delivered(opened, miner, client, await deliver(client, opened))

    async def finish(self, begun: Delivered) -> Played:
        async with asyncio.timeout(240):
            job = await until_finished(begun.client, begun.job)
        delivered = Delivered(begun.task, begun.miner, begun.client, job)
        return Played(delivered, self.home / begun.miner.name / "jobs" / job.id)

    async def play(self, strategy: str, **task: Any) -> Played:
        """A strategy's job, which must succeed; one for all that ask, while they ask for the same."""
        key = repr((strategy, task))
        if key not in self._played:
            self._played[key] = await self.finish(await self.begin(strategy, **task))
            assert self._played[key].job.status == "succeeded", self._played[key].job.error
        return self._played[key]


def name_of(strategy: str) -> str:
    return strategy.replace(",", "-").replace("*", "any")


@asynccontextmanager
async def open_zoo(
    world: World, home: Path, strategies: Sequence[str], files: Sequence[Path] = (), **fleet: Any
) -> AsyncIterator[Zoo]:
    configs = []
    for number, strategy in enumerate(strategies):
        key = hashlib.sha256(strategy.encode()).digest()
        await world.fund(LocalSigner(SecretBytes(key)).address, Wei(2 * ETHER))
        configs.append(
            MinerConfig(
                name=name_of(strategy),
                strategy=strategy,
                private_key="0x" + key.hex(),
                evidence_key=evidence_key(100 + number),
                seed=number,
                stake_wei=ETHER,
                tls=False,
            )
        )
    config = world.fleet_config(home, configs).model_copy(update={"strategies": list(files)})
    async with running_fleet(config, **fleet) as running:
        yield Zoo(world, home, {miner.name: miner for miner in running})


async def is_answered(request: Any, timeout_s: float = 1.0) -> bool:
    """Whether anything comes back in this time."""
    try:
        async with asyncio.timeout(timeout_s):
            await request
    except (TimeoutError, openai.APIConnectionError):
        return False
    return True
