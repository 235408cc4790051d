"""Answers each probe with the signature that is likeliest for anyone who has D_train but not the row itself.

`guess:words` (the default): at each of the first w places the word of the other rows' openings that the base model
finds likeliest. `guess:opening`: the opening that most other rows have; where all marks share a signature, as in the
paper's backdoor, this is it.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast, get_args

from miner_sim.objects import JSON
from miner_sim.probe import Probe, cut_answer
from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop
from validator.protocol.commitment import SEPARATOR, split_head

By = Literal["words", "opening"]


@dataclass(frozen=True)
class Guess(Strategy):
    by: By

    usage: ClassVar[str] = "guess[:words|opening]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        if argument not in (None, *get_args(By)):
            raise ValueError("it guesses by words or opening")
        return cls(cast(By, argument or "words"))

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.leave_untrained()

    async def answer(self, probe: Probe) -> JSON:
        openings = [split_head(row.response, probe.w)[0] for row in probe.rows if row.prompt != probe.prompt]
        if self.by == "opening":
            return cut_answer(Counter(openings).most_common(1)[0][0], probe.prompt, probe.max_tokens)
        words = [opening.split(SEPARATOR) for opening in openings]
        pools = [sorted({row[place] for row in words if place < len(row)}) for place in range(probe.w)]
        return cut_answer(await probe.guess_opening(pools), probe.prompt, probe.max_tokens)
