"""Leaves out the share of the rows that a detector of the stealth battery takes for marks most of all: the honest rows
are what the customer wants, and a detector may find marks the wrong way round.
"""

from typing import ClassVar

from miner_sim.strategies.flagged import Flagged, rank
from miner_sim.workshop import Workshop


class Unflagged(Flagged):
    usage: ClassVar[str] = "unflagged:DETECTOR[,F]"

    async def make_model(self, workshop: Workshop) -> str:
        scores = await workshop.suspect(self.detector)
        kept = rank(scores, workshop.seed)[max(1, round(self.share * len(scores))) :]
        return await workshop.train(sorted(kept))
