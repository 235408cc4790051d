"""What `deploy/compose.yaml` runs, run as processes of this machine: the same commands, files and variables.

Only what a container would give is put in its place: folders for volumes, loopback for the other services' names.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.daemon.live_world import free_port
from tests.deploy.tools import DEPLOY, find
from tests.support import require_or_skip
from validator.edges.devnet import _find_anvil
from validator.errors import BadInput

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PATIENCE_S = 120.0
POLL_S = 0.25


@dataclass
class LocalNetwork:
    """Processes by the name of their service; ports are free ones."""

    home: Path
    validator_port: int = field(default_factory=free_port)
    chain_port: int = field(default_factory=free_port)
    prometheus_port: int = field(default_factory=free_port)
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def chain_url(self) -> str:
        return f"http://127.0.0.1:{self.chain_port}"

    def _here(self, text: str, service: str) -> str:
        """A word of the compose file as it is on this machine."""
        volume = "miners" if service == "miners" else "validator"
        for there, here in {
            "/etc/touchstone/": f"{DEPLOY}/config/",
            "/var/lib/touchstone": str(self.home / volume),
            "/local/": f"{DEPLOY}/local/",
            "/chain/": f"{self.home}/chain/",
            "http://chain:8545": self.chain_url,
            "0.0.0.0:9879": f"127.0.0.1:{self.validator_port}",
            "127.0.0.1:9879": f"127.0.0.1:{self.validator_port}",
            "0.0.0.0": "127.0.0.1",  # noqa: S104 - where containers listen
        }.items():
            text = text.replace(there, here)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """The image's variables, and the service's over them; of this machine's only what no setting is."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTONE_")}
        image = dict(re.findall(r"^(?:ENV|   ) (TOUCHSTONE_\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
        given = image | SERVICES[service].get("environment", {})
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        return kept | {name: self._here(value, service) for name, value in given.items()} | {"PATH": path}

    def command(self, service: str, *more: str) -> list[str]:
        """The service's own, or the image's."""
        chosen = SERVICES[service]
        words = chosen.get("entrypoint", []) + chosen.get("command", [])
        if chosen["image"] == "touchstone" and not words:
            words = [
                word
                for line in re.findall(r"^(?:ENTRYPOINT|CMD) (.*)", DOCKERFILE, re.MULTILINE)
                for word in json.loads(line)
            ]
        program, *arguments = (self._here(word, service) for word in words)
        return [{"python": sys.executable}.get(program, program), *arguments, *more]

    async def start(self, service: str, command: list[str] | None = None) -> Process:
        folder = self.home / ("miners" if service == "miners" else "validator")
        with (self.home / f"{service}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(command or self.command(service)),
                env=self.environment(service) if SERVICES[service]["image"] == "touchstone" else None,
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes[service] = process
        return process

    async def finish(self, service: str) -> None:
        """Run it until it ends, as it must."""
        assert await (await self.start(service)).wait() == 0, self.log(service)

    async def stop(self, service: str) -> None:
        """As Docker does, within the time that the compose file gives."""
        process = self.processes.pop(service)
        process.terminate()
        async with asyncio.timeout(30):
            status = await process.wait()
        assert status == 0, self.log(service)

    def log(self, service: str) -> str:
        return (self.home / f"{service}.log").read_text()[-3000:]

    async def wait_for_health(self, service: str, check: list[str]) -> None:
        """Until the check of the container's health is content."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                process = await asyncio.create_subprocess_exec(*check, stderr=asyncio.subprocess.DEVNULL)
                if await process.wait() == 0:
                    return
                assert self.processes[service].returncode is None, self.log(service)
                await asyncio.sleep(POLL_S)

    async def query(self, path: str, **parameters: str) -> Any:
        """What Prometheus' API answers."""
        url = f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    async def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """Until the expression has a result."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := (await self.query("query", query=expression))["result"]):
                for service, process in self.processes.items():
                    assert process.returncode is None, f"{service} has ended: {self.log(service)}"
                await asyncio.sleep(POLL_S)
        return found


@asynccontextmanager
async def running_network(home: Path) -> AsyncIterator[LocalNetwork]:
    """Chain, validator, miners and Prometheus, healthy, in the order in which compose starts them."""
    network = LocalNetwork(home)
    prometheus = find("prometheus")
    try:
        anvil = _find_anvil()
    except BadInput as error:
        require_or_skip(str(error))
    for folder in ("chain", "validator", "miners", "prometheus"):
        (home / folder).mkdir(mode=0o700)
    shutil.copytree(DEPLOY / "prometheus", home / "config")
    for name, there, here in (
        ("prometheus.yml", "validator:9879", f"127.0.0.1:{network.validator_port}"),
        ("prometheus.yml", "interval: 15s", "interval: 1s"),
        ("rules/recording.yaml", "interval: 1m", "interval: 1s"),
    ):
        path = home / "config" / name
        assert there in path.read_text()
        path.write_text(path.read_text().replace(there, here))
    (health,) = re.findall(r"^HEALTHCHECK .*\n +CMD (.*)", DOCKERFILE, re.MULTILINE)
    check = [sys.executable, *(network._here(word, "validator") for word in json.loads(health)[1:])]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_kill, network)
        await network.start("chain", [anvil, *network.command("chain", "--port", str(network.chain_port))[1:]])
        await _wait_for_port(network.chain_port)
        await network.finish("prepare")
        del network.processes["prepare"]
        await network.start("validator")
        await network.wait_for_health("validator", check)
        await network.start("miners")
        flags = [f"--config.file={home}/config/prometheus.yml", f"--storage.tsdb.path={home}/prometheus"]
        listen = f"--web.listen-address=127.0.0.1:{network.prometheus_port}"
        await network.start("prometheus", [prometheus, *flags, listen])
        await _wait_for_port(network.prometheus_port)
        yield network


async def _wait_for_port(port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(POLL_S)
                continue
            writer.close()
            return


async def _kill(network: LocalNetwork) -> None:
    for process in network.processes.values():
        if process.returncode is None:
            process.kill()
        await process.wait()
