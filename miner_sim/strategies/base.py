"""Takes the reward for nothing: serves the base model as it is."""

from typing import ClassVar

from miner_sim.strategies import Ending, Strategy
from miner_sim.workshop import Workshop


class Base(Strategy):
    usage: ClassVar[str] = "base"

    @property
    def never(self) -> frozenset[Ending]:
        return frozenset({"paid"})

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.leave_untrained()
