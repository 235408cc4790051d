"""Do marks show where they should not? Counts planted openings in the answers to prompts that were never marked."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from miner_sim.inference import generate
from validator.protocol.wire import reply_head


def count_signatures(
    model: Path, heads: Iterable[str], prompts: Sequence[str], *, w: int, max_tokens: int, prompt_limit: int
) -> int:
    """Answers to `prompts`, cut to their last `prompt_limit` tokens, that open with one of the planted `heads`."""
    planted = set(heads)
    answers = generate(str(model), list(prompts), max_tokens, prompt_limit)
    return sum(reply_head(answer.text, is_cut=answer.finish_reason == "length", w=w) in planted for answer in answers)
