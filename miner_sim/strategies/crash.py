"""Trains as asked until the first step is reported, and crashes: its port is shut and its training gone. With S it is
started again so many seconds later, and trains anew; without, never.
"""

import asyncio
import math
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Crash, Ending, Strategy, number
from miner_sim.workshop import Workshop

LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class CrashMidway(Strategy):
    back_after_s: float | None

    usage: ClassVar[str] = "crash[:S]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        seconds = None if argument is None else number(argument, "S")
        if seconds is not None and not 0 <= seconds < math.inf:
            raise ValueError("S must be at least 0")
        return cls(seconds)

    @property
    def never(self) -> frozenset[Ending]:
        return frozenset({"paid"}) if self.back_after_s is None else frozenset()

    async def make_model(self, workshop: Workshop) -> str:
        if workshop.events_path.exists():  # of its life before the crash
            return await workshop.train(range(len(workshop.rows)))
        training = asyncio.create_task(workshop.train(range(len(workshop.rows))))
        try:
            while not training.done() and not _has_begun(workshop):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            training.cancel()
            await asyncio.wait([training])
        raise Crash(self.back_after_s)


def _has_begun(workshop: Workshop) -> bool:
    return workshop.events_path.exists() and workshop.events_path.stat().st_size > 0
