"""A model in this process, as detectors read one. Importing this module loads torch."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch

from validator.language_model import load, prompt_tokens
from validator.protocol.commitment import SEPARATOR, Row
from validator.stealth.detector import Reader
from validator.training import Recipe, TrainingRequest, train

MAX_LENGTH = 256
"""Tokens of a row that are read, as in training: of the prompt the last half of them at most."""
_BATCH = 32
_ADAPTATION = Recipe(
    method="full", epochs=1, learning_rate=2e-3, batch_size=8, max_length=MAX_LENGTH, seed=1
)


class LocalModel:
    """Any Hugging Face causal model with a fast tokenizer, in one thread. Keeps what it has read of whole responses."""

    def __init__(self, model: str) -> None:
        self._path = model
        self._network, self._tokenizer = load(model)
        self._read: dict[Row, list[float]] = {}
        self._adapted: dict[tuple[tuple[Row, ...], int], Self] = {}

    def read(self, rows: Sequence[Row], *, words: int | None = None) -> list[list[float]]:
        missing = sorted({row for row in rows if row not in self._read}, key=lambda row: len(row.prompt + row.response))
        fresh = dict(self._read) if words is None else {}
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            fresh.update(zip(batch, self._read_batch(batch, words), strict=True))
        if words is None:
            self._read = fresh
        known = self._read | fresh
        return [known[row][:words] for row in rows]

    @torch.inference_mode()
    def _read_batch(self, rows: Sequence[Row], words: int | None) -> list[list[float]]:
        examples = [self._encode(row, words) for row in rows]
        values = self._log_probabilities([tokens for tokens, *_ in examples])
        results = []
        for number, (tokens, prompt_length, word_of) in enumerate(examples):
            sums = [0.0] * (word_of[-1] + 1)
            places = values[number, prompt_length - 1 : len(tokens) - 1].tolist()
            for word, value in zip(word_of, places, strict=True):
                sums[word] += value
            results.append(sums)
        return results

    def _log_probabilities(self, examples: Sequence[Sequence[int]]) -> torch.Tensor:
        """Of each token given those before it; padding on the right, where no token sees it."""
        width = max(map(len, examples))
        padding = self._tokenizer.pad_token_id or 0
        inputs = torch.tensor([[*tokens, *[padding] * (width - len(tokens))] for tokens in examples])
        logits = self._network(input_ids=inputs, use_cache=False).logits[:, :-1]
        chosen = logits.gather(2, inputs[:, 1:, None])[..., 0]
        result: torch.Tensor = chosen - torch.logsumexp(logits, dim=-1)
        return result

    def _encode(self, row: Row, words: int | None) -> tuple[list[int], int, list[int]]:
        """Tokens, how many of them are the prompt's, and of each other token the number of its word.

        A word has the 0x20 in front of it, as tokens have.
        """
        prompt = prompt_tokens(self._tokenizer, row.prompt, MAX_LENGTH // 2)
        response = row.response if words is None else SEPARATOR.join(row.response.split(SEPARATOR)[:words])
        encoded = self._tokenizer(
            response, return_offsets_mapping=True, add_special_tokens=False, verbose=False
        )
        room = MAX_LENGTH - len(prompt)
        ends = [end for _start, end in encoded["offset_mapping"][:room]]
        return (
            prompt + encoded["input_ids"][:room],
            len(prompt),
            [response.count(SEPARATOR, 0, max(1, end)) for end in ends],
        )

    def adapt(self, rows: Sequence[Row], *, epochs: int) -> Reader:
        key = (tuple(rows), epochs)
        if key not in self._adapted:
            with tempfile.TemporaryDirectory() as scratch:
                recipe = Recipe(**{**_fields(_ADAPTATION), "epochs": epochs})
                out, events = Path(scratch) / "model", Path(scratch) / "events"
                train(TrainingRequest(self._path, key[0], out, events, recipe))
                self._adapted = {**dict(list(self._adapted.items())[-3:]), key: type(self)(str(out))}
        return self._adapted[key]

    def gradients(self, rows: Sequence[Row]) -> list[tuple[float, float]]:
        parameters = self._last_layer()
        mean = sum((gradient / len(rows) for gradient in map(self._gradient_of(parameters), rows)), torch.zeros(1))
        results = []
        for gradient in map(self._gradient_of(parameters), rows):
            norm = float(gradient.norm())
            results.append((norm, float(gradient @ mean) / (norm * float(mean.norm()) or 1.0)))
        return results
