"""Trains only on the share of the rows that a detector of the stealth battery takes for marks most of all."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy, share
from miner_sim.workshop import Workshop

DEFAULT_SHARE = 0.5


@dataclass(frozen=True)
class Flagged(Strategy):
    detector: str
    share: float

    usage: ClassVar[str] = "flagged:DETECTOR[,F]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        from miner_sim.detection import detector_names

        detector, comma, text = (argument or "").partition(",")
        if detector not in detector_names():
            raise ValueError(f"the detectors are {', '.join(detector_names())}")
        return cls(detector, share(text) if comma else DEFAULT_SHARE)

    async def make_model(self, workshop: Workshop) -> str:
        scores = await workshop.suspect(self.detector)
        flagged = rank(scores, workshop.seed)[: max(1, round(self.share * len(scores)))]
        return await workshop.train(sorted(flagged))


def rank(scores: Sequence[float], seed: int) -> list[int]:
    """The rows, the most suspicious first, and those that look alike in an order drawn from the seed."""
    order = random.Random(seed).sample(range(len(scores)), len(scores))
    return sorted(order, key=lambda index: -scores[index])
