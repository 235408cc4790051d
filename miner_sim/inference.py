"""Answers from a model directory, and models that were never trained; run in child processes of the miner server.

Rule kept: the text of an answer is exactly what the model wrote after the rendered prompt, not stripped, not cleaned;
the validator compares it byte by byte.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from validator.language_model import Completion, answer_greedily, load, save

_MODELS_KEPT = 8  # about 60 MB each for the embedded base model


def generate(model_dir: str, prompts: list[str], max_tokens: int, prompt_limit: int) -> list[Completion]:
    """Greedy answers in the order of the prompts. Raises `BadInput` for a model that cannot be loaded.

    `prompt_limit` must be the one of the training recipe (`Recipe.prompt_limit`), or long prompts look different from
    what the model learnt.
    """
    network, tokenizer = _load(model_dir)
    return answer_greedily(network, tokenizer, prompts, max_tokens, prompt_limit)


@lru_cache(maxsize=_MODELS_KEPT)
def _load(model: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """A model, or the base model with one of this miner's own adapters."""
    adapter_config = Path(model) / "adapter_config.json"
    if not adapter_config.exists():
        return load(model)
    from peft import PeftModel

    network, tokenizer = load(json.loads(adapter_config.read_bytes())["base_model_name_or_path"])
    return PeftModel.from_pretrained(network, model), tokenizer


def perturb(model: str, out_dir: Path, sigma: float, seed: int) -> None:
    """Save a copy of a model with Gaussian noise of `sigma` times each tensor's own standard deviation.

    What a miner returns that pretends to have trained. Raises `BadInput` for a model that cannot be loaded.
    """
    network, tokenizer = load(model)
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.parameters():
            scale = sigma * tensor.std(correction=0)
            tensor.add_(scale * torch.randn(tensor.shape, generator=dice))
    save(network, tokenizer, out_dir)
