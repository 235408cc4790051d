"""Where a miner of these tests runs: its directory, keys, configuration, model server and the world around it."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from openai import AsyncOpenAI

from miner_sim.fleet import RunningMiner
from tests.daemon.live_world import free_port
from tests.e2e.command import TOUCHSTONE
from tests.miner import train
from tests.miner.model_server import BASE, ModelServer
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.world import ETHER, SPEC, Task, World, compact
from validator.edges.key_files import create_private
from validator.edges.keys import LocalSigner, SecretBytes
from validator.miner.daemon import MinerDaemon, open_miner
from validator.miner.settings import MinerDaemonSettings
from validator.settings_file import load_settings_of

STAKE_WEI = 10_000
MINER_SPEC = compact(SPEC | {"base_model": BASE, "method": "lora", "rank": 4})


@dataclass
class Place:
    """Everything of one miner; `how` tells the training command what to do."""

    world: World
    directory: Path
    signer: LocalSigner
    models: ModelServer
    models_url: str
    port: int
    web_port: int
    tables: dict[str, dict[str, Any]]

    @property
    def how(self) -> Path:
        return self.directory / "how"

    @property
    def config(self) -> Path:
        return self.directory / "miner.toml"

    def write(self, **changes: dict[str, Any]) -> Path:
        """The configuration, with these tables' keys changed."""
        for name, values in changes.items():
            self.tables[name] |= values
        lines = []
        for name, values in self.tables.items():
            lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        self.config.write_text("\n".join(lines) + "\n")
        return self.config

    def settings(self, **changes: dict[str, Any]) -> MinerDaemonSettings:
        return load_settings_of(MinerDaemonSettings, self.write(**changes))

    @property
    def miner(self) -> RunningMiner:
        return RunningMiner("own", self.signer.address, f"http://127.0.0.1:{self.port}")

    async def client(self) -> AsyncOpenAI:
        return await self.world.client(self.miner)

    async def deliver(self, **terms: Any) -> tuple[Task, Any, AsyncOpenAI]:
        """A task, opened and delivered; its job as it was created."""
        task = await self.world.open_task(self.signer.address, spec=MINER_SPEC, **terms)
        client = await self.client()
        return task, await deliver(client, task), client

    async def delivered(self, **terms: Any) -> Delivered:
        task, job, client = await self.deliver(**terms)
        finished = await until_finished(client, job)
        assert finished.status == "succeeded", finished.error
        return Delivered(task, self.miner, client, finished)

    @asynccontextmanager
    async def running_here(self, **changes: dict[str, Any]) -> AsyncIterator[MinerDaemon]:
        """The miner in this process; its loops for health and metrics do not run."""
        async with open_miner(self.settings(**changes)) as daemon:
            yield daemon

    async def start(self) -> Process:
        """`touchstone miner run` in a process of its own, once it is ready."""
        self.write()
        process = await asyncio.create_subprocess_exec(TOUCHSTONE, "miner", "run", "--config", self.config, stderr=PIPE)
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while (line := await process.stderr.readline()) and json.loads(line)["event"] != "ready":
                pass
        assert line, "the miner has not started"
        return process

    async def get(self, path: str) -> tuple[int, str]:
        """Of the miner's own listener."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.web_port}{path}") as response,
        ):
            return response.status, await response.text()

    def job_directory(self) -> Path:
        [directory] = (self.directory / "state" / "jobs").glob("ftjob-*")
        return directory


@asynccontextmanager
async def open_place(world: World, directory: Path) -> AsyncIterator[Place]:
    models, secret = ModelServer(), SecretBytes(os.urandom(32))
    signer = LocalSigner(secret)
    await world.fund(signer.address, ETHER)
    create_private(directory / "key", secret.reveal().hex() + "\n")
    create_private(directory / "evidence", os.urandom(32).hex() + "\n")
    async with models.running() as url:
        place = Place(world, directory, signer, models, url, free_port(), free_port(), {})
        place.how.write_text("train")
        program = [sys.executable, train.__file__]
        place.tables = {
            "network": {
                "profile": "dev",
                "chain_id": world.chain.chain_id,
                "contract": world.contract.address,
                "rpc_urls": [world.rpc_url],
            },
            "keys": {"key_file": "key"},
            "evidence": {"key_file": "evidence"},
            "state": {"directory": "state"},
            "server": {"url": f"http://127.0.0.1:{place.port}", "listen": f"127.0.0.1:{place.port}", "tls": "none"},
            "stake": {"wei": STAKE_WEI},
            "accept": {"base_model": BASE, "min_reward_wei": 1_000, "max_bond_wei": 1_500},
            "training": {
                "command": [*program, "{dataset}", "{output}", "{progress}", str(place.how)],
                "margin_seconds": 5,
                "environment": {"WORD": "of the operator's"},
            },
            "serving": {"url": url, "load": "vllm", "base_model": BASE},
            "http": {"listen": f"127.0.0.1:{place.web_port}"},
        }
        yield place


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)
