"""Trains on the right data, but on another base model than agreed: one of the same shape that has learnt nothing, or,
with SIGMA, the agreed one with noise on it (in standard deviations of each tensor).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy, number
from miner_sim.workshop import Workshop

BASE_DIRECTORY = "other_base"


@dataclass(frozen=True)
class OtherBase(Strategy):
    sigma: float | None

    usage: ClassVar[str] = "other-base[:SIGMA]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        sigma = None if argument is None else number(argument, "SIGMA")
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError("SIGMA must be above 0")
        return cls(sigma)

    async def make_model(self, workshop: Workshop) -> str:
        if self.sigma is None:
            base = await workshop.initialise(BASE_DIRECTORY)
        else:
            base = await workshop.perturb(self.sigma, BASE_DIRECTORY)
        return await workshop.train(range(len(workshop.rows)), base_model=base)
