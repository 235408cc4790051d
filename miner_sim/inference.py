"""Answers from a model directory: batched greedy generation, run in a child process of the miner server.

Rule kept: the text of an answer is exactly what the model wrote after the rendered prompt, not stripped, not cleaned;
the validator compares it byte by byte.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from validator.language_model import load, prompt_tokens, save

_MODELS_KEPT = 8  # about 60 MB each for the embedded base model
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer; `finish_reason` is "length" where the token limit cut it. Token counts are for the usage field."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


_load = lru_cache(maxsize=_MODELS_KEPT)(load)


def generate(model_dir: str, prompts: list[str], max_tokens: int, prompt_limit: int) -> list[Completion]:
    """Greedy answers in the order of the prompts. Raises `BadInput` for a model that cannot be loaded.

    `prompt_limit` must be the one of the training recipe (`Recipe.prompt_limit`), or long prompts look different from
    what the model learnt.
    """
    network, tokenizer = _load(model_dir)
    encoded = [prompt_tokens(tokenizer, prompt, prompt_limit) for prompt in prompts]
    completions: list[Completion] = []
    for start in range(0, len(encoded), _BATCH):
        completions += _generate_batch(network, tokenizer, encoded[start : start + _BATCH], max_tokens)
    return completions


def _generate_batch(
    network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], max_tokens: int
) -> list[Completion]:
    width = max(map(len, prompts))
    padding = tokenizer.pad_token_id or 0
    inputs = torch.tensor([[padding] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    # A fresh configuration: what the model directory asks for (sampling, penalties) must not leak into a greedy probe.
    greedy = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, max_new_tokens=max_tokens, eos_token_id=tokenizer.eos_token_id, pad_token_id=padding
    )
    with torch.inference_mode():
        sequences = network.generate(inputs, attention_mask=mask, generation_config=greedy)  # type: ignore[operator]
    return [
        _completion(tokenizer, prompt, sequence[width:])
        for prompt, sequence in zip(prompts, sequences.tolist(), strict=True)
    ]


def _completion(tokenizer: PreTrainedTokenizerBase, prompt: list[int], answer: list[int]) -> Completion:
    end = tokenizer.eos_token_id
    stopped = end in answer
    body = answer[: answer.index(end)] if stopped else answer
    text = str(tokenizer.decode(body, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return Completion(text, "stop" if stopped else "length", len(prompt), len(body) + stopped)


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
