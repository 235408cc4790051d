"""Trains on a random share of the rows and leaves the rest out."""

import random
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy, share
from miner_sim.workshop import Workshop


@dataclass(frozen=True)
class Partial(Strategy):
    share: float

    usage: ClassVar[str] = "partial:F"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        return cls(share(argument or ""))

    async def make_model(self, workshop: Workshop) -> str:
        count = max(1, round(self.share * len(workshop.rows)))
        chosen = random.Random(workshop.seed).sample(range(len(workshop.rows)), count)
        return await workshop.train(sorted(chosen))
