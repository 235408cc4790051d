"""A validator's process, seen from outside: its web listener, its memory, its end."""

import asyncio
import time
from asyncio.subprocess import Process
from collections import Counter
from pathlib import Path

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 60.0
READY_POLL_S = 0.05
LOG_SHOWN_CHARS = 2_000


class LiveValidator:
    """`log` is where it writes, `port` that of its web listener."""

    def __init__(self, process: Process, log: Path, port: int) -> None:
        self.process = process
        self._log = log
        self._url = f"http://{LOOPBACK}:{port}"
        self._began_s = time.monotonic()
        self.ready_after_s = 0.0
        """From its start until it was ready."""

    async def wait_until_ready(self, block: int) -> None:
        """Until /readyz says so and everything up to this block has been read."""
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await self._is_ready(block):
                self.check_alive()
                await asyncio.sleep(READY_POLL_S)
        self.ready_after_s = time.monotonic() - self._began_s

    async def _is_ready(self, block: int) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self._url}/readyz") as answer:
                if answer.status != 200:
                    return False
            return (await self.metrics())["touchstone_chain_final_block"] >= block
        except aiohttp.ClientError:
            return False

    async def metrics(self) -> dict[str, float]:
        """Every metric without labels, by its name; a bucket of a histogram by name and bound."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._url}/metrics") as answer:
            families = text_string_to_metric_families(await answer.text())
        return {
            sample.name + sample.labels.get("le", ""): sample.value
            for family in families
            for sample in family.samples
            if sample.labels.keys() <= {"le"}
        }

    async def loop_lag(self) -> Counter[float]:
        """How many measurements of the event loop's lag did not exceed each bound, in seconds."""
        name = "touchstone_event_loop_lag_seconds_bucket"
        metrics = await self.metrics()
        return Counter({float(key.removeprefix(name)): int(metrics[key]) for key in metrics if key.startswith(name)})

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def check_alive(self) -> None:
        if self.process.returncode is not None:
            end = self._log.read_text()[-LOG_SHOWN_CHARS:]
            raise AssertionError(f"the validator has ended with status {self.process.returncode}: {end}")

    async def live_for(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.check_alive()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit status, and how many seconds it took."""
        began_s = time.monotonic()
        self.process.terminate()
        return await self.process.wait(), time.monotonic() - began_s
