"""How fast an auditor gets through a chain of settled tasks from events alone, and what memory that takes.

The tasks are real ones: every call is a transaction to the shipped contract on revm, with real commitments, rows and
signatures, four to a task and each in a block of its own. The auditor is the product's own process; the node that it
asks over HTTP is this one.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.daemon import growth
from contracts import TaskState
from tests.audit.chains import PublicNode, RecordedChain
from tests.contracts.evm import Contract
from tests.contracts.market import FUNDS_WEI, Market
from tests.contracts.rounds import PAYER

TASKS, N = 10_000, 16
REFUNDED_EVERY = 10
"""Of the tasks, one in so many is refunded, with its rows proved; the others are paid."""
TOUCHSTONE = Path(sys.executable).with_name("touchstone")
SAMPLE_S = 1.0


class _Market(Market):
    """Whose books are not compared after every call."""

    send = Contract.send


def measure_onchain(tasks: int = TASKS) -> dict[str, Any]:
    """Tasks a second, and the auditor's resident memory while it works."""
    market = _Market(RecordedChain())
    market.chain.fund(PAYER.address, tasks * FUNDS_WEI)
    market.call(PAYER.address, "deposit", value_wei=tasks * FUNDS_WEI)
    for number in range(tasks):
        hits = N // 2 if number % REFUNDED_EVERY == 0 else N
        market.settle(market.reach(TaskState.SUBMITTED, n=N), hits)
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_audit(market, tasks, Path(scratch)))


async def _audit(market: Market, tasks: int, directory: Path) -> dict[str, Any]:
    assert isinstance(market.chain, RecordedChain)
    node, report_file = PublicNode(market.chain, market.address), directory / "report.json"
    async with node.serving() as url:
        began_s = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(TOUCHSTONE, "audit", "--rpc", url, "--contract", market.address, "--json", report_file),
            stdout=asyncio.subprocess.DEVNULL,
        )
        samples = await _follow(process)
        seconds = time.monotonic() - began_s
    summary = json.loads(report_file.read_text())["summary"]
    assert (process.returncode, summary["tasks"], summary["severities"]) == (0, tasks, {})
    return {
        "audit": {
            "tasks": tasks,
            "n": N,
            "outcomes": summary["outcomes"],
            "seconds": round(seconds, 1),
            "tasks_per_s": round(tasks / seconds, 1),
            "cpu_s": samples[-1]["cpu_s"],
            "peak_mib": max(sample["mib"] for sample in samples),
            "growth": growth([sample["mib"] for sample in samples]),
            "requests": len(node.asked),
            "samples": samples,
        }
    }


async def _follow(process: asyncio.subprocess.Process) -> list[dict[str, float]]:
    """Resident MiB and processor seconds of the auditor, until it ends."""
    watched, began_s, samples = psutil.Process(process.pid), time.monotonic(), []
    waiting = asyncio.create_task(process.wait())
    while not waiting.done():
        await asyncio.wait([waiting], timeout=SAMPLE_S)
        try:
            mib, cpu = watched.memory_info().rss / 2**20, watched.cpu_times()
        except psutil.NoSuchProcess:
            break
        at_s = round(time.monotonic() - began_s, 1)
        samples.append({"at_s": at_s, "mib": round(mib, 1), "cpu_s": round(cpu.user + cpu.system, 1)})
    await waiting
    return samples


def describe(cell: dict[str, Any]) -> str:
    """A line for whoever waits for the measurement."""
    figures = cell["audit"]
    return (
        f"{figures['tasks']} tasks in {figures['seconds']} s ({figures['tasks_per_s']} tasks/s), "
        f"{figures['peak_mib']} MiB at most, grown by {figures['growth']:.1%}"
    )
