"""A live daemon is killed outright at random moments: every task ends as its miner made it end, and nothing twice.

The whole of it, 50 tasks and ten deaths, is in `make soak`; `make test` has a share.
"""

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.daemon.live_miners import MinerWish
from tests.daemon.live_world import open_world

LONGEST_LIFE_S = 5.0
SEED = 20_351
MARK_COUNTS = (64, 16, 16, 16, 16)
"""One task in five may be slashed."""


def make_miners(tasks: int) -> list[MinerWish]:
    """Who is paid, refunded, slashed and late: all train for so long that every task is open when the first is done."""
    shortest_s = 1.5 * tasks
    return [
        MinerWish("honest", f"lookup:1,{shortest_s}"),
        MinerWish("slow", f"lookup:1,{1.5 * shortest_s}"),
        MinerWish("half", f"lookup:0.4,{1.2 * shortest_s}"),
        MinerWish("cheat", f"lookup:0.02,{1.3 * shortest_s}"),
        MinerWish("idle", "lookup:1,1e6"),
        MinerWish("unwilling", "lookup", "never accepts"),
    ]


@pytest.mark.parametrize(
    ("tasks", "kills", "recovery_limit_s"),
    [
        (8, 3, 60.0),  # beside other tests
        pytest.param(50, 10, 10.0, marks=[pytest.mark.soak, pytest.mark.timeout(1_200)]),
    ],
)
async def test_every_task_ends_as_it_would_have_however_often_the_daemon_is_killed(
    tmp_path: Path, tasks: int, kills: int, recovery_limit_s: float
) -> None:
    """P1, P3, P4, P6, I3, I4; complaint 1: scores that are lost with every restart."""
    dice, miners = random.Random(SEED), make_miners(tasks)
    share = {"in_flight": tasks, "per_miner": -(-tasks // len(miners))}
    recoveries_s = []
    async with open_world(tmp_path, miners, tasks=tasks, tasks_per_miner=tasks) as world:
        await world.hand_in([MARK_COUNTS[number % len(MARK_COUNTS)] for number in range(tasks)])
        validator = await world.start_validator(**share)
        for kill in range(kills):
            if kill == 1:  # The first one comes while tasks are being opened.
                await world.wait_until_opened(tasks, validator)
            await validator.live_for(dice.uniform(0, LONGEST_LIFE_S))
            await validator.kill()
            validator = await world.start_validator(**share)
            recoveries_s.append(round(validator.ready_after_s, 1))
        late = await world.count_late()
        await world.wait_until_closed(tasks - late, validator)
        await world.pass_deadlines(validator)
        await validator.stop()
        outcomes, expected = await world.outcomes(), await world.expected_outcomes()
        print(f"seed {SEED}: ready again after {recoveries_s} s; {dict(Counter(outcomes.values()))}")
        assert await world.find_violations() == []
        assert {task: outcome for task, outcome in outcomes.items() if outcome not in expected[task]} == {}
        assert max(recoveries_s) < recovery_limit_s
        assert {"paid", "refunded"} <= set(outcomes.values())
