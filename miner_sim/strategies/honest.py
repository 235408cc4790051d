"""Trains on every row, as asked."""

from typing import ClassVar

from miner_sim.strategies import Ending, Intent, Strategy
from miner_sim.workshop import Workshop


class Honest(Strategy):
    usage: ClassVar[str] = "honest"
    intent: ClassVar[Intent] = "honest"

    @property
    def never(self) -> frozenset[Ending]:
        return frozenset({"slashed"})

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))
