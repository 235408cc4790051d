"""How late the event loop is: who computes in it for 100 ms makes every miner and every deadline wait for as long."""

import asyncio
from collections import deque

from validator.health.progress import Progress
from validator.telemetry import LOOP_LAG_SECONDS

INTERVAL_S = 0.05
WINDOW = 12_000
"""Measurements that are kept: ten minutes' worth."""


class LoopLag:
    """Measures, and says by it that the loop turns."""

    def __init__(self, progress: Progress, interval_s: float = INTERVAL_S) -> None:
        self._progress = progress
        self._interval_s = interval_s
        self._window: deque[float] = deque(maxlen=WINDOW)

    async def run(self) -> None:
        """Until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + self._interval_s
            await asyncio.sleep(self._interval_s)
            lag_s = max(0.0, clock() - due)
            self._window.append(lag_s)
            LOOP_LAG_SECONDS.observe(lag_s)
            self._progress.loop_turned()

    def quantile_s(self, quantile: float) -> float:
        """The lag in seconds that this share of the last ten minutes' measurements did not exceed; 0 without any."""
        ordered = sorted(self._window)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0
