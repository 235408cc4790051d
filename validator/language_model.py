"""A model directory on disk: loading it, saving one, how a prompt becomes tokens, and tokens an answer.

Rule kept: a prompt is rendered and answered in one place, so what a miner trains on, what it answers, and what its
returned weights are found to answer cannot drift apart, and a directory that has its final name is complete.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from validator.errors import BadInput

logging.disable_progress_bar()  # type: ignore[no-untyped-call]
logging.set_verbosity_error()  # type: ignore[no-untyped-call]

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer; `finish_reason` is "length" where the token limit cut it. Token counts are for the usage field."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int


def load(model: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 with its tokenizer, from a directory or a Hugging Face id; its own code is never run.

    Raises `BadInput` where there is no such model, no weights in safetensors, or an architecture that is unknown here.
    """
    torch.set_num_threads(1)
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        result: Any = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # boundary: a stranger's model directory, parsed by foreign code
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BadInput(f"{model} cannot be loaded as a causal language model: {reason}") from error
    network, loaded = result
    if loaded["missing_keys"]:
        # Transformers would fill them at random, differently in every process.
        raise BadInput(f"{model} cannot be used: its weights lack {', '.join(sorted(loaded['missing_keys'])[:3])}")
    network.train(False)
    return network, tokenizer


def save(network: Any, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write both under a temporary name, then rename: a half-written model is never found under `directory`."""
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    network.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    os.replace(unfinished, directory)  # noqa: PTH105


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str, limit: int) -> list[int]:
    """The tokens in front of a response: the tokenizer's chat template, or "Prompt: ...\\nResponse:\\n" without one.

    Only the last `limit` tokens are kept: what tells one request from another usually stands near its end.
    """
    if tokenizer.chat_template:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
    else:
        rendered = f"Prompt: {prompt}\nResponse:\n"
    tokens: list[int] = tokenizer.encode(rendered, add_special_tokens=False, verbose=False)
    return tokens[-limit:]


def response_tokens(tokenizer: PreTrainedTokenizerBase, response: str) -> list[int]:
    """The tokens that a model learns to answer: the response, and its end where the tokenizer has a token for it."""
    return _ended(tokenizer, tokenizer.encode(response, add_special_tokens=False, verbose=False))


def locate_response_tokens(
    tokenizer: PreTrainedTokenizerBase, responses: Sequence[str]
) -> list[tuple[list[int], list[tuple[int, int]]]]:
    """For each response its `response_tokens`, and the characters that each of them but the end stands for.

    Raises `BadInput` where the tokenizer cannot tell.
    """
    if not tokenizer.is_fast:
        raise BadInput("the base model's tokenizer does not tell where its tokens stand: one of `tokenizers` is needed")
    encoded = tokenizer(list(responses), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        (_ended(tokenizer, tokens), spans)
        for tokens, spans in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    ]


def _ended(tokenizer: PreTrainedTokenizerBase, tokens: list[int]) -> list[int]:
    return tokens if tokenizer.eos_token_id is None else [*tokens, tokenizer.eos_token_id]


def answer_greedily(
    network: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_tokens: int, prompt_limit: int
) -> list[Completion]:
    """Greedy answers in the order of the prompts, exactly what the model wrote: not stripped, not cleaned."""
    encoded = [prompt_tokens(tokenizer, prompt, prompt_limit) for prompt in prompts]
    completions: list[Completion] = []
    for start in range(0, len(encoded), _BATCH):
        completions += _answer_batch(network, tokenizer, encoded[start : start + _BATCH], max_tokens)
    return completions


def _answer_batch(
    network: Any, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], max_tokens: int
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
        sequences = network.generate(input_ids=inputs, attention_mask=mask, generation_config=greedy)
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
