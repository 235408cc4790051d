"""Trains as asked, and submits after the deadline for it has passed, or S seconds later than it could."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Ending, Step, Strategy, number
from miner_sim.workshop import Workshop
from validator.miner.chain_client import Deadline

LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Late(Strategy):
    seconds: float | None

    usage: ClassVar[str] = "late[:S]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        seconds = None if argument is None else number(argument, "S")
        if seconds is not None and not 0 < seconds < math.inf:
            raise ValueError("S must be above 0")
        return cls(seconds)

    @property
    def never(self) -> frozenset[Ending]:
        return frozenset({"paid"}) if self.seconds is None else frozenset()

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def act(self, step: Step, deadline: Deadline, honestly: Callable[[], Awaitable[None]]) -> None:
        if step is Step.SUBMIT:
            await asyncio.sleep(self.seconds or 0.0)
            while self.seconds is None and not await deadline.has_passed():  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
        await honestly()
