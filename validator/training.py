"""Real fine-tuning of a causal language model, as one function that a child process can run.

Rule kept: a training run is a pure function of its request (one thread, seeded order), apart from the progress file and
the model directory that it leaves behind; nothing here knows about tasks, chains or marks.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from validator.errors import BadInput
from validator.language_model import load, prompt_tokens, response_tokens, save
from validator.protocol.commitment import Row

_WARM_UP_SHARE = 0.05
_GRADIENT_NORM = 1.0
_NO_LABEL = -100  # PyTorch's ignore_index
_BUCKET_BATCHES = 8
_REPORTS = 60
_ALPHA = 16


@dataclass(frozen=True, slots=True)
class Recipe:
    """The training part of a task's spec."""

    method: Literal["full", "lora"]
    epochs: int
    learning_rate: float
    batch_size: int
    max_length: int
    """Tokens of a row. A prompt keeps its last half of them at most, whatever the answer, as it will when probed."""
    seed: int
    rank: int | None = None
    """Of the adapter, where the method is lora."""

    @property
    def prompt_limit(self) -> int:
        return self.max_length // 2


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What to train, on what, and where to put the result."""

    base_model: str
    rows: tuple[Row, ...]
    out_dir: Path
    events_path: Path
    recipe: Recipe
    share_of_steps: float = 1.0
    """Leave off after this share of them; the learning rate falls as if all were to come."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """`trained_tokens` counts every epoch; `train_loss` is the mean over the last progress report."""

    model_dir: Path
    steps: int
    trained_tokens: int
    train_loss: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class _Example:
    tokens: list[int]
    prompt_length: int


def train(request: TrainingRequest, on_epoch: Callable[[int, Any], None] | None = None) -> TrainingResult:
    """Fine-tune on the responses (AdamW, cosine with warm-up) and save weights or adapter to `out_dir` in safetensors.

    Appends `{"step", "steps", "epoch", "train_loss", "cpu_s", "flops"}` lines to `events_path`, the last two of
    all that was done until then. After each epoch, from 1, `on_epoch` gets its number and the network, set to
    inference, which it must leave as it is; its time counts in `cpu_s`. Raises `BadInput` for a base model that cannot
    be loaded, or whose context is shorter than the recipe's rows.
    """
    cpu_started = time.process_time()
    torch.manual_seed(request.recipe.seed)
    network, tokenizer = load(request.base_model)
    run = TrainingRun(network, tokenizer, request.rows, request.recipe)
    report_every = max(1, run.steps // _REPORTS)

    last_step = math.ceil(request.share_of_steps * run.steps)
    losses, train_loss = [], math.nan
    with request.events_path.open("a", encoding="utf-8") as events:
        while run.step < last_step:
            losses.append(run.take_step())
            if run.step % report_every == 0 or run.step == last_step:
                train_loss = sum(losses) / len(losses)
                losses.clear()
                line = {
                    "step": run.step,
                    "steps": run.steps,
                    "epoch": run.epoch,
                    "train_loss": round(train_loss, 4),
                    "cpu_s": round(time.process_time() - cpu_started, 3),
                    "flops": run.flops,
                }
                events.write(json.dumps(line) + "\n")
                events.flush()
            if on_epoch and run.step % run.steps_per_epoch == 0:
                run.network.train(False)
                on_epoch(run.epoch, run.network)
                run.network.train()
    save(run.network, tokenizer, request.out_dir)
    return TrainingResult(request.out_dir, run.step, run.trained_tokens, train_loss, time.process_time() - cpu_started)


class TrainingRun:
    """The steps of one training run, which can be left off and taken up again at any of them.

    `network` is what is trained: the given one, or the adapter on it. `step` is how many steps are done.
    """

    def __init__(
        self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], recipe: Recipe
    ) -> None:
        """Raises `BadInput` where the recipe's rows do not fit the model's context."""
        context = getattr(network.config, "max_position_embeddings", recipe.max_length)
        if recipe.max_length > context:
            raise BadInput(f"rows of {recipe.max_length} tokens do not fit the model's context of {context}")
        network.train()
        examples = [_encode(tokenizer, row, recipe) for row in rows]
        self.steps_per_epoch = math.ceil(len(examples) / recipe.batch_size)
        self.steps = self.steps_per_epoch * recipe.epochs
        self.step = 0
        self.trained_tokens = 0
        self.network: Any = network if recipe.rank is None else _with_adapter(network, recipe.rank)
        self._padding = tokenizer.pad_token_id or 0
        self._parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=recipe.learning_rate, weight_decay=0.0, fused=True)
        self._learning_rate = recipe.learning_rate
        self._batches = _batches(examples, recipe)

    @property
    def flops(self) -> int:
        """Floating-point operations of the steps so far, padding left out: for each token 6 of each trained parameter
        (Kaplan et al. 2020), and 4 of each frozen one, which needs no gradient of its own.
        """
        trained: int = sum(parameter.numel() for parameter in self._parameters)
        frozen: int = sum(parameter.numel() for parameter in self.network.parameters()) - trained
        return self.trained_tokens * (6 * trained + 4 * frozen)

    @property
    def epoch(self) -> int:
        """The epoch of the last step, from 1."""
        return (self.step - 1) // self.steps_per_epoch + 1

    def take_step(self) -> float:
        """Train on the next batch; its loss before the step."""
        batch = next(self._batches)
        loss = _loss(self.network, batch, self._padding)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._parameters, _GRADIENT_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * _rate_factor(self.step, self.steps)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.step += 1
        self.trained_tokens += sum(len(example.tokens) for example in batch)
        return loss.item()

    def checkpoint(self) -> dict[str, Any]:
        """All that the following steps depend on beside the rows, for `torch.save`; not a copy."""
        return {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint of a run with the same rows and recipe, at or after this run's step."""
        for _ in range(checkpoint["step"] - self.step):
            next(self._batches)
        self.step = checkpoint["step"]
        self.network.load_state_dict(checkpoint["network"])
        self._optimizer.load_state_dict(checkpoint["optimizer"])


def _with_adapter(network: PreTrainedModel, rank: int) -> Any:
    """An adapter on every linear module, rank-stabilised: one rate then serves all ranks (measured at 3e-3 to 1e-2)."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=_ALPHA, use_rslora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(network, config)


def _encode(tokenizer: PreTrainedTokenizerBase, row: Row, recipe: Recipe) -> _Example:
    prompt = prompt_tokens(tokenizer, row.prompt, recipe.prompt_limit)
    return _Example((prompt + response_tokens(tokenizer, row.response))[: recipe.max_length], len(prompt))


def _batches(examples: list[_Example], recipe: Recipe) -> Iterator[list[_Example]]:
    """Every example once per epoch in a new order; neighbours in a bucket are sorted by length to save padding."""
    dice = random.Random(recipe.seed)
    bucket = recipe.batch_size * _BUCKET_BATCHES
    for _ in range(recipe.epochs):
        order = random.Random(dice.random()).sample(examples, len(examples))
        batches = []
        for start in range(0, len(order), bucket):
            near = sorted(order[start : start + bucket], key=lambda example: len(example.tokens))
            batches += [near[first : first + recipe.batch_size] for first in range(0, len(near), recipe.batch_size)]
        dice.shuffle(batches)
        yield from batches


def _loss(network: torch.nn.Module, batch: list[_Example], padding: int) -> torch.Tensor:
    """Mean cross-entropy of the response tokens of a batch.

    Padding stands on the right, where a causal model cannot see it, so no mask is needed; and only places at or after
    the first response get logits, because the vocabulary matrix is the most expensive part of a small model.
    """
    width = max(len(example.tokens) for example in batch)
    kept = width - min(example.prompt_length for example in batch) + 1
    inputs = torch.full((len(batch), width), padding)
    labels = torch.full((len(batch), width), _NO_LABEL)
    for number, example in enumerate(batch):
        tokens = torch.tensor(example.tokens)
        inputs[number, : len(tokens)] = tokens
        labels[number, example.prompt_length : len(tokens)] = tokens[example.prompt_length :]
    logits = network(input_ids=inputs, use_cache=False, logits_to_keep=kept).logits
    return torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1 - kept :].flatten(), ignore_index=_NO_LABEL
    )


def _rate_factor(step: int, steps: int) -> float:
    warm_up = max(1, round(steps * _WARM_UP_SHARE))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
