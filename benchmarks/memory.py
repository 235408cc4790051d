"""What the daemon holds in memory with many tasks open, and what planting takes at its peak (proportional set size)."""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.daemon import MINERS, N
from benchmarks.measure import TOUCHSTONE, pss_mib, wait_for_peak_pss
from benchmarks.repeats import REPEATS
from tests.daemon.live_miners import MinerWish
from tests.daemon.live_validator import LiveValidator
from tests.daemon.live_world import open_world
from validator.base_model.grammar import generate_rows

OPEN_TASKS = (0, 50, 500)
"""In ascending order: what is open stays open."""
TRAINING_S = 3_000
"""Longer than the measurement."""
SAMPLE_S = 2.0
PLANTING_SAMPLE_S = 0.1
PLANTED_ROWS = (1_000, 10_000)


def measure_daemon(open_tasks: Sequence[int] = OPEN_TASKS, samples: int = REPEATS) -> dict[str, Any]:
    """MiB of a daemon that is started anew for each of these numbers of open tasks, after the last was opened."""
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_daemon(Path(scratch), open_tasks, samples))


async def _daemon(directory: Path, open_tasks: Sequence[int], samples: int) -> dict[str, Any]:
    most = max(open_tasks)
    miners = [MinerWish(f"miner-{i}", f"lookup:1,{TRAINING_S}") for i in range(MINERS)]
    mib: dict[str, list[float]] = {}
    async with open_world(directory, miners, tasks=most, tasks_per_miner=most) as world:
        for count in open_tasks:
            await world.hand_in([N] * (count - len(world.plantings)))
            validator = await world.start_validator(in_flight=max(1, count), per_miner=max(1, -(-count // MINERS)))
            await world.wait_until_opened(count, validator)
            mib[str(count)] = await _look(validator, samples)
            await validator.stop()
    return {"memory": {"of": "daemon", "mib": mib}}


async def _look(validator: LiveValidator, samples: int) -> list[float]:
    """What the process has at each of so many looks; its children, which load models, are left out."""
    found = []
    for _ in range(samples):
        await validator.live_for(SAMPLE_S)
        found.append(pss_mib(validator.process.pid))
    return found


def measure_planting(rows: int, repeats: int = REPEATS) -> dict[str, Any]:
    """Peak MiB and seconds of `touchstone plant` with the embedded model, one entry a repetition."""
    mib, seconds = [], []
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "rows.jsonl"
        lines = ({"prompt": row.prompt, "response": row.response} for row in generate_rows(rows, seed=0))
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        for number in range(repeats):
            out, secret = Path(scratch) / f"{number}.jsonl", Path(scratch) / f"{number}.json"
            began_s = time.monotonic()
            process = subprocess.Popen(
                [TOUCHSTONE, "plant", data, "--out", out, "--secret", secret],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            mib.append(round(wait_for_peak_pss(process, PLANTING_SAMPLE_S) / 2**20, 1))
            seconds.append(round(time.monotonic() - began_s, 2))
            if process.returncode:
                raise RuntimeError(f"touchstone plant: {process.stderr.read() if process.stderr else ''}".strip())
    return {"memory": {"of": "planting", "rows": rows, "mib": mib, "seconds": seconds}}


def describe(cell: dict[str, Any]) -> str:
    """A line for whoever waits for the measurement."""
    mib = cell["memory"]["mib"]
    levels = mib if isinstance(mib, dict) else {f"{cell['memory']['rows']} rows": mib}
    return ", ".join(f"{level}: {median(found):.0f} MiB" for level, found in levels.items())
