"""What the metrics say of tasks, effects and money, taken from the state that the daemon has anyway."""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable
from math import nan
from pathlib import Path

from validator.driver import Driver
from validator.edges.contract import Touchstone
from validator.errors import Transient
from validator.health.loop_lag import LoopLag
from validator.protocol.state import Phase
from validator.requests.desk import Desk
from validator.telemetry import (
    BALANCE_WEI,
    BONDS_LOCKED_WEI,
    CREDIT_WEI,
    DISK_FREE_BYTES,
    EFFECTS_IN_FLIGHT,
    LOOP_LAG_P999_SECONDS,
    NEAREST_DEADLINE_TIMESTAMP_SECONDS,
    OLDEST_EFFECT_SECONDS,
    REQUESTS_WAITING,
    TASKS,
)
from validator.types import Address

EVERY_S = 15.0


class Measurements:
    """Sets the gauges now and then; counters are counted where things happen."""

    def __init__(
        self,
        *,
        driver: Driver,
        desk: Desk,
        contract: Touchstone,
        validator: Address,
        directory: Path,
        loop_lag: LoopLag,
    ) -> None:
        self._driver = driver
        self._desk = desk
        self._contract = contract
        self._validator = validator
        self._directory = directory
        self._loop_lag = loop_lag
        self._kinds: set[str] = set()

    async def run(self, also: Callable[[], None] = lambda: None) -> None:
        """For ever; cancel to stop. `also` is called each time."""
        while True:
            self.measure_tasks()
            LOOP_LAG_P999_SECONDS.set(self._loop_lag.quantile_s(0.999))
            DISK_FREE_BYTES.set(shutil.disk_usage(self._directory).free)
            also()
            try:
                BALANCE_WEI.set(await self._contract.chain.balance_wei(self._validator))
                CREDIT_WEI.set(await self._contract.credits_wei(self._validator))
            except Transient:
                pass  # The old figures stand, and the nodes' own metrics say why.
            await asyncio.sleep(EVERY_S)

    def measure_tasks(self) -> None:
        """What the daemon knows without a node."""
        states = self._driver.states.values()
        phases = Counter(state.phase for state in states)
        for phase in Phase:
            TASKS.labels(phase).set(phases[phase])
        running = [state for state in states if state.phase not in (Phase.PLANNED, Phase.CLOSED)]
        NEAREST_DEADLINE_TIMESTAMP_SECONDS.set(
            min((state.deadline_s for state in running if state.deadline_s), default=nan)
        )
        REQUESTS_WAITING.set(sum(1 for _ in self._desk.waiting(int(time.time()))))
        BONDS_LOCKED_WEI.set(sum(state.terms.validator_bond for state in running))
        kinds = Counter(key.split("/")[1] for key in self._driver.running)
        self._kinds |= kinds.keys()
        for kind in self._kinds:
            EFFECTS_IN_FLIGHT.labels(kind).set(kinds[kind])
        OLDEST_EFFECT_SECONDS.set(self._driver.oldest_effect_age_s())
