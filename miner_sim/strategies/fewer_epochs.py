"""Trains on every row for a share of the agreed epochs, with a learning rate that falls to 0 by their end."""

from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy, share
from miner_sim.workshop import Workshop


@dataclass(frozen=True)
class FewerEpochs(Strategy):
    share: float

    usage: ClassVar[str] = "fewer-epochs:F"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        return cls(share(argument or ""))

    async def make_model(self, workshop: Workshop) -> str:
        epochs = max(1, round(self.share * workshop.spec.epochs))
        return await workshop.train(range(len(workshop.rows)), epochs=epochs)
