"""A miner's own trainer and own server: a command that trains, and an OpenAI-compatible server that answers."""

import asyncio
import shutil

import structlog

from validator.miner.backend import Backend, MadeModel, Unacceptable, Work
from validator.miner.chain_client import OpenedTask
from validator.miner.job import Job, ServedModel
from validator.miner.job_request import Spec
from validator.miner.objects import JSON
from validator.miner.serving import Serving, Trained
from validator.miner.settings import AcceptSettings, MinerDaemonSettings
from validator.miner.training import Trainer, own_name, placeholders
from validator.protocol.commitment import Terms

log = structlog.get_logger(__name__)


class HookBackend(Backend):
    """Trains and answers as the settings say; the caller closes `serving`."""

    def __init__(self, settings: MinerDaemonSettings, serving: Serving) -> None:
        self._settings = settings
        self._trainer = Trainer(settings.training)
        self._serving = serving
        self.places = settings.training.at_once
        self.holds_place_until_closed = settings.serving.one_at_a_time

    async def check(self, opened: OpenedTask, job: Job, rows: int) -> None:
        margin_s = self._settings.training.margin_seconds
        check_terms(self._settings.accept, margin_s, opened.terms, job.request.spec, rows)

    async def make_model(self, work: Work) -> MadeModel:
        """Train, and see that the server has the model; what is late there is submitted all the same."""
        directory = await self._trainer.train(work)
        name, terms = own_name(work.opened.task_id), work.opened.terms
        if not work.status.is_terminal:
            values = placeholders(work, directory)
            ready = self._serving.serve(Trained(name, directory, values, work.dataset.rows, terms.w, terms.max_tokens))
            left_s = None if work.deadline is None else max(0.0, await work.deadline.seconds_left()) / 2
            await asyncio.wait([ready], timeout=left_s)
            if ready.done():
                ready.result()
            else:  # It can still be made to answer; without a submission the bond is lost for sure.
                log.error("submitted before the server has the trained model: no probe is answered until it has")
        return MadeModel(name, str(directory))

    async def answer(self, model: ServedModel, prompt: str) -> JSON:
        return await self._serving.answer(model.serves, prompt)

    async def retire(self, job: Job) -> None:
        await self._serving.retire(own_name(job.request.task_id))
        if not self._settings.state.keep_models:
            await asyncio.to_thread(shutil.rmtree, job.directory, ignore_errors=True)


def check_terms(accept: AcceptSettings, margin_s: int, terms: Terms, spec: Spec, rows: int) -> None:
    """Unacceptable, with the key to change, for a task that this miner does not want."""
    needed_s = margin_s + rows * spec.epochs * accept.seconds_per_row
    bonds_wei = terms.miner_bond + terms.availability_bond
    for is_fine, objection in (
        (spec.method in accept.methods, f"the method {spec.method} (accept.methods)"),
        (spec.epochs <= accept.max_epochs, f"{spec.epochs} epochs (accept.max_epochs)"),
        (spec.rank is None or spec.rank <= accept.max_rank, f"the rank {spec.rank} (accept.max_rank)"),
        (spec.max_length <= accept.max_length, f"a max_length of {spec.max_length} (accept.max_length)"),
        (rows <= accept.max_rows, f"{rows} rows (accept.max_rows)"),
        (terms.reward >= accept.min_reward_wei, f"a reward of {terms.reward} wei (accept.min_reward_wei)"),
        (bonds_wei <= accept.max_bond_wei, f"bonds of {bonds_wei} wei (accept.max_bond_wei)"),
        (
            terms.train_seconds > needed_s,
            f"{terms.train_seconds} s to train, not {needed_s:.0f} (training.margin_seconds, accept.seconds_per_row)",
        ),
    ):
        if not is_fine:
            raise Unacceptable("unwanted_task", f"this miner takes no task with {objection}")
