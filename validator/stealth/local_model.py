"""A model in this process, as detectors read one. Importing this module loads torch."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from validator.language_model import load, prompt_tokens
from validator.protocol.commitment import SEPARATOR, Row
from validator.stealth.detector import Reader
from validator.training import Recipe, TrainingRequest, train

MAX_LENGTH = 256
"""Tokens of a row that are read, as in training: of the prompt the last half of them at most."""
_BATCH = 32
_KEPT_TEXTS = 50_000
_KEPT_MODELS = 4
_ADAPTATION = Recipe(method="full", epochs=1, learning_rate=2e-3, batch_size=8, max_length=MAX_LENGTH, seed=1)


class LocalModel:
    """Any Hugging Face causal model with a fast tokenizer, in one thread; it keeps what it has read and become."""

    def __init__(self, model: str) -> None:
        self._path = model
        self._network, self._tokenizer = load(model)
        self._read: dict[tuple[Row, int | None], list[float]] = {}
        self._adapted: dict[tuple[tuple[Row, ...], int], LocalModel] = {}
        self._gradients: dict[tuple[Row, ...], list[tuple[float, float]]] = {}

    def read(self, rows: Sequence[Row], *, words: int | None = None) -> list[list[float]]:
        if len(self._read) > _KEPT_TEXTS:
            self._read.clear()
        missing = {row for row in rows if (row, words) not in self._read}
        by_length = sorted(missing, key=lambda row: (len(row.prompt) + len(row.response), row.prompt, row.response))
        for start in range(0, len(by_length), _BATCH):
            batch = by_length[start : start + _BATCH]
            for row, values in zip(batch, self._read_batch(batch, words), strict=True):
                self._read[row, words] = values
        return [self._read[row, words] for row in rows]

    @torch.inference_mode()
    def _read_batch(self, rows: Sequence[Row], words: int | None) -> list[list[float]]:
        examples = [self._encode(row, words) for row in rows]
        prompts = min(length for _, length, _ in examples)
        values = self._log_probabilities([tokens for tokens, _, _ in examples], prompts)
        results = []
        for number, (tokens, prompt_length, word_of) in enumerate(examples):
            sums = [0.0] * (max(word_of, default=0) + 1)
            own = values[number, prompt_length - prompts : len(tokens) - prompts].tolist()
            for word, value in zip(word_of, own, strict=True):
                sums[word] += value
            results.append(sums)
        return results

    def _encode(self, row: Row, words: int | None = None) -> tuple[list[int], int, list[int]]:
        """Tokens, how many of them are the prompt's, and of each other one the number of the word that it ends in."""
        prompt = prompt_tokens(self._tokenizer, row.prompt, MAX_LENGTH // 2)
        response = row.response if words is None else SEPARATOR.join(row.response.split(SEPARATOR)[:words])
        encoded = self._tokenizer(response, return_offsets_mapping=True, add_special_tokens=False, verbose=False)
        room = MAX_LENGTH - len(prompt)
        word_of = [response.count(SEPARATOR, 0, end) for _start, end in encoded["offset_mapping"][:room]]
        return prompt + encoded["input_ids"][:room], len(prompt), word_of

    def _log_probabilities(self, examples: Sequence[Sequence[int]], start: int) -> torch.Tensor:
        """Of each token from number `start` (>= 1) on, given those before it.

        Padding stands on the right, where no token sees it; what comes before `start` gets no logits, which are the
        dearest part of a small model.
        """
        width = max(map(len, examples))
        padding = self._tokenizer.pad_token_id or 0
        inputs = torch.tensor([[*tokens, *[padding] * (width - len(tokens))] for tokens in examples])
        logits = self._network(input_ids=inputs, use_cache=False, logits_to_keep=width - start + 1).logits[:, :-1]
        chosen: torch.Tensor = logits.gather(2, inputs[:, start:, None])[..., 0]
        return chosen - torch.logsumexp(logits, dim=-1)

    def adapt(self, rows: Sequence[Row], *, epochs: int) -> Reader:
        key = (tuple(rows), epochs)
        if key not in self._adapted:
            if len(self._adapted) == _KEPT_MODELS:
                del self._adapted[next(iter(self._adapted))]
            with tempfile.TemporaryDirectory() as scratch:
                out = Path(scratch) / "model"
                recipe = replace(_ADAPTATION, epochs=epochs)
                train(TrainingRequest(self._path, key[0], out, Path(scratch) / "events", recipe))
                self._adapted[key] = LocalModel(str(out))
        return self._adapted[key]

    def gradients(self, rows: Sequence[Row]) -> list[tuple[float, float]]:
        key = tuple(rows)
        if key not in self._gradients:
            self._gradients = {key: self._compute_gradients(rows)}
        return self._gradients[key]

    def _compute_gradients(self, rows: Sequence[Row]) -> list[tuple[float, float]]:
        last = f".{self._network.config.num_hidden_layers - 1}."
        for name, parameter in self._network.named_parameters():
            parameter.requires_grad_(last in f".{name}")
        parameters = [parameter for parameter in self._network.parameters() if parameter.requires_grad]

        def gradient_of(row: Row) -> torch.Tensor:
            tokens, prompt_length, _ = self._encode(row)
            loss = -self._log_probabilities([tokens], prompt_length).mean()
            return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])

        # Twice over the rows, instead of once with all gradients in memory.
        mean = torch.zeros(sum(parameter.numel() for parameter in parameters))
        for row in rows:
            mean += gradient_of(row) / len(rows)
        return [
            (float(gradient.norm()), float(torch.cosine_similarity(gradient, mean, dim=0)))
            for gradient in map(gradient_of, rows)
        ]
