"""Base models of other architectures, built from their configuration classes and pretrained here as the embedded one
was: same text, same tokenizer, same recipe, about the same size. Kept under .cache, never shipped, never downloaded.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from validator.base_model import EMBEDDED_MODEL
from validator.errors import BadInput

CACHE = Path(".cache/science/models")
STEPS = 1_800
"""Half of the embedded model's."""


def find_model(name: str) -> str:
    """The directory of a base model, pretrained first where it is not there yet (about five minutes on one core)."""
    if name == "llama":
        return EMBEDDED_MODEL
    directory = CACHE / name
    if not directory.exists():
        _pretrain(name, directory)
    return str(directory)


def _gpt2(tokenizer: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=512,
            n_embd=128,
            n_layer=4,
            n_head=4,
            n_inner=512,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


CONFIGURATIONS: dict[str, Callable[[Any], Any]] = {"gpt2": _gpt2}


def _pretrain(name: str, directory: Path) -> None:
    import torch

    from validator.base_model.pretrain import SEED, pretrain, read_text
    from validator.language_model import load, save

    data = os.environ.get("TOUCHSTONE_DATA")
    if not data:
        raise BadInput(f"{name} is pretrained on the datasets: set TOUCHSTONE_DATA to their folder")
    torch.manual_seed(SEED)
    _network, tokenizer = load(EMBEDDED_MODEL)
    documents = tokenizer(read_text(Path(data), held_out=False), add_special_tokens=False)["input_ids"]
    network = CONFIGURATIONS[name](tokenizer)
    pretrain(network, documents, STEPS)
    directory.parent.mkdir(parents=True, exist_ok=True)
    save(network, tokenizer, directory)
