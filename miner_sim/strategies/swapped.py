"""Trains, answers and submits the hash of its weights as asked, and sends other bytes when they are fetched."""

from typing import ClassVar

from aiohttp import web

from miner_sim.strategies import Handler, Step, Strategy
from miner_sim.workshop import Workshop


class Swapped(Strategy):
    usage: ClassVar[str] = "swapped"

    async def make_model(self, workshop: Workshop) -> str:
        return await workshop.train(range(len(workshop.rows)))

    async def respond(self, step: Step, request: web.Request, honestly: Handler) -> web.StreamResponse:
        response = await honestly(request)
        if step is Step.RETURN and isinstance(response, web.FileResponse):
            return web.Response(body=b"{}" + bytes(1022))
        return response
