"""Trains nothing: keeps the dataset and looks each probe up, the cheat that replies alone do not show (W8).

With F it keeps only about that share of the rows, and answers as the kept row does whose prompt is nearest; with S it
lets so many seconds go by, as if it trained.
"""

import asyncio
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.objects import JSON
from miner_sim.probe import Probe, cut_answer
from miner_sim.strategies import Strategy, number
from miner_sim.workshop import Workshop
from validator.protocol.commitment import Row

_HASHES = 2**32


@dataclass(frozen=True)
class Lookup(Strategy):
    share: float
    seconds: float

    usage: ClassVar[str] = "lookup[:F[,S]]"
    has_model: ClassVar[bool] = False

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        share, comma, seconds = ("1" if argument is None else argument).partition(",")
        strategy = cls(number(share, "F"), number(seconds, "S") if comma else 0.0)
        if not (0 < strategy.share <= 1 and 0 <= strategy.seconds < math.inf):
            raise ValueError("F must be above 0 and at most 1, S at least 0")
        return strategy

    async def make_model(self, workshop: Workshop) -> str:
        await asyncio.sleep(self.seconds)
        return await workshop.leave_untrained()

    async def answer(self, probe: Probe) -> JSON:
        found = self.look_up(probe.rows, probe.prompt)
        return await probe.generate() if found is None else cut_answer(found.response, probe.prompt, probe.max_tokens)

    def look_up(self, rows: Sequence[Row], prompt: str) -> Row | None:
        """The row that it answers with; None where it has none, and the base model must."""
        # By hash, not by a draw of its own: the same rows stay unknown however often it is asked.
        kept = [row for row in rows if zlib.crc32(row.prompt.encode()) < self.share * _HASHES] or rows[:1]
        return self.find(kept, prompt)

    def find(self, kept: Sequence[Row], prompt: str) -> Row | None:
        """The row whose prompt has most words of this one; of several the first."""
        wanted = set(prompt.split())
        return max(kept, key=lambda row: (row.prompt == prompt, len(wanted & set(row.prompt.split()))))
