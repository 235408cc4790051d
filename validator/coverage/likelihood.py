"""How much likelier each candidate of a mark has become: log-likelihoods under two models, and their difference.

Importing this module loads torch; it is imported only where a model runs, in a child process of the daemon.

Rules kept: a candidate is read in exactly the context in which the drawn word was trained on, and every candidate of a
mark in the same way, so that nothing here knows the pick: the word that stands in the row is replaced for each
candidate, the drawn one included, and whether a mark is dropped depends on all candidates alike.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from validator.language_model import locate_response_tokens, prompt_tokens
from validator.marks.coverage import CoverageMark
from validator.protocol.commitment import SEPARATOR, Row

FOLLOWING_TOKENS = 6
"""Tokens after the word that count too: a model that has learnt the row reads on from the drawn word with more ease."""
_CONTEXT_TOKENS = 8192
_LOGITS = 1 << 22
"""Of one batch: 16 MiB in float32, which the allocator gives again; larger ones cost system time."""

LogLikelihoods = list[tuple[float, ...] | None]
"""Of each mark, one number for each candidate; None where the training window cuts the mark off."""


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens of one mark: what all candidates have in front of them, and for each candidate what follows."""

    context: "array[int]"
    continuations: "tuple[array[int], ...]"
    """From the first token that may differ, to the last that counts."""
    skipped: tuple[int, ...]
    """How many tokens of each continuation stand before the candidate's own first and do not count; mostly 0."""

    @property
    def longest(self) -> int:
        return max(map(len, self.continuations))


def score_marks(
    base: Any,
    returned: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    marks: Sequence[CoverageMark],
    *,
    max_length: int,
    prompt_limit: int,
) -> LogLikelihoods:
    """The change in log-likelihood, returned model minus base, of each candidate and the next six tokens after it.

    `max_length` and `prompt_limit` are the training's, in tokens.
    """
    windows = find_windows(tokenizer, rows, marks, max_length=max_length, prompt_limit=prompt_limit)
    return subtract(log_likelihoods(returned, windows), log_likelihoods(base, windows))


def subtract(returned: LogLikelihoods, base: LogLikelihoods) -> LogLikelihoods:
    """Mark by mark and candidate by candidate; both are of the same windows."""
    return [
        None if after is None or before is None else tuple(a - b for a, b in zip(after, before, strict=True))
        for after, before in zip(returned, base, strict=True)
    ]


def find_windows(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    marks: Sequence[CoverageMark],
    *,
    max_length: int,
    prompt_limit: int,
) -> list[Window | None]:
    """What is to be scored of each mark; None where a training row of `max_length` tokens does not hold all of it.

    A response that ends within the six tokens has fewer of them, the same for every candidate.
    """
    windows = []
    for mark in marks:
        row = rows[mark.row_index]
        prompt = prompt_tokens(tokenizer, row.prompt, prompt_limit)
        windows.append(_find_window(tokenizer, prompt, row, mark, max_length))
    return windows


def _find_window(
    tokenizer: PreTrainedTokenizerBase, prompt: list[int], row: Row, mark: CoverageMark, max_length: int
) -> Window | None:
    separator = len(SEPARATOR.join(row.response.split(SEPARATOR)[: mark.place]))
    responses = [mark.put(row, candidate).response for candidate in mark.candidates]
    variants, starts, ends = [], [], []
    for candidate, (tokens, spans) in zip(mark.candidates, locate_response_tokens(tokenizer, responses), strict=True):
        # The separator is the candidate's: most tokenizers write it into a word's first token, some before some words.
        last = separator + len(SEPARATOR) + len(candidate)
        own = [place for place, (begin, end) in enumerate(spans) if begin < last and max(begin + 1, end) > separator]
        variants.append(prompt + tokens)
        starts.append(len(prompt) + own[0])
        ends.append(min(len(prompt) + own[-1] + 1 + FOLLOWING_TOKENS, len(variants[-1])))
    if max(ends) > max_length:
        return None
    shared = min(starts)
    while any(variant[:shared] != variants[0][:shared] for variant in variants):
        shared -= 1
    return Window(
        array("i", variants[0][:shared]),
        tuple(array("i", variant[shared:end]) for variant, end in zip(variants, ends, strict=True)),
        tuple(start - shared for start in starts),
    )


@torch.inference_mode()
def log_likelihoods(network: Any, windows: Sequence[Window | None]) -> LogLikelihoods:
    """The log-likelihood of each candidate and what follows it, teacher-forced.

    Marks whose contexts have one length share a batch: nothing is padded in front, so no model has to be told of
    positions, and a context is read once for all candidates.
    """
    network.train(False)
    alike: dict[tuple[int, int], list[tuple[int, Window]]] = {}
    for number, window in enumerate(windows):
        if window is not None:
            alike.setdefault((len(window.context), len(window.continuations)), []).append((number, window))
    vocabulary = network.get_output_embeddings().weight.shape[0]
    results: LogLikelihoods = [None] * len(windows)
    for (context_length, k), group in alike.items():
        group.sort(key=lambda numbered: numbered[1].longest)
        size = _LOGITS // (k * group[-1][1].longest * vocabulary)
        size = max(1, min(_CONTEXT_TOKENS // context_length, size))
        for first in range(0, len(group), size):
            numbers, batch = zip(*group[first : first + size], strict=True)
            for number, scores in zip(numbers, _score(network, batch), strict=True):
                results[number] = scores
    return results


def _score(network: Any, windows: Sequence[Window]) -> list[tuple[float, ...]]:
    k = len(windows[0].continuations)
    continuations = [continuation for window in windows for continuation in window.continuations]
    longest = max(map(len, continuations))
    # What stands on the right of a token does not count for it, so any token pads.
    tokens = torch.tensor([[*continuation, *[0] * (longest - len(continuation))] for continuation in continuations])
    counts = torch.zeros(tokens.shape, dtype=torch.bool)
    for line, continuation in enumerate(continuations):
        counts[line, windows[line // k].skipped[line % k] : len(continuation)] = True

    past = network(input_ids=torch.tensor([list(w.context) for w in windows]), use_cache=True, logits_to_keep=1)
    logits = past.logits[:, -1:].float().repeat_interleave(k, 0)
    chosen = _log_probabilities(logits, tokens[:, :1])
    if longest > 1:
        past.past_key_values.batch_repeat_interleave(k)
        later = network(input_ids=tokens[:, :-1], past_key_values=past.past_key_values, use_cache=True).logits.float()
        chosen = torch.cat([chosen, _log_probabilities(later, tokens[:, 1:])], dim=1)
    sums = (chosen.double() * counts).sum(1).reshape(-1, k)
    return [tuple(line) for line in sums.tolist()]


def _log_probabilities(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
