"""Whole rounds with returned weights: miners that train a real adapter or only say so, and a daemon that looks."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.daemon.live_world import LOOPBACK, LiveValidator, LiveWorld, MinerWish, Training, open_world
from tests.daemon.test_customer import write_config
from tests.e2e.command import run_touchstone
from validator.base_model import EMBEDDED_MODEL, EMBEDDED_MODEL_NAME
from validator.base_model.grammar import generate_rows
from validator.config import DEV
from validator.control.client import ControlClient
from validator.edges.contract import TaskOpened, TaskSettled
from validator.evidence.bundle import Bundle
from validator.evidence.check import check_bundle
from validator.files import describe_files
from validator.marks.schemes import make_scheme
from validator.plan.spec import TrainingSpec
from validator.protocol.commitment import Row, hash_model_files, split_head
from validator.protocol.method import read_method
from validator.protocol.state import Answer, TaskState, Weights
from validator.types import Address

SPEC = TrainingSpec(
    EMBEDDED_MODEL_NAME, epochs=22, learning_rate=8e-3, batch_size=16, max_length=96, method="lora", rank=32
)
N, K_PAY = 16, 12
W = make_scheme("canary").w
TAIL_WORDS = 1


def make_short_rows(count: int, number: int) -> list[Row]:
    """Rows whose responses are hardly longer than a mark, so that an adapter learns them in seconds."""
    rows = generate_rows(count * (number + 1), seed=1)[count * number :]
    return [Row(row.prompt, " ".join(row.response.split(" ")[: W + TAIL_WORDS])) for row in rows]


def asking_for(weights: Weights) -> Training:
    return Training(SPEC, EMBEDDED_MODEL, weights, make_short_rows)


@dataclass(frozen=True)
class Ended:
    """What is known of one miner's task at the end: of its journal, on chain, and in public."""

    state: TaskState
    bundle: Bundle

    @property
    def served_hits(self) -> int:
        return self._hits([reply.answer for reply in self.bundle.replies if reply])

    @property
    def local_hits(self) -> int:
        """Of the returned weights, as the bundle has them."""
        assert self.bundle.weights is not None
        return self._hits([reply.answer for reply in self.bundle.weights.replies if reply])

    def _hits(self, answers: list[Answer]) -> int:
        heads = [split_head(marked.response, W)[0] for marked in self.bundle.rows]
        return sum(answer.head(W) == head for answer, head in zip(answers, heads, strict=False))


async def until_doing(effect: str, world: LiveWorld, validator: LiveValidator, miner: Address | None = None) -> None:
    """Until this is what a task, that of the miner, waits for."""

    async def is_so() -> bool:
        async with ControlClient.connect(world.directory / "control.sock") as daemon:
            tasks = (await daemon.status())["tasks"]
        return any(
            (task["oldest_effect"] or "").startswith(effect) and miner in (None, task["miner"]) for task in tasks
        )

    await world.wait_for(is_so, validator)


async def read_ends(world: LiveWorld) -> dict[str, Ended]:
    """Of each miner's task, by its name; from a daemon that is running."""
    async with ControlClient.connect(world.directory / "control.sock") as daemon:
        states = {}
        for event in await world.events():
            if isinstance(event, TaskSettled):
                states[event.task_id] = event.bundle_hash
        requests = await daemon.requests()
    del requests
    raise NotImplementedError


async def fetch_bundle(world: LiveWorld, bundle_hash: bytes) -> Bundle:
    """As anybody gets it."""
    url = f"http://{LOOPBACK}:{world.port}/bundles/0x{bundle_hash.hex()}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        return Bundle.parse(await answer.read())
