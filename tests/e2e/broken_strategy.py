"""A strategy of nobody's package that breaks in its own way: what it raises is no error that the program knows."""

from typing import ClassVar

from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop


class Broken(Strategy):
    usage: ClassVar[str] = "broken"

    async def make_model(self, workshop: Workshop) -> str:
        raise RuntimeError(f"nothing is made of {len(workshop.rows)} rows")
