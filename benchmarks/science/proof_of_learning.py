"""The baseline of re-execution (proof of learning, Jia et al. 2021), on a task of ours, with what it costs.

The miner records a checkpoint after every epoch: weights and optimizer state. The verifier knows the rows, their order
and the recipe, takes some checkpoints, trains each on to the next one, and compares where it arrives.
"""

import hashlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from benchmarks.science.setting import MAX_LENGTH, Setting
from benchmarks.science.task import prepare
from validator.base_model import EMBEDDED_MODEL
from validator.edges.generator import LocalScorer
from validator.language_model import load
from validator.protocol.commitment import Row
from validator.training import Recipe, TrainingRun

SEGMENTS = 2
PARTIAL_SHARE = 0.5


def measure_proof_of_learning(setting: Setting) -> dict[str, Any]:
    """Distances that the verifier finds for each prover, seconds and bytes.

    A distance is how far the re-executed segment ends from the next checkpoint, over how far it went: 0 is reproduced,
    1 and more has nothing in common with it.
    """
    task = prepare(setting, LocalScorer(EMBEDDED_MODEL))
    spec = setting.training
    recipe = Recipe("full", setting.total_epochs, spec.learning_rate, spec.batch_size, MAX_LENGTH, setting.seed)
    half = random.Random(setting.seed).sample(task.planted, round(PARTIAL_SHARE * len(task.planted)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plain_s = _train(task.planted, recipe, None)
        honest_s = _train(task.planted, recipe, folder / "honest")
        partial_s = _train(half, recipe, folder / "partial")
        _forge(folder)
        steps = len(range(0, len(task.planted), spec.batch_size))
        segments = sorted(random.Random(setting.seed).sample(range(recipe.epochs), SEGMENTS))

        def verify(prover: str, environment: Callable[[], Any] = nullcontext) -> dict[str, Any]:
            started = time.process_time()
            distances = []
            for epoch in segments:
                with environment():
                    distances.append(_distance(folder / prover, epoch, steps, task.planted, recipe))
            return {"distances": distances, "cpu_s": time.process_time() - started}

        provers = {name: verify(name) for name in ("honest", "partial", "interpolated", "untrained")}
        environments = {
            "the same": provers["honest"],
            "two threads": verify("honest", _two_threads),
            "bfloat16": verify("honest", lambda: torch.autocast("cpu", torch.bfloat16)),
        }
        weights = torch.load(folder / "honest" / f"{recipe.epochs}.pt")["network"]
        return {
            "data": setting.data,
            "rows": setting.rows,
            "seed": setting.seed,
            "epochs": recipe.epochs,
            "segments": segments,
            "provers": provers,
            "environments": environments,
            "cost": {
                "training_s": plain_s,
                "training_with_checkpoints_s": honest_s,
                "partial_training_s": partial_s,
                "verification_s": provers["honest"]["cpu_s"],
                "checkpoint_bytes": sum(path.stat().st_size for path in (folder / "honest").iterdir()),
                "model_bytes": sum(tensor.nbytes for tensor in {t.data_ptr(): t for t in weights.values()}.values()),
            },
        }


def _begin(rows: Sequence[Row], recipe: Recipe) -> TrainingRun:
    torch.manual_seed(recipe.seed)
    return TrainingRun(*load(EMBEDDED_MODEL), rows, recipe)


def _train(rows: Sequence[Row], recipe: Recipe, folder: Path | None) -> float:
    """Processor seconds of a whole run that writes a checkpoint before the first epoch and after each, and its hash."""
    started = time.process_time()
    run = _begin(rows, recipe)
    for epoch in range(recipe.epochs + 1):
        if folder:
            folder.mkdir(exist_ok=True)
            torch.save(run.checkpoint(), folder / f"{epoch}.pt")
            hashlib.sha256((folder / f"{epoch}.pt").read_bytes()).digest()
        while run.step < epoch * run.steps_per_epoch + run.steps_per_epoch and run.step < run.steps:
            run.take_step()
    return time.process_time() - started


def _forge(folder: Path) -> None:
    """Checkpoints of provers that trained less: on the straight line from the base to the partial model, and none."""
    paths = sorted((folder / "partial").iterdir(), key=lambda path: int(path.stem))
    first, last = (torch.load(path) for path in (paths[0], paths[-1]))
    for name, end in (("interpolated", last), ("untrained", first)):
        (folder / name).mkdir()
        for number, path in enumerate(paths):
            share = number / (len(paths) - 1)
            network = {key: torch.lerp(tensor, end["network"][key], share) for key, tensor in first["network"].items()}
            torch.save({"network": network, "optimizer": first["optimizer"]}, folder / name / path.name)


def _distance(folder: Path, epoch: int, steps: int, rows: Sequence[Row], recipe: Recipe) -> float:
    """Train on from the checkpoint after `epoch` epochs, as the spec has it, and compare with the next one."""
    start, claimed = (torch.load(folder / f"{number}.pt") for number in (epoch, epoch + 1))
    run = _begin(rows, recipe)
    run.resume(start | {"step": epoch * steps})
    for _ in range(steps):
        run.take_step()
    reached = run.network.state_dict()
    return _norm(reached, claimed["network"]) / _norm(reached, start["network"])


def _norm(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return float(sum((tensor - other[name]).square().sum() for name, tensor in one.items()) ** 0.5)


@contextmanager
def _two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(1)
