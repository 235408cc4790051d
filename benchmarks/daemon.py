"""A whole daemon at work: how many tasks it gets through, what it takes, and how soon it is back after it was killed.

The daemon is the product's own process, on a real anvil, with miners that train nothing and so are never what it waits
for; all three, and whoever looks on, share the machine.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tests.daemon.live_miners import MinerWish
from tests.daemon.live_validator import LiveValidator
from tests.daemon.live_world import LiveWorld, open_world

MINERS, IN_FLIGHT, N = 10, 40, 16
SAMPLE_S = 2.0
CHAINS: dict[str, tuple[int, tuple[str, ...]]] = {
    "with each transaction": (1_000, ()),
    "every second": (200, ("--block-time", "1")),
}
"""When there is a block: how many tasks are run through, and anvil's options."""
RESTARTED_TASKS, RESTARTS, TRAINING_S = 50, 10, 120


def measure_throughput(chain: str) -> dict[str, Any]:
    """Tasks and probes a second, resident memory and the event loop's lag, over one run."""
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_throughput(Path(scratch), chain, *CHAINS[chain]))


async def _throughput(directory: Path, chain: str, tasks: int, anvil_options: Sequence[str]) -> dict[str, Any]:
    miners = [MinerWish(f"miner-{i}", "lookup") for i in range(MINERS)]
    async with open_world(
        directory, miners, tasks=tasks, tasks_per_miner=2 * IN_FLIGHT, anvil_options=anvil_options
    ) as world:
        await world.hand_in([N] * tasks)
        validator = await world.start_validator(in_flight=IN_FLIGHT, per_miner=2 * IN_FLIGHT // MINERS)
        samples = await _follow(world, validator, tasks)
        lag = await validator.loop_lag()
        await validator.stop()
        outcomes = list((await world.outcomes()).values())
        violations = await world.find_violations()
    seconds = samples[-1]["at_s"]
    return {
        "daemon": {
            "chain": chain,
            "tasks": tasks,
            "paid": outcomes.count("paid"),
            "violations": violations,
            "seconds": round(seconds, 1),
            "tasks_per_s": round(tasks / seconds, 2),
            "probes_per_s": round(N * tasks / seconds, 1),
            "lag_p999_s": min(bound for bound, count in lag.items() if count >= 0.999 * lag[max(lag)]),
            "growth": growth([sample["mib"] for sample in samples]),
            "samples": samples,
        }
    }


async def _follow(world: LiveWorld, validator: LiveValidator, tasks: int) -> list[dict[str, float]]:
    """Seconds since the beginning, closed tasks, resident MiB and processor seconds, until all tasks are closed."""
    began_s = time.monotonic()
    samples: list[dict[str, float]] = []
    while not samples or samples[-1]["closed"] < tasks:
        await validator.live_for(SAMPLE_S)
        samples.append(
            {
                "at_s": round(time.monotonic() - began_s, 1),
                "closed": len(await world.outcomes()),
                "mib": round(validator.resident_bytes() / 2**20, 1),
                "cpu_s": round(validator.cpu_s(), 1),
            }
        )
    return samples


def growth(mib: list[float]) -> float:
    """By how much of itself memory grows in the second half: its last tenth against the tenth after the middle."""
    tenth = max(1, len(mib) // 10)
    middle = len(mib) // 2
    return round(mean(mib[-tenth:]) / mean(mib[middle : middle + tenth]) - 1, 4)


def measure_restarts(tasks: int = RESTARTED_TASKS) -> dict[str, Any]:
    """Seconds from the start of a process to ready, each after SIGKILL with so many tasks in flight."""
    with tempfile.TemporaryDirectory() as scratch:
        return asyncio.run(_restarts(Path(scratch), tasks))


async def _restarts(directory: Path, tasks: int) -> dict[str, Any]:
    miners = [MinerWish(f"miner-{i}", f"lookup:1,{TRAINING_S}") for i in range(MINERS)]
    share = {"in_flight": tasks, "per_miner": -(-tasks // MINERS)}
    seconds, in_flight = [], []
    async with open_world(directory, miners, tasks=tasks, tasks_per_miner=tasks) as world:
        await world.hand_in([N] * tasks)
        validator = await world.start_validator(**share)
        await world.wait_until_opened(tasks, validator)
        for _ in range(RESTARTS):
            in_flight.append(await world.in_flight())
            await validator.kill()
            validator = await world.start_validator(**share)
            seconds.append(round(validator.ready_after_s, 2))
        await validator.stop()
    return {"restarts": {"in_flight": min(in_flight), "seconds": seconds}}


def describe(cell: dict[str, Any]) -> str:
    """A line for whoever waits for the measurement."""
    if "restarts" in cell:
        return f"ready after {cell['restarts']['seconds']} s"
    figures = cell["daemon"]
    return (
        f"{figures['tasks_per_s']} tasks/s, {figures['samples'][-1]['mib']} MiB, grown by {figures['growth']:.1%}, "
        f"loop lag p99.9 within {figures['lag_p999_s']} s"
    )
