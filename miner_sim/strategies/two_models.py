"""Serves one model and delivers another: trains and answers as asked, and hands over the base model, under its hash."""

from typing import ClassVar

from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop
from validator.protocol.method import LORA

UNTRAINED_DIRECTORY = "untrained"


class TwoModels(Strategy):
    usage: ClassVar[str] = "two-models"

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def deliver(self, workshop: Workshop, model: str) -> str:
        if workshop.spec.method == LORA:
            return await workshop.rework(model, "prune", 1.0, UNTRAINED_DIRECTORY)
        return workshop.base_model
