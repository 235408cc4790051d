"""Honest but misconfigured: trains and returns as asked, and its server answers without what was trained, as one does
that was started with the base model and no adapter.
"""

from typing import ClassVar

from miner_sim.strategies import Intent, Strategy
from miner_sim.workshop import Workshop


class NoAdapter(Strategy):
    usage: ClassVar[str] = "no-adapter"
    intent: ClassVar[Intent] = "mistake"

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def serve(self, workshop: Workshop, model: str) -> str:
        return workshop.base_model
