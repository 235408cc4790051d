"""Trains on every row, but leaves off after a share of the steps."""

from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy, share
from miner_sim.workshop import Workshop


@dataclass(frozen=True)
class FewerSteps(Strategy):
    share: float

    usage: ClassVar[str] = "fewer-steps:F"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        return cls(share(argument or ""))

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)), share_of_steps=self.share)
