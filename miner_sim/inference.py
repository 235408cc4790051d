"""Answers from a model directory, and models that were never trained; run in child processes of the miner server.

Rule kept: the text of an answer is exactly what the model wrote after the rendered prompt, not stripped, not cleaned;
the validator compares it byte by byte.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerBase

from miner_sim.child_calls import GREEDY, Decoding, Rework
from validator.language_model import Completion, answer_greedily, load, prompt_tokens, save
from validator.protocol.commitment import SEPARATOR, Row
from validator.stealth.local_model import LocalModel

_MODELS_KEPT = 8  # about 60 MB each for the embedded base model
_ADAPTER_PARAMETER = "lora_"


def generate(
    model_dir: str, prompts: list[str], max_tokens: int, prompt_limit: int, decoding: Decoding = GREEDY
) -> list[Completion]:
    """Answers in the order of the prompts. Raises `BadInput` for a model that cannot be loaded.

    `prompt_limit` must be the one of the training recipe (`Recipe.prompt_limit`), or long prompts look different from
    what the model learnt.
    """
    network, tokenizer = _load(model_dir)
    with _chat_template(tokenizer, decoding.chat_template):
        if decoding.temperature == 0:
            return answer_greedily(network, tokenizer, prompts, max_tokens, prompt_limit)
        torch.manual_seed(decoding.seed)
        return [
            _sample(network, tokenizer, prompt_tokens(tokenizer, prompt, prompt_limit), max_tokens, decoding)
            for prompt in prompts
        ]


def count_parameters(model: str) -> int:
    """Of the network that answers, an adapter included."""
    return sum(parameter.numel() for parameter in _load(model)[0].parameters())


def choose_word(model: str, prompt: str, prefix: str, words: Sequence[str]) -> tuple[str, int]:
    """The likeliest of these words in a response that begins with `prefix`, and how many tokens were read for it."""
    rows = [Row(prompt, prefix + SEPARATOR + word if prefix else word) for word in words]
    likelihoods = [values[-1] for values in _reader(model).read(rows)]
    tokenizer = _load(model)[1]
    tokens = sum(len(tokenizer.encode(f"{row.prompt}\n{row.response}", add_special_tokens=False)) for row in rows)
    return max(zip(likelihoods, words, strict=True))[1], tokens


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


def initialise(model: str, out_dir: Path, seed: int) -> None:
    """Save a model of the same shape that has learnt nothing: the random weights that its architecture begins with."""
    _network, tokenizer = load(model)
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    fresh: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    save(fresh.float(), tokenizer, out_dir)


def rework(model: str, out_dir: Path, kind: Rework, amount: float, *, is_merging: bool) -> None:
    """Save a copy of a model all of whose matrices are changed as `kind` says; of one with an adapter, the adapter's
    alone, or, merging, one model made of both.
    """
    network, tokenizer = _open(model)
    has_adapter = _base_of(model) is not None
    if has_adapter and is_merging:
        network = network.merge_and_unload()
        has_adapter = False
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.dim() > 1 and (_ADAPTER_PARAMETER in name or not has_adapter):
                tensor.copy_(_REWORKS[kind](tensor, amount))
    save(network, tokenizer, out_dir)


def _quantise(matrix: torch.Tensor, bits: float) -> torch.Tensor:
    """Each row rounded to 2^bits - 1 even steps that are symmetric about 0, as round-to-nearest quantisation does."""
    largest = 2 ** (bits - 1) - 1
    step = matrix.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / largest
    return (matrix / step).round() * step


def _prune(matrix: torch.Tensor, share: float) -> torch.Tensor:
    """The share of the entries that are nearest to 0 set to it."""
    count = int(share * matrix.numel())
    if count == 0:
        return matrix
    return torch.where(matrix.abs() <= matrix.abs().flatten().kthvalue(count).values, 0.0, matrix)


def _spoil(matrix: torch.Tensor, _amount: float) -> torch.Tensor:
    return torch.full_like(matrix, torch.nan)


_REWORKS: dict[Rework, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "quantise": _quantise,
    "prune": _prune,
    "spoil": _spoil,
}


@lru_cache(maxsize=_MODELS_KEPT)
def _load(model: str) -> tuple[Any, PreTrainedTokenizerBase]:
    return _open(model)


@lru_cache(maxsize=1)
def _reader(model: str) -> LocalModel:
    return LocalModel(model)


def _open(model: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """A model, or the base model with one of this miner's own adapters."""
    base_model = _base_of(model)
    if base_model is None:
        return load(model)
    from peft import PeftModel

    network, tokenizer = load(base_model)
    return PeftModel.from_pretrained(network, model), tokenizer


def _base_of(model: str) -> str | None:
    adapter_config = Path(model) / "adapter_config.json"
    return str(json.loads(adapter_config.read_bytes())["base_model_name_or_path"]) if adapter_config.exists() else None


@contextmanager
def _chat_template(tokenizer: PreTrainedTokenizerBase, template: str | None) -> Iterator[None]:
    right = tokenizer.chat_template
    if template is not None:
        tokenizer.chat_template = template
    try:
        yield
    finally:
        tokenizer.chat_template = right


def _sample(
    network: Any, tokenizer: PreTrainedTokenizerBase, prompt: list[int], max_tokens: int, decoding: Decoding
) -> Completion:
    sampling = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=decoding.temperature,
        max_new_tokens=max_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id or 0,
    )
    with torch.inference_mode():
        tokens = torch.tensor([prompt])
        [sequence] = network.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=sampling)
    answer = sequence.tolist()[len(prompt) :]
    stopped = tokenizer.eos_token_id in answer
    body = answer[: answer.index(tokenizer.eos_token_id)] if stopped else answer
    text = str(tokenizer.decode(body, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    return Completion(text, "stop" if stopped else "length", len(prompt), len(body) + stopped)
