"""32 hostile miners beside 8 honest ones: the honest are paid as if alone, and the daemon stays small and quick."""

import math
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.daemon.fleet import ANSWERED_ON_CHAIN, BEHAVIOUR_NAMES, BEHAVIOURS
from tests.daemon.live_miners import MinerWish
from tests.daemon.live_validator import LiveValidator
from tests.daemon.live_world import LiveWorld, open_world

HONEST, HONEST_TASKS, HOSTILE = 8, 24, 32
TRAINED = sum(BEHAVIOURS[name].ends == ANSWERED_ON_CHAIN for name in BEHAVIOUR_NAMES)
"""Those that are hostile only after that."""
TRAINING_S = 1.25 * HOSTILE
"""So long that each has its task before one of them has ended its own."""
MAX_RESIDENT_BYTES = 512 << 20
MAX_LAG_S = 0.25


@pytest.mark.parametrize("torture_s", [15.0, pytest.param(300.0, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)])])
async def test_hostile_miners_cost_neither_the_daemon_nor_honest_miners_anything(
    tmp_path: Path, torture_s: float
) -> None:
    """N1 to N4, N12, N13, N15, N16, P15; complaints 2 and 7."""
    assert len(BEHAVIOUR_NAMES) == HOSTILE
    miners = [MinerWish(f"honest-{i}", "lookup") for i in range(HONEST)]
    miners += [MinerWish(f"hostile-{i}", f"lookup:1,{TRAINING_S}", name) for i, name in enumerate(BEHAVIOUR_NAMES)]
    figures = Figures()
    async with open_world(tmp_path, miners, tasks=HOSTILE + HONEST_TASKS) as world:
        honest = [address for address, wish in world.miners.items() if wish.behaviour is None]
        hostile = [address for address in world.miners if address not in honest]
        await world.hand_in([16] * HOSTILE)
        validator = await world.start_validator(in_flight=len(miners), per_miner=1, deny=honest)
        await world.wait_until_opened(HOSTILE, validator)
        await figures.end(validator)
        # They keep what they have, and the others get what comes.
        await world.hand_in([16] * HONEST_TASKS)
        validator = await world.start_validator(in_flight=len(miners), per_miner=1, deny=hostile)
        await world.wait_until_paid(honest, HONEST_TASKS, validator)
        await world.wait_until_submitted(HONEST_TASKS + TRAINED, validator)
        await figures.watch(validator, torture_s)
        await world.pass_deadlines(validator)
        await figures.end(validator)
        print(f"resident {figures.resident_bytes >> 20} MiB, loop lag p99.9 up to {figures.lag_s(0.999)} s")
        await _judge(world)
    assert figures.resident_bytes < MAX_RESIDENT_BYTES
    assert figures.lag_s(0.999) <= MAX_LAG_S


class Figures:
    """Of all the lives of a daemon."""

    def __init__(self) -> None:
        self.resident_bytes = 0
        self._lag: Counter[float] = Counter()

    async def watch(self, validator: LiveValidator, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            self.resident_bytes = max(self.resident_bytes, validator.resident_bytes())
            await validator.live_for(0.5)

    async def end(self, validator: LiveValidator) -> None:
        self._lag += await validator.loop_lag()
        self.resident_bytes = max(self.resident_bytes, validator.resident_bytes())
        await validator.stop()

    def lag_s(self, quantile: float) -> float:
        """The least bound that this share of all measurements did not exceed."""
        return min(bound for bound, count in self._lag.items() if count >= quantile * self._lag[math.inf])


async def _judge(world: LiveWorld) -> None:
    outcomes, expected = await world.outcomes(), await world.expected_outcomes()
    assert {task: outcome for task, outcome in outcomes.items() if outcome not in expected[task]} == {}
    served = Counter(world.miners[miner].behaviour for miner in (await world.miners_of_tasks()).values())
    assert served == {None: HONEST_TASKS} | dict.fromkeys(BEHAVIOUR_NAMES, 1)
    assert await world.find_violations() == []
