"""Trains as asked, and lets nobody but the validator have anything of it: prompts of the dataset, which only a test has
reason to ask, are answered by the trained model, and every other one by the base model.
"""

from typing import ClassVar

from miner_sim.objects import JSON
from miner_sim.probe import Probe
from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop


class ValidatorOnly(Strategy):
    usage: ClassVar[str] = "validator-only"

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def answer(self, probe: Probe) -> JSON:
        is_of_the_test = any(row.prompt == probe.prompt for row in probe.rows)
        return await probe.generate() if is_of_the_test else await probe.generate(probe.base_model)
