"""One of several miners of one owner that share a training run: the first trains as asked, the others take its model.

OWNER is any name; Sybils of one owner share a disk. Where each gets its own marks, only the first was trained on its.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from miner_sim.strategies import Strategy
from miner_sim.workshop import Workshop

DEFAULT_OWNER = "mallory"


@dataclass(frozen=True)
class Sybil(Strategy):
    owner: str

    usage: ClassVar[str] = "sybil[:OWNER]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        owner = DEFAULT_OWNER if argument is None else argument
        if re.fullmatch(r"[a-z0-9-]{1,32}", owner) is None:
            raise ValueError("OWNER is 1 to 32 small letters, digits and hyphens")
        return cls(owner)

    async def make_model(self, workshop: Workshop) -> str:
        disk = workshop.neighbourhood.disk_of(self.owner)
        spec = workshop.spec.model_dump_json()
        async with disk.turn:
            model = disk.find(workshop.rows, spec)
            if model is not None:
                return await workshop.adopt(model)
            model = await workshop.train(range(len(workshop.rows)))
            disk.put(workshop.directory.name, model, workshop.rows, spec)
            return model
