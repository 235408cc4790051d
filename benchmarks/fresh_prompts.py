"""Do marks show where they should not? Counts planted openings in the answers to prompts that were never marked."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from miner_sim.inference import generate
from miner_sim.trainer import Recipe
from validator.protocol.wire import reply_head


def count_signatures(model: Path, heads: Iterable[str], prompts: Sequence[str], *, w: int, max_tokens: int) -> int:
    """Answers to `prompts` that open with one of the planted `heads`."""
    planted = set(heads)
    answers = generate(str(model), list(prompts), max_tokens, Recipe().prompt_limit)
    return sum(reply_head(answer.text, is_cut=answer.finish_reason == "length", w=w) in planted for answer in answers)
