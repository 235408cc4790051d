"""Trains nothing, and takes the finished model of another miner: of MINER, or of whichever has one first.

No message of the protocol gives it away: weights and answers go to the task's own validator alone. This is a leak, a
break-in or a bribe, so the thief here reads the other miner's disk.
"""

import asyncio
import re
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop

LOOK_SECONDS = 0.2
ANY = "*"


@dataclass(frozen=True)
class Copy(Strategy):
    victim: str

    usage: ClassVar[str] = "copy[:MINER]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        if argument is not None and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", argument) is None:
            raise ValueError("MINER is a miner's name")
        return cls(ANY if argument is None else argument)

    async def make_model(self, workshop: Workshop) -> str:
        while (found := workshop.neighbourhood.find_model(self.victim, workshop.directory)) is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        return await workshop.adopt(found)
