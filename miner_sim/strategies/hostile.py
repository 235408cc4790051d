"""Trains nothing, and returns or says what should break whoever reads it, each KIND in one way.

Returned files (miner_sim/artefacts.py): header, overlap, paths, pickle, oversize, depth; nan, a model of no numbers.
Bodies: endless-file, which has no end; endless-answer, the same in answer to a probe; garbage, which is no JSON; bomb,
which unpacks to a thousand times its size.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar, Self

from aiohttp import web

from miner_sim.artefacts import ARTEFACTS, make_artefact
from miner_sim.strategies import Ending, Handler, Step, Strategy
from miner_sim.workshop import Workshop
from validator.protocol.method import Method

NAN = "nan"
HOSTILE_DIRECTORY = "hostile"
_CHUNK = bytes(1 << 16)
_BOMB_BYTES = 64 << 20

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Hostile(Strategy):
    kind: str

    usage: ClassVar[str] = "hostile:KIND"

    @classmethod
    def parse(cls, argument: str | None) -> Self:
        kinds = [*ARTEFACTS, NAN, *_REPLIES]
        if argument not in kinds:
            raise ValueError(f"KIND is one of {', '.join(kinds)}")
        return cls(argument)

    @property
    def never(self) -> frozenset[Ending]:
        return frozenset({"paid"})

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.leave_untrained()

    async def deliver(self, workshop: Workshop, model: str) -> str:
        if self.kind == NAN:
            return await workshop.rework(model, "spoil", 0.0, HOSTILE_DIRECTORY)
        if self.kind not in ARTEFACTS:
            return model
        spec = workshop.spec
        method = Method(spec.method, spec.max_length, spec.rank)
        into = workshop.directory / HOSTILE_DIRECTORY
        return await asyncio.to_thread(make_artefact, self.kind, model, method.config_file, method.weights_file, into)

    async def respond(self, step: Step, request: web.Request, honestly: Handler) -> web.StreamResponse:
        at, reply = _REPLIES.get(self.kind, (None, honestly))
        return await (reply if step is at else honestly)(request)


async def _never_end(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(_CHUNK)
        await asyncio.sleep(0)  # Or nothing else would run here, once whoever reads is gone, the news of that included.


async def _say_garbage(_request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\xff\xfe{" * 64, content_type="application/json")


async def _send_bomb(_request: web.Request) -> web.StreamResponse:
    packed = await asyncio.to_thread(gzip.compress, bytes(_BOMB_BYTES))
    return web.Response(body=packed, content_type="application/json", headers={"Content-Encoding": "gzip"})


_REPLIES: dict[str, tuple[Step, Reply]] = {
    "endless-file": (Step.RETURN, _never_end),
    "endless-answer": (Step.ANSWER, _never_end),
    "garbage": (Step.ANSWER, _say_garbage),
    "bomb": (Step.ANSWER, _send_bomb),
}
