"""`touchstone validator run` as an operator's machine treats it: ended in the middle of its work, short of files."""

import sys
from pathlib import Path

import pytest

from tests.daemon.live_miners import MinerWish
from tests.daemon.live_world import open_world

TOUCHSTONE = str(Path(sys.executable).with_name("touchstone"))
STOP_LIMIT_S = 10.0
FEW_FILES = 44
"""Enough for itself and a few miners."""


async def test_it_ends_in_time_with_tasks_in_flight_and_goes_on_with_them_afterwards(tmp_path: Path) -> None:
    """P1; complaint 1."""
    miners = [MinerWish("a", "lookup:1,4"), MinerWish("b", "lookup:1,6")]
    async with open_world(tmp_path, miners, tasks=6, tasks_per_miner=3) as world:
        await world.hand_in([16] * 6)
        command = [TOUCHSTONE, "validator", "run", "--config", str(world.write_config(in_flight=6, per_miner=3))]
        validator = await world.start(command)
        await world.wait_until_opened(4, validator)
        assert await world.in_flight() > 0
        status, seconds = await validator.stop()
        assert (status, seconds < STOP_LIMIT_S) == (0, True)
        validator = await world.start(command)
        await world.wait_until_closed(6, validator)
        assert await validator.stop() <= (0, STOP_LIMIT_S)
        assert set((await world.outcomes()).values()) == {"paid"}
        assert await world.find_violations() == []


@pytest.mark.soak  # A minute.
async def test_short_of_file_descriptors_it_finishes_what_it_has(tmp_path: Path) -> None:
    """P15."""
    miners = [MinerWish(f"m{i}", "lookup:1,2") for i in range(12)]
    async with open_world(tmp_path, miners, tasks=12) as world:
        await world.hand_in([16] * 12)
        command = [TOUCHSTONE, "validator", "run", "--config", str(world.write_config(in_flight=12, per_miner=1))]
        validator = await world.start(["sh", "-c", f'ulimit -n {FEW_FILES}; exec "$@"', "sh", *command])
        await world.wait_until_closed(12, validator)
        assert (await validator.stop())[0] == 0
        assert set((await world.outcomes()).values()) == {"paid"}
        assert await world.find_violations() == []
