"""Is honest up to a step, and from then on takes no other: requests are heard and never answered, nothing goes on
chain. By default it does not even take the data.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from aiohttp import web

from miner_sim.strategies import Ending, Handler, Step, Strategy
from miner_sim.workshop import Workshop
from validator.miner.chain_client import Deadline


@dataclass(frozen=True)
class Silent(Strategy):
    since: Step

    usage: ClassVar[str] = "silent[:STEP]"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        names = {step.name.lower(): step for step in Step if step not in (Step.RETURN, Step.REPLY)}
        if (argument or "receive") not in names:
            raise ValueError(f"the steps are {', '.join(names)}")
        return cls(names[argument or "receive"])

    @property
    def never(self) -> frozenset[Ending]:
        return frozenset({"paid"})

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def act(self, step: Step, deadline: Deadline, honestly: Callable[[], Awaitable[None]]) -> None:
        if step >= self.since:
            await _for_ever()
        await honestly()

    async def respond(self, step: Step, request: web.Request, honestly: Handler) -> web.StreamResponse:
        if step >= self.since:
            await _for_ever()
        return await honestly(request)


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()
