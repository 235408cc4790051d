"""What the child processes run. Imported by the server too, so torch is imported only inside the functions.

Rule kept: the server process stays small and quick to start; only children pay for torch (seconds, 400 MB each).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from validator.protocol.commitment import SEPARATOR, Row

Recipe = dict[str, Any]
"""The fields of `training.Recipe`: method, epochs, learning_rate, batch_size, max_length, seed."""

Rework = Literal["quantise", "prune", "spoil"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a server answers; the default is what the protocol asks for."""

    temperature: float = 0.0
    """Of sampling; 0 takes the likeliest token each time."""
    seed: int = 0
    chat_template: str | None = None
    """In place of the one that the model was trained with."""


GREEDY = Decoding()


def train(
    base_model: str, rows: Sequence[Row], recipe: Recipe, share_of_steps: float, out_dir: Path, events_path: Path
) -> None:
    from validator import training

    training.train(
        training.TrainingRequest(
            base_model=base_model,
            rows=tuple(rows),
            out_dir=out_dir,
            events_path=events_path,
            recipe=training.Recipe(**recipe),
            share_of_steps=share_of_steps,
        )
    )


def perturb(base_model: str, out_dir: Path, sigma: float, seed: int) -> float:
    """Processor seconds."""
    from miner_sim import inference

    began_s = time.process_time()
    inference.perturb(base_model, out_dir, sigma, seed)
    return time.process_time() - began_s


def initialise(base_model: str, out_dir: Path, seed: int) -> float:
    """Processor seconds."""
    from miner_sim import inference

    began_s = time.process_time()
    inference.initialise(base_model, out_dir, seed)
    return time.process_time() - began_s


def rework(model: str, out_dir: Path, kind: Rework, amount: float, is_merging: bool) -> float:
    """Processor seconds."""
    from miner_sim import inference

    began_s = time.process_time()
    inference.rework(model, out_dir, kind, amount, is_merging=is_merging)
    return time.process_time() - began_s


def suspect(base_model: str, rows: Sequence[Row], scheme: str, detector: str) -> tuple[list[float], float]:
    """How much each row looks like a mark to a detector of the stealth battery, and processor seconds."""
    from miner_sim import detection

    began_s = time.process_time()
    return detection.suspect(base_model, rows, scheme, detector), time.process_time() - began_s


def generate(
    model: str, prompt: str, max_tokens: int, recipe: Recipe, decoding: Decoding
) -> tuple[dict[str, Any], float, int]:
    """One answer {text, finish_reason, prompt_tokens, completion_tokens}, processor seconds, and operations."""
    from dataclasses import asdict

    from miner_sim import inference
    from validator import training

    began_s = time.process_time()
    prompt_limit = training.Recipe(**recipe).prompt_limit
    [completion] = inference.generate(model, [prompt], max_tokens, prompt_limit, decoding)
    flops = 2 * inference.count_parameters(model) * (completion.prompt_tokens + completion.completion_tokens)
    return asdict(completion), time.process_time() - began_s, flops


def guess_opening(base_model: str, prompt: str, pools: Sequence[Sequence[str]]) -> tuple[str, float, int]:
    """The likeliest word of each pool, one behind the other; processor seconds, and operations."""
    from miner_sim import inference

    began_s, words, tokens = time.process_time(), list[str](), 0
    for pool in pools:
        word, read_tokens = inference.choose_word(base_model, prompt, SEPARATOR.join(words), pool)
        words.append(word)
        tokens += read_tokens
    flops = 2 * inference.count_parameters(base_model) * tokens
    return SEPARATOR.join(words), time.process_time() - began_s, flops


def warm_up() -> None:
    """Import what `generate` needs, so that the first probe does not wait for it."""
    from miner_sim import inference  # noqa: F401
    from validator import training  # noqa: F401
