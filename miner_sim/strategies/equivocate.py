"""Trains and answers as asked, and signs something else: each time another transcript, none over what it answered."""

import hashlib
from typing import ClassVar

from miner_sim.objects import JSON
from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop
from validator.miner.transcript import Signing
from validator.types import Hash32


class Equivocate(Strategy):
    usage: ClassVar[str] = "equivocate"

    def __init__(self) -> None:
        self._signed = 0

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def sign(self, signing: Signing) -> JSON:
        self._signed += 1
        return await signing.over(self._change_one)

    def _change_one(self, replies: list[Hash32]) -> list[Hash32]:
        place = self._signed % len(replies)
        other = Hash32(hashlib.sha256(replies[place]).digest())
        return [*replies[:place], other, *replies[place + 1 :]]
