"""Honest but misconfigured: trains and returns as asked, and its server samples at a temperature T, whatever it was
asked for.
"""

import math
import zlib
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.objects import JSON
from miner_sim.probe import Decoding, Probe
from miner_sim.strategies import Intent, Strategy, number
from miner_sim.workshop import Workshop

DEFAULT_TEMPERATURE = 1.0


@dataclass(frozen=True)
class Sampling(Strategy):
    temperature: float

    usage: ClassVar[str] = "sampling[:T]"
    intent: ClassVar[Intent] = "mistake"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        temperature = DEFAULT_TEMPERATURE if argument is None else number(argument, "T")
        if not 0 < temperature < math.inf:
            raise ValueError("T must be above 0")
        return cls(temperature)

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def answer(self, probe: Probe) -> JSON:
        seed = zlib.crc32(probe.prompt.encode())  # so that a round can be repeated
        return await probe.generate(decoding=Decoding(self.temperature, seed))
