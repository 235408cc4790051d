"""A model directory on disk: loading it, saving one, and how a prompt becomes tokens.

Rule kept: a prompt is rendered in one place, so what a miner trains on and what it answers to cannot drift apart, and a
directory that has its final name is complete.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from validator.errors import BadInput

logging.disable_progress_bar()  # type: ignore[no-untyped-call]
logging.set_verbosity_error()  # type: ignore[no-untyped-call]


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


def save(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
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
