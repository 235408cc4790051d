"""Trains as asked, and returns the weights rounded to a few bits, which are cheaper to keep and to serve."""

from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy, number
from miner_sim.workshop import Workshop

DEFAULT_BITS = 4


def read_bits(argument: str | None) -> int:
    """A whole number of bits from 2 to 8; ValueError for anything else."""
    bits = DEFAULT_BITS if argument is None else number(argument, "BITS")
    if bits not in range(2, 9):
        raise ValueError("BITS must be a whole number from 2 to 8")
    return int(bits)


@dataclass(frozen=True)
class Quantised(Strategy):
    bits: int

    usage: ClassVar[str] = "quantised[:BITS]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        return cls(read_bits(argument))

    async def make_model(self, workshop: Workshop) -> str:
        trained = await workshop.train(range(len(workshop.rows)))
        return await workshop.rework(trained, "quantise", self.bits, "quantised")
