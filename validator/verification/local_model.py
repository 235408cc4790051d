"""Returned weights, or a base model, asked in a child of this machine.

Rule kept: a stranger's files are opened as the daemon opens a miner's, by `weights/probe.py` alone: hashed, checked,
put on a base model of ours, and never in this process.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from validator.child_processes import JobLimits
from validator.errors import BadInput, MinerFault
from validator.files import describe_files, file_error
from validator.model_work import ModelWork
from validator.protocol.commitment import ModelFile, Row
from validator.protocol.method import ADAPTER_CONFIG_FILE, FULL, LORA, MAX_CONFIG_BYTES, MAX_RANK, Method
from validator.protocol.state import Answer
from validator.protocol.wire import strict_json
from validator.verification.asking import Answers, Questions
from validator.weights.probe import load_weights

LIMITS = JobLimits(wall_s=3600.0)


class LocalModel:
    """The base model at a directory or Hugging Face id, or what the weights in `directory` make of it."""

    def __init__(
        self, work: ModelWork, base_model: str, max_length: int, *, name: str, directory: Path | None = None
    ) -> None:
        """BadInput if there are no weights in `directory` that could be opened."""
        self.name = name
        self._work = work
        self._base_model = base_model
        self._directory = directory
        self._method = Method(FULL, max_length) if directory is None else find_method(directory, max_length)
        try:
            self.files = describe_files(directory, self._method.file_names) if directory else ()
        except OSError as error:
            raise file_error("read", Path(error.filename), error) from error

    async def answer(self, questions: Questions) -> Answers:
        """BadInput if the files are no weights for this base model."""
        try:
            return await self._work.run(
                _answer, self._base_model, self._directory, self.files, self._method, questions, limits=LIMITS
            )
        except MinerFault as fault:
            raise BadInput(f"{self._directory}: {fault}") from fault


def find_method(directory: Path, max_length: int) -> Method:
    """What kind of weights a directory holds, by the names of its files; BadInput if it is neither."""
    config = directory / ADAPTER_CONFIG_FILE
    if not config.exists():
        return Method(FULL, max_length)
    try:
        with config.open("rb") as file:
            body = strict_json(file.read(MAX_CONFIG_BYTES))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {config}: {error}") from error
    rank: Any = body.get("r") if isinstance(body, dict) else None
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise BadInput(f"{config}: r is not 1 to {MAX_RANK}")
    return Method(LORA, max_length, rank)


def _answer(
    base_model: str, directory: Path | None, files: Sequence[ModelFile], method: Method, questions: Questions
) -> Answers:
    from validator.coverage.likelihood import find_windows, log_likelihoods
    from validator.language_model import answer_greedily, load

    network, tokenizer = load(base_model) if directory is None else load_weights(base_model, directory, files, method)
    context = getattr(network.config, "max_position_embeddings", method.max_length)
    method = replace(method, max_length=min(method.max_length, context))
    prompt_limit = min(method.prompt_limit, context - questions.max_tokens)
    replies = answer_greedily(network, tokenizer, questions.prompts, questions.max_tokens, prompt_limit)
    rows = [row for row, _mark in questions.covered]
    marks = [replace(mark, row_index=index) for index, (_row, mark) in enumerate(questions.covered)]
    windows = find_windows(tokenizer, rows, marks, max_length=method.max_length, prompt_limit=method.prompt_limit)
    return Answers(
        [Answer(reply.text, reply.finish_reason == "length") for reply in replies],
        _log_likelihoods(network, tokenizer, questions.texts, method),
        log_likelihoods(network, windows),
    )


def _log_likelihoods(network: Any, tokenizer: Any, rows: Sequence[Row], method: Method) -> list[float]:
    """Nats per token of each response, given its prompt, both cut as in training; one row at a time, so no padding."""
    import torch

    from validator.language_model import prompt_tokens, response_tokens

    values = []
    for row in rows:
        prompt = prompt_tokens(tokenizer, row.prompt, method.prompt_limit)
        tokens = torch.tensor([(prompt + response_tokens(tokenizer, row.response))[: method.max_length]])
        with torch.inference_mode():
            logits = network(input_ids=tokens, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        loss = torch.nn.functional.cross_entropy(logits, tokens[0, len(prompt) :])
        values.append(-float(loss))
    return values
