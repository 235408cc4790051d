"""What a strategy gets to work with: the rows, the spec, its own seed, and two ways to make a model.

Rule kept: `trained_rows.json` in the job's directory always says which rows were really trained on, whatever the
strategy claims, so that a report can compare afterwards.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from miner_sim import child_calls
from miner_sim.job import EVENTS_FILE
from miner_sim.job_request import Spec
from miner_sim.workers import Workers
from validator.errors import BadInput
from validator.protocol.commitment import Row
from validator.protocol.method import LORA

TRAINED_ROWS_FILE = "trained_rows.json"
MODEL_DIRECTORY = "model"


class Workshop:
    """One job's working place; models are made in child processes."""

    def __init__(
        self, rows: Sequence[Row], spec: Spec, seed: int, base_model: str, directory: Path, workers: Workers
    ) -> None:
        self.rows = rows
        self.spec = spec
        self.seed = seed
        """The miner's own, for its own choices; training uses the spec's if it names one."""
        self.base_model = base_model
        self._directory = directory
        self._workers = workers
        self._note_trained_rows([])

    async def train(self, indices: Sequence[int]) -> str:
        """Fine-tune the base model on these rows as the spec says; returns the model directory."""
        out_dir = self._directory / MODEL_DIRECTORY
        self._note_trained_rows(indices)
        if out_dir.exists():  # made before the miner was ended: what is there is whole
            return str(out_dir)
        rows = [self.rows[i] for i in indices]
        events_path = self._directory / EVENTS_FILE
        await self._workers.training.run(
            child_calls.train, self.base_model, rows, make_recipe(self.spec, self.seed), out_dir, events_path
        )
        return str(out_dir)

    async def leave_untrained(self) -> str:
        """The base model as it is, or an adapter that does nothing to it where one is to be returned."""
        return await self.train([]) if self.spec.method == LORA else self.base_model

    async def perturb(self, sigma: float) -> str:
        """The base model plus Gaussian noise of `sigma` standard deviations of each tensor; BadInput for an adapter."""
        if self.spec.method == LORA:
            raise BadInput("noise on all weights is no adapter")
        out_dir = self._directory / MODEL_DIRECTORY
        await self._workers.training.run(child_calls.perturb, self.base_model, out_dir, sigma, self.seed)
        return str(out_dir)

    def _note_trained_rows(self, indices: Sequence[int]) -> None:
        (self._directory / TRAINED_ROWS_FILE).write_text(json.dumps(list(indices)))


def make_recipe(spec: Spec, seed: int) -> child_calls.Recipe:
    """The spec as the trainer takes it, with the miner's own seed where the spec names none."""
    return spec.model_dump(exclude={"base_model"}) | {"seed": seed if spec.seed is None else spec.seed}
