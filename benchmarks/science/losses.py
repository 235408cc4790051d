"""How surprised a model is by rows: the mean loss of each response."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from validator.language_model import prompt_tokens
from validator.protocol.commitment import Row

_BATCH = 16


@torch.inference_mode()
def response_losses(
    network: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], max_length: int
) -> tuple[list[float], int]:
    """Mean cross-entropy (nats a token) of each response, cut as in training, and how many tokens were read in all."""
    encoded = []
    for row in rows:
        prompt = prompt_tokens(tokenizer, row.prompt, max_length // 2)
        response = tokenizer.encode(row.response, add_special_tokens=False, verbose=False)
        encoded.append(([*prompt, *response, tokenizer.eos_token_id][:max_length], len(prompt)))
    by_length = sorted(range(len(rows)), key=lambda index: len(encoded[index][0]))
    losses = [0.0] * len(rows)
    for start in range(0, len(rows), _BATCH):
        batch = by_length[start : start + _BATCH]
        width = len(encoded[batch[-1]][0])
        inputs = torch.zeros((len(batch), width), dtype=torch.long)
        for number, index in enumerate(batch):
            tokens = encoded[index][0]
            inputs[number, : len(tokens)] = torch.tensor(tokens)
        logits = network(input_ids=inputs, use_cache=False).logits.float()
        surprise = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), inputs[:, 1:], reduction="none")
        for number, index in enumerate(batch):
            tokens, prompt_length = encoded[index]
            losses[index] = float(surprise[number, prompt_length - 1 : len(tokens) - 1].mean())
    return losses, sum(len(tokens) for tokens, _ in encoded)
