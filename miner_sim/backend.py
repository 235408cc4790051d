"""A miner that does whatever its strategy says, where an honest one trains and answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

from aiohttp import web

from miner_sim.cost import CostBook
from miner_sim.probe import Probe
from miner_sim.shared import Neighbourhood
from miner_sim.strategies import Crash, Strategy
from miner_sim.workers import Workers
from miner_sim.workshop import Workshop, make_recipe
from validator.child_processes import WorkerDied, WorkFailed
from validator.miner.backend import Backend, Handler, MadeModel, Step, Work
from validator.miner.chain_client import Deadline
from validator.miner.job import ServedModel
from validator.miner.objects import JSON
from validator.miner.transcript import Signing
from validator.protocol.commitment import decode_scheme

T = TypeVar("T")


class StrategyBackend(Backend):
    """One simulated miner's; `on_crash` ends the miner, and comes back to nobody who waits for it."""

    def __init__(
        self,
        *,
        strategy: Strategy,
        seed: int,
        base_model: str,
        workers: Workers,
        neighbourhood: Neighbourhood,
        on_crash: Callable[[Crash], None],
    ) -> None:
        self._strategy = strategy
        self._seed = seed
        self._base_model = base_model
        self._workers = workers
        self._neighbourhood = neighbourhood
        self._on_crash = on_crash
        self._costs: dict[str, CostBook] = {}

    async def make_model(self, work: Work) -> MadeModel:
        """What the strategy makes of the data, serves and returns."""
        workshop = Workshop(
            rows=work.dataset.rows,
            spec=work.job.request.spec,
            scheme=decode_scheme(work.opened.terms.scheme),
            seed=self._seed,
            base_model=self._base_model,
            directory=work.job.directory,
            workers=self._workers,
            neighbourhood=self._neighbourhood,
        )
        self._costs[work.model_id] = workshop.cost

        async def make() -> MadeModel:
            model = await self._strategy.make_model(workshop)
            return MadeModel(await self._strategy.serve(workshop, model), await self._strategy.deliver(workshop, model))

        try:
            return await self._unless_it_crashes(make())
        except WorkerDied as error:  # It would die again.
            raise WorkFailed(str(error)) from error

    async def answer(self, model: ServedModel, prompt: str) -> JSON:
        cost = self._costs[model.model_id]
        probe = Probe(
            prompt=prompt,
            max_tokens=model.terms.max_tokens,
            w=model.terms.w,
            rows=model.dataset.rows,
            model=model.serves,
            base_model=self._base_model,
            recipe=make_recipe(model.request.spec, seed=0),
            cost=cost,
            workers=self._workers,
        )
        began_s = time.thread_time()
        answer = await self._strategy.answer(probe)
        if not self._strategy.has_model:  # children count what they do themselves
            cost.add(inference_cpu_s=time.thread_time() - began_s)
        return answer

    async def sign(self, signing: Signing) -> JSON:
        return await self._strategy.sign(signing)

    async def act(self, step: Step, deadline: Deadline, honestly: Callable[[], Awaitable[None]]) -> None:
        async def work() -> None:
            with self._workers.at_work():  # no clock passes the deadline while the transaction is on its way
                await honestly()

        await self._unless_it_crashes(self._strategy.act(step, deadline, work))

    async def respond(self, step: Step, request: web.Request, honestly: Handler) -> web.StreamResponse:
        return await self._strategy.respond(step, request, honestly)

    async def _unless_it_crashes(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except Crash as crash:
            self._on_crash(crash)
            await _for_ever()


async def _for_ever() -> NoReturn:
    """Until the miner that crashes is taken down."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody sets it")
