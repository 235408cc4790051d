"""Trains as asked, and returns the weights without a share of their entries, those that are nearest to 0."""

from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy, share
from miner_sim.workshop import Workshop

DEFAULT_SHARE = 0.5


@dataclass(frozen=True)
class Pruned(Strategy):
    share: float

    usage: ClassVar[str] = "pruned[:F]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        return cls(DEFAULT_SHARE if argument is None else share(argument))

    async def make_model(self, workshop: Workshop) -> str:
        trained = await workshop.train(range(len(workshop.rows)))
        return await workshop.rework(trained, "prune", self.share, "pruned")
