"""The language model that proposes words: any Hugging Face causal model, in this process.

Importing this module loads torch; it is imported only where a model runs, in a child process of the daemon.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from validator.language_model import load, prompt_tokens

MAX_CONTEXT_TOKENS = 256
"""Context that the scorer looks back at; more would cost time and change few ranks."""


class LocalScorer:
    """A causal language model as a WordScorer (validator/marks/sampler.py). One thread, no remote code."""

    def __init__(self, model: str) -> None:
        self._model, self._tokenizer = load(model)
        self.identity = identify_model(model)
        self.context_tokens = int(getattr(self._model.config, "max_position_embeddings", sys.maxsize))

    @torch.inference_mode()
    def score(self, prompt: str, prefix: str, words: Sequence[str], following: str = "") -> list[float]:
        """Log-probability of each word (all its tokens), and of `following` behind it, in the response that begins with
        `prefix`.
        """
        glue, tail = " " if prefix else "", " " + following if following else ""
        word_ids = [self._encode(glue + word + tail) for word in words]
        limit = min(MAX_CONTEXT_TOKENS, self.context_tokens - max(map(len, word_ids)))
        context_ids = (prompt_tokens(self._tokenizer, prompt, limit) + self._encode(prefix))[-limit:]
        past = self._model(torch.tensor([context_ids]), use_cache=True)
        first = torch.log_softmax(past.logits[0, -1].float(), dim=-1)
        longest = max(map(len, word_ids))
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids in word_ids])
        past.past_key_values.batch_repeat_interleave(len(words))
        rest = self._model(padded, past_key_values=past.past_key_values, use_cache=True).logits.float()
        later = torch.log_softmax(rest, dim=-1)
        return [
            float(first[ids[0]] + sum(later[row, column, token] for column, token in enumerate(ids[1:])))
            for row, ids in enumerate(word_ids)
        ]

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def identify_model(model: str) -> str:
    """The hub id, or for a directory the SHA-256 of its weights."""
    directory = Path(model)
    if not directory.is_dir():
        return model
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"
