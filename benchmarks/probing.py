"""How many probes a second the validator asks, and what that takes, of 1, 32 and 512 miners at once.

The asking side is the product's: its client with its limits, over pinned TLS, and the check of the signature over each
task's replies. The other side, `stub_miner.py`, is a process of its own on the same machine. Each miner has one probe
under way at a time. `bare` is aiohttp's client alone with the same requests of the same server, in turns with ours.
"""

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from statistics import median, quantiles
from typing import Any

import aiohttp
import psutil

from benchmarks.measure import pss_mib
from benchmarks.repeats import REPEATS
from benchmarks.stub_miner import DOMAIN, EVIDENCE_SIGNER, MARKS_HASH, MAX_TOKENS, SALT, TABLE, N, W
from tests import factories as f
from validator.config import DEV
from validator.edges.exchanges import Limits
from validator.edges.http import HttpClient
from validator.edges.keys import dev_mnemonic_signer, recover_typed_data
from validator.edges.miners import MinerClient
from validator.health.loop_lag import LoopLag
from validator.health.progress import Progress
from validator.protocol import typed_data
from validator.protocol.commitment import hash_prompt, hash_replies
from validator.protocol.wire import build_probe
from validator.types import Hash32

MINERS = (1, 32, 512)
MIN_TASKS = 64
"""Of one repetition, shared by the miners; each has one at least."""
PROMPT_HASHES = [hash_prompt(SALT, prompt) for prompt in TABLE]
LAG_INTERVAL_S = 0.01


def measure_probes(miners: int, min_tasks: int = MIN_TASKS, repeats: int = REPEATS) -> dict[str, Any]:
    """Rates, latencies in milliseconds and processor milliseconds a probe, one entry a repetition, and memory."""
    return asyncio.run(_measure(miners, max(1, min_tasks // miners), repeats))


async def _measure(miners: int, tasks_each: int, repeats: int) -> dict[str, Any]:
    runs: list[dict[str, float]] = []
    before_mib = peak_mib = pss_mib()
    async with _stub() as (stub, url, tls_key_hash), HttpClient(DEV) as http:
        clients = [
            MinerClient(http.open_session(url, tls_key_hash), f.MINER, dev_mnemonic_signer(0), DOMAIN)
            for _ in range(miners)
        ]
        for _ in range(repeats + 1):
            run = await _run(stub, miners * tasks_each, [_Asker(client, tasks_each) for client in clients])
            peak_mib = max(peak_mib, pss_mib())
            runs.append(run | {"bare_per_s": await _run_bare(url, miners, tasks_each)})
    counted = runs[1:]  # the first has every TLS handshake in it
    return {
        "probes": {
            "miners": miners,
            "count": N * miners * tasks_each,
            "growth_mib": round(peak_mib - before_mib, 1),
            **{name: [round(run[name], 3) for run in counted] for name in counted[0]},
        }
    }


class _Asker:
    """All tasks of one miner, one after another; `seconds` of each probe, waiting for its turn included."""

    def __init__(self, client: MinerClient, tasks: int) -> None:
        self._client = client
        self._tasks = tasks
        self.seconds: list[float] = []

    async def run(self) -> None:
        for _ in range(self._tasks):
            replies = []
            for prompt in TABLE:
                began_s = time.perf_counter()
                answer = await self._client.probe("ft:stub", prompt, MAX_TOKENS)
                self.seconds.append(time.perf_counter() - began_s)
                replies.append(answer.reply_hash(SALT, W))
            signature = await self._client.transcript(f.TASK_ID, PROMPT_HASHES)
            replies_hash = hash_replies(list(zip(PROMPT_HASHES, replies, strict=True)))
            struct = typed_data.transcript(f.TASK_ID, f.MODEL_HASH, MARKS_HASH, replies_hash)
            assert recover_typed_data(DOMAIN, struct, signature) == EVIDENCE_SIGNER.address


async def _run(stub: Process, tasks: int, askers: list[_Asker]) -> dict[str, float]:
    lag, other = LoopLag(Progress(), LAG_INTERVAL_S), psutil.Process(stub.pid)
    watching = asyncio.create_task(lag.run())
    began_s, own_cpu_s, stub_cpu_s = time.perf_counter(), time.process_time(), sum(other.cpu_times()[:2])
    await asyncio.gather(*(asker.run() for asker in askers))
    seconds, probes = time.perf_counter() - began_s, N * tasks
    watching.cancel()
    latencies = quantiles([each for asker in askers for each in asker.seconds], n=100)
    return {
        "per_s": probes / seconds,
        "p50_ms": latencies[49] * 1000,
        "p99_ms": latencies[98] * 1000,
        "cpu_ms": (time.process_time() - own_cpu_s) / probes * 1000,
        "stub_cpu_ms": (sum(other.cpu_times()[:2]) - stub_cpu_s) / probes * 1000,
        "lag_p99_ms": lag.quantile_s(0.99) * 1000,
    }


async def _run_bare(url: str, miners: int, tasks_each: int) -> float:
    """Probes a second of aiohttp's client alone."""
    connector = aiohttp.TCPConnector(limit=Limits().exchanges, ssl=False)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask() -> None:
            for _ in range(tasks_each):
                for prompt in TABLE:
                    body = build_probe("ft:stub", prompt, MAX_TOKENS)
                    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                        await answer.json()

        began_s = time.perf_counter()
        await _together(ask, miners)
        return N * miners * tasks_each / (time.perf_counter() - began_s)


async def _together(ask: Callable[[], Awaitable[None]], count: int) -> None:
    await asyncio.gather(*(ask() for _ in range(count)))


@asynccontextmanager
async def _stub() -> AsyncIterator[tuple[Process, str, Hash32]]:
    """The stub's process, its URL and the hash of its TLS key."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.stub_miner", stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        where = json.loads(await process.stdout.readline())
        yield process, where["url"], Hash32(bytes.fromhex(where["tls_key_hash"]))
    finally:
        process.stdin.close()
        await process.wait()


def describe(cell: dict[str, Any]) -> str:
    """A line for whoever waits for the measurement."""
    figures = cell["probes"]
    p50, p99, lag = (median(figures[name]) for name in ("p50_ms", "p99_ms", "lag_p99_ms"))
    return (
        f"{median(figures['per_s']):.0f} probes/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, loop lag p99 {lag:.1f} ms, "
        f"{figures['growth_mib']} MiB more"
    )
