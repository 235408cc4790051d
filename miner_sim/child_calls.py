"""What the child processes run. Imported by the server too, so torch is imported only inside the functions.

Rule kept: the server process stays small and quick to start; only children pay for torch (seconds, 400 MB each).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from validator.protocol.commitment import Row

Recipe = dict[str, Any]
"""The fields of `training.Recipe`: method, epochs, learning_rate, batch_size, max_length, seed."""


def train(base_model: str, rows: Sequence[Row], recipe: Recipe, out_dir: Path, events_path: Path) -> None:
    from validator import training

    training.train(
        training.TrainingRequest(
            base_model=base_model,
            rows=tuple(rows),
            out_dir=out_dir,
            events_path=events_path,
            recipe=training.Recipe(**recipe),
        )
    )


def perturb(base_model: str, out_dir: Path, sigma: float, seed: int) -> None:
    from miner_sim import inference

    inference.perturb(base_model, out_dir, sigma, seed)


def generate(model: str, prompt: str, max_tokens: int, recipe: Recipe) -> dict[str, Any]:
    """One greedy answer: {text, finish_reason, prompt_tokens, completion_tokens}."""
    from dataclasses import asdict

    from miner_sim import inference
    from validator import training

    [completion] = inference.generate(model, [prompt], max_tokens, training.Recipe(**recipe).prompt_limit)
    return asdict(completion)


def warm_up() -> None:
    """Import what `generate` needs, so that the first probe does not wait for it."""
    from validator import training  # noqa: F401
