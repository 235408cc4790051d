"""Honest but misconfigured: trains and returns as asked, and its server answers from weights of a few bits."""

from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Intent, Strategy
from miner_sim.strategies.quantised import read_bits
from miner_sim.workshop import Workshop


@dataclass(frozen=True)
class QuantisedInference(Strategy):
    bits: int

    usage: ClassVar[str] = "quantised-inference[:BITS]"
    intent: ClassVar[Intent] = "mistake"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        return cls(read_bits(argument))

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def serve(self, workshop: Workshop, model: str) -> str:
        return await workshop.rework(model, "quantise", self.bits, "served", is_merging=True)
