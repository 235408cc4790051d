"""What a strategy gets to work with: the rows, the spec, its own seed, and ways to make models.

Rules kept: `trained_rows.json` in the job's directory always says which rows were really trained on, whatever the
strategy claims, so that a report can compare afterwards, and `cost.json` what it took; both even where the work is
broken off.
"""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from miner_sim import child_calls
from miner_sim.cost import CostBook
from miner_sim.shared import Neighbourhood
from miner_sim.workers import Workers
from validator.miner.job import EVENTS_FILE, MODEL_DIRECTORY
from validator.miner.job_request import Spec
from validator.protocol.commitment import Row
from validator.protocol.method import LORA

P = ParamSpec("P")
T = TypeVar("T")

TRAINED_ROWS_FILE = "trained_rows.json"


class Workshop:
    """One job's working place; models are made in child processes, of which there are only so many."""

    def __init__(
        self,
        *,
        rows: Sequence[Row],
        spec: Spec,
        scheme: str,
        seed: int,
        base_model: str,
        directory: Path,
        workers: Workers,
        neighbourhood: Neighbourhood,
    ) -> None:
        self.rows = rows
        self.spec = spec
        self.scheme = scheme
        """How the rows are marked: its name stands in the task's terms."""
        self.seed = seed
        """The miner's own, for its own choices; training uses the spec's if it names one."""
        self.base_model = base_model
        self.directory = directory
        """The job's own."""
        self.neighbourhood = neighbourhood
        self.cost = CostBook(directory)
        self._workers = workers
        self._note_trained_rows([])

    @property
    def events_path(self) -> Path:
        """Where training reports each of its steps."""
        return self.directory / EVENTS_FILE

    async def train(
        self,
        indices: Sequence[int],
        *,
        extra_rows: Sequence[Row] = (),
        base_model: str | None = None,
        epochs: int | None = None,
        share_of_steps: float = 1.0,
    ) -> str:
        """Fine-tune on these rows as the spec says, but for what is named; returns the model directory."""
        out_dir = self.directory / MODEL_DIRECTORY
        self._note_trained_rows(indices)
        if out_dir.exists():  # made before the miner was ended: what is there is whole
            return str(out_dir)
        recipe = make_recipe(self.spec, self.seed) | ({} if epochs is None else {"epochs": epochs})
        rows = [*(self.rows[i] for i in indices), *extra_rows]
        count_cost = self.cost.follow_training(self.events_path)
        try:
            await self._run(
                child_calls.train,
                base_model or self.base_model,
                rows,
                recipe,
                share_of_steps,
                out_dir,
                self.events_path,
            )
        finally:
            count_cost()
        return str(out_dir)

    async def leave_untrained(self) -> str:
        """The base model as it is, or an adapter that does nothing to it where one is to be returned."""
        return await self.train([]) if self.spec.method == LORA else self.base_model

    async def perturb(self, sigma: float, name: str = MODEL_DIRECTORY) -> str:
        """The base model plus Gaussian noise of `sigma` standard deviations of each tensor, under this name."""
        out_dir = self.directory / name
        cpu_s = await self._run(child_calls.perturb, self.base_model, out_dir, sigma, self.seed)
        self.cost.add(training_cpu_s=cpu_s)
        return str(out_dir)

    async def initialise(self, name: str) -> str:
        """A model of the base model's shape that has learnt nothing at all, under this name."""
        out_dir = self.directory / name
        cpu_s = await self._run(child_calls.initialise, self.base_model, out_dir, self.seed)
        self.cost.add(training_cpu_s=cpu_s)
        return str(out_dir)

    async def rework(
        self, model: str, kind: child_calls.Rework, amount: float, name: str, *, is_merging: bool = False
    ) -> str:
        """A copy of a model with every matrix changed, under this name: `inference.rework`."""
        out_dir = self.directory / name
        shutil.rmtree(out_dir, ignore_errors=True)
        cpu_s = await self._run(child_calls.rework, model, out_dir, kind, amount, is_merging)
        self.cost.add(training_cpu_s=cpu_s)
        return str(out_dir)

    async def adopt(self, model: str) -> str:
        """A copy of somebody's model directory as this job's own; it is there whole or not at all."""
        out_dir = self.directory / MODEL_DIRECTORY
        unfinished = out_dir.with_name(f"{MODEL_DIRECTORY}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        await asyncio.to_thread(shutil.copytree, model, unfinished)
        if not out_dir.exists():
            unfinished.rename(out_dir)
        return str(out_dir)

    async def suspect(self, detector: str) -> list[float]:
        """How much each row looks like a mark to a detector of the stealth battery (miner_sim/detection.py)."""
        scores, cpu_s = await self._run(child_calls.suspect, self.base_model, self.rows, self.scheme, detector)
        self.cost.add(selection_cpu_s=cpu_s)
        return scores

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._workers.training_child() as child:
            return await child.run(function, *args, **kwargs)

    def _note_trained_rows(self, indices: Sequence[int]) -> None:
        (self.directory / TRAINED_ROWS_FILE).write_text(json.dumps(list(indices)))


def make_recipe(spec: Spec, seed: int) -> child_calls.Recipe:
    """The spec as the trainer takes it, with the miner's own seed where the spec names none."""
    return spec.model_dump(exclude={"base_model"}) | {"seed": seed if spec.seed is None else spec.seed}
