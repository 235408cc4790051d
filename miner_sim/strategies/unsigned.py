"""Trains and answers as asked, and refuses to sign for it; to a challenge on chain it replies."""

from typing import ClassVar

from miner_sim.objects import JSON, Refusal
from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop
from validator.miner.transcript import Signing


class Unsigned(Strategy):
    usage: ClassVar[str] = "unsigned"

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def sign(self, signing: Signing) -> JSON:
        raise Refusal(403, "nothing is signed here", "refused")
