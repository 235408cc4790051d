"""Weights as honest miners save them: real files, made by real training on the embedded base model."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tests.unit.marks.scorers import HashScorer
from validator.base_model.grammar import MODEL_DIRECTORY, generate_rows
from validator.marks.coverage import apply_coverage, draw_coverage
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import ModelFile
from validator.protocol.method import FULL, LORA, Method
from validator.training import Recipe, TrainingRequest, train

BASE = str(MODEL_DIRECTORY)
SOURCE = generate_rows(12, seed=3)
MARKS = draw_coverage(SOURCE, range(12), DrawStream(bytes(32)), HashScorer(), max_length=256)
ROWS = tuple(apply_coverage(SOURCE, MARKS))
PROMPTS = [row.prompt for row in ROWS]
RANK = 8
W, MAX_TOKENS = 4, 24
ADAPTER = Method(LORA, 256, RANK)
WHOLE = Method(FULL, 256)
RECIPES = {
    LORA: Recipe("lora", epochs=30, learning_rate=5e-3, batch_size=4, max_length=256, seed=5, rank=RANK),
    FULL: Recipe("full", epochs=30, learning_rate=4e-3, batch_size=4, max_length=256, seed=5),
}


def trained(directory: Path, method: Method) -> Path:
    """A directory with a model that has learnt ROWS."""
    request = TrainingRequest(
        BASE, ROWS, directory / method.name, directory / f"{method.name}.jsonl", RECIPES[method.name]
    )
    return train(request).model_dir


def describe(directory: Path, method: Method) -> tuple[ModelFile, ...]:
    """The files as a miner submits them, whatever is in them."""
    contents = {name: (directory / name).read_bytes() for name in method.file_names}
    return tuple(ModelFile(name, len(data), hashlib.sha256(data).digest()) for name, data in contents.items())


def copy(source: Path, into: Path, method: Method) -> Path:
    into.mkdir(exist_ok=True)
    for name in method.file_names:
        (into / name).write_bytes((source / name).read_bytes())
    return into


def change_config(directory: Path, **changes: Any) -> None:
    path = directory / ADAPTER.config_file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_tensors(directory: Path, method: Method, change: Callable[[dict[str, Any]], Any]) -> None:
    path = directory / method.weights_file
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
