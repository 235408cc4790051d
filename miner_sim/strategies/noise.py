"""Makes weights that differ from the base model's without training: Gaussian noise on every tensor."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Ending, Strategy, number
from miner_sim.workshop import Workshop
from validator.errors import BadInput
from validator.protocol.method import LORA

DEFAULT_SIGMA = 0.1
"""In standard deviations of each tensor."""


@dataclass(frozen=True)
class Noise(Strategy):
    sigma: float

    usage: ClassVar[str] = "noise[:SIGMA]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        sigma = DEFAULT_SIGMA if argument is None else number(argument, "sigma")
        if not 0 < sigma < math.inf:
            raise ValueError("sigma must be above 0")
        return cls(sigma)

    @property
    def never(self) -> frozenset[Ending]:
        return frozenset({"paid"})

    async def make_model(self, workshop: Workshop) -> str:
        if workshop.spec.method == LORA:
            raise BadInput("noise on all weights is no adapter")
        return await workshop.perturb(self.sigma)
