"""Takes the reward for nothing: serves the base model as it is."""

from typing import ClassVar, Self

from miner_sim.strategies import Strategy, no_argument
from miner_sim.workshop import Workshop


class Base(Strategy):
    usage: ClassVar[str] = "base"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        no_argument(argument)
        return cls()

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.leave_untrained()
