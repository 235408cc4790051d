"""Health that means progress: each thing that may stand still is seen, and only a wedge is a reason to kill."""

import asyncio
import time

import pytest

from validator.health.loop_lag import LoopLag
from validator.health.progress import ALIVE, READY, TURNING, Progress


class Clock:
    """A Progress whose time is told to it."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.effect_age_s, self.stop_reason = 0.0, None
        self.progress = Progress(
            oldest_effect_age_s=lambda: self.effect_age_s, journal_stop_reason=lambda: self.stop_reason
        )
        self.progress._clock = lambda: self.now_s
        self.move()

    def move(self, *parts: str) -> None:
        """These parts move now; all of them, if none is named."""
        if not parts or "loop" in parts:
            self.progress.loop_turned()
        if not parts or "head" in parts:
            self.progress.head_polled(is_new=True)
        elif "head_poll" in parts:
            self.progress.head_polled(is_new=False)

    def verdicts(self) -> tuple[bool, bool, bool]:
        return self.progress.ready().is_ok, self.progress.alive().is_ok, self.progress.turning().is_ok


@pytest.fixture
async def clock() -> Clock:
    return Clock()


def test_what_is_killed_for_is_a_part_of_what_is_looked_at():
    assert TURNING.items() <= ALIVE.items()
    assert READY["head"] < ALIVE["head"]
    assert READY["loop"] < ALIVE["loop"]


async def test_a_daemon_in_which_everything_moves_is_ready_and_alive(clock: Clock):
    assert clock.verdicts() == (True, True, True)
    assert str(clock.progress.ready()) == "ok"


@pytest.mark.parametrize(
    ("after_s", "moving", "expected"),
    [
        (10, (), (True, True, True)),
        (11, ("head",), (False, True, True)),
        (31, ("head",), (False, False, False)),
        (180, ("loop", "head_poll"), (True, True, True)),
        (181, ("loop", "head_poll"), (False, True, True)),
        (3 * 3600, ("loop", "head_poll"), (False, True, True)),
        (6 * 3600 + 1, ("loop", "head_poll"), (False, False, True)),
        (901, ("loop",), (False, False, False)),
    ],
    ids=[
        "nothing was late",
        "the loop missed a few beats",
        "the loop is wedged",
        "no block for three minutes",
        "no block for longer",
        "the node is out for hours",
        "the node is out for a night",
        "nobody looks at the chain any more",
    ],
)
async def test_readiness_falls_early_and_life_late(clock: Clock, after_s, moving, expected):
    """Complaints 3, 4 and 5; R10."""
    clock.now_s += after_s
    if moving:
        clock.move(*moving)
    assert clock.verdicts() == expected


async def test_an_effect_that_grows_old_shows_while_everything_else_looks_well(clock: Clock):
    """Complaint 5: days without a transaction, and every count looked healthy."""
    clock.effect_age_s = 3_601.0
    assert clock.verdicts() == (False, True, True)
    assert str(clock.progress.ready()) == "oldest_effect 3601 s old"
    assert clock.progress.ready().as_json()["checks"]["oldest_effect"] == {
        "seconds": 3601.0,
        "limit_seconds": 3600.0,
        "is_ok": False,
    }


async def test_a_protective_stop_is_told_and_no_reason_for_a_restart(clock: Clock):
    """P10: who restarts it changes nothing."""
    clock.stop_reason = "the key is used by somebody else"
    assert clock.verdicts() == (False, True, True)
    assert "the key is used by somebody else" in str(clock.progress.ready())


async def test_the_lag_is_what_somebody_computed_in_the_loop():
    """P11."""
    turned = asyncio.Event()

    class Noticed(Progress):
        def loop_turned(self) -> None:
            super().loop_turned()
            turned.set()

    lag = LoopLag(Noticed(), interval_s=0.001)
    assert lag.quantile_s(0.999) == 0.0
    async with asyncio.TaskGroup() as group:
        running = group.create_task(lag.run())
        for busy_s in (0, 0.2):
            end = time.monotonic() + busy_s
            while time.monotonic() < end:
                pass
            turned.clear()
            await turned.wait()
        running.cancel()
    assert 0.15 < lag.quantile_s(1.0) < 5
    assert lag.quantile_s(0.0) < 0.15
