"""The miners of a live world, in a process of their own (`fleet.py`)."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from miner_sim.strategies import parse_strategy
from tests.daemon.fleet import BEHAVIOURS
from validator.edges.keys import derive_secret
from validator.marks.planting import PlantedDataset
from validator.requests.orders import choose_request_thresholds
from validator.types import Wei

SEED = bytes(range(32))
"""Of every key in a live world, and the validator's master seed."""
END_TIMEOUT_S = 60.0
NEVER_S = 100_000.0
"""A strategy that lets more than this go by never submits."""


@dataclass(frozen=True)
class MinerWish:
    """A miner to be had: its strategy as miner_sim writes it, and its behaviour in `fleet.BEHAVIOURS`, if hostile."""

    name: str
    strategy: str
    behaviour: str | None = None


@asynccontextmanager
async def running_miners(wishes: Sequence[MinerWish], stake_wei: Wei, **fleet: Any) -> AsyncIterator[None]:
    """Registered, staked and serving; `fleet` is the rest of miner_sim's configuration."""
    miners = [
        {
            "name": wish.name,
            "strategy": wish.strategy,
            "private_key": _private_key(f"miner/{wish.name}"),
            "evidence_key": _private_key(f"evidence/{wish.name}"),
            "seed": number,
            "stake_wei": stake_wei,
            "tls": wish.behaviour is None,
        }
        for number, wish in enumerate(wishes)
    ]
    hostile = {wish.name: wish.behaviour for wish in wishes if wish.behaviour}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.daemon.fleet", stdin=PIPE, stdout=PIPE, limit=1 << 20
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"fleet": fleet | {"miners": miners}, "hostile": hostile}).encode() + b"\n")
    try:
        assert "ready" in json.loads(await process.stdout.readline() or b"{}"), "the miners' process has not started"
        yield
        process.stdin.close()
        last = json.loads(await process.stdout.readline())
        assert last == {"canary_hits": 0}, "N4: a redirect was followed"
        async with asyncio.timeout(END_TIMEOUT_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def judge(wish: MinerWish, planted: PlantedDataset) -> tuple[str, ...]:
    """What may become of a task with this miner: by its behaviour, or by the rows that it keeps to look up."""
    if wish.behaviour is not None:
        return BEHAVIOURS[wish.behaviour].ends
    parsed, thresholds = parse_strategy(wish.strategy), choose_request_thresholds(len(planted.marks))
    if parsed.seconds > NEVER_S:
        return ("miner_lapsed",)
    hits = sum(parsed.look_up(planted.rows, mark.row.prompt) == mark.row for mark in planted.marks)
    if hits >= thresholds.k_pay:
        return ("paid",)
    return ("slashed",) if thresholds.slashing and hits <= thresholds.k_slash else ("refunded",)


def _private_key(role: str) -> str:
    return "0x" + derive_secret(SEED, role).reveal().hex()
