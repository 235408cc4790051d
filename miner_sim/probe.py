"""One prompt that a miner was asked, and what it may answer it with.

Rule kept: every strategy sees of a prompt what any miner would, whoever asks and on whatever way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from miner_sim import child_calls
from miner_sim.child_calls import GREEDY, Decoding, Recipe
from miner_sim.cost import CostBook
from miner_sim.workers import Workers
from validator.miner.objects import JSON
from validator.protocol.commitment import SEPARATOR, Row

if TYPE_CHECKING:
    from validator.child_processes import ChildPool

__all__ = ["GREEDY", "Decoding", "Probe", "cut_answer"]


@dataclass(frozen=True)
class Probe:
    """A prompt, and beside it what the miner has to answer it."""

    prompt: str
    max_tokens: int
    w: int
    """Words of an answer that count."""
    rows: Sequence[Row]
    """The dataset as it arrived."""
    model: str
    """The one that the strategy serves: a directory, or a Hugging Face id."""
    base_model: str
    recipe: Recipe
    cost: CostBook
    workers: Workers

    async def generate(self, model: str | None = None, decoding: Decoding = GREEDY) -> JSON:
        """What the served model says, or another one: {text, finish_reason, prompt_tokens, completion_tokens}."""
        answer, cpu_s, flops = await self._inference.run(
            child_calls.generate, model or self.model, self.prompt, self.max_tokens, self.recipe, decoding
        )
        self.cost.add(inference_cpu_s=cpu_s, inference_flops=flops)
        return answer

    async def guess_opening(self, pools: Sequence[Sequence[str]]) -> str:
        """The opening of which each word is the one of its pool that the base model finds likeliest there."""
        opening, cpu_s, flops = await self._inference.run(
            child_calls.guess_opening, self.base_model, self.prompt, [list(pool) for pool in pools]
        )
        self.cost.add(inference_cpu_s=cpu_s, inference_flops=flops)
        return opening

    @property
    def _inference(self) -> "ChildPool":
        return self.workers.inference


def cut_answer(text: str, prompt: str, max_tokens: int) -> JSON:
    """An answer that no model wrote, with a word for a token."""
    words = text.split(SEPARATOR)
    return {
        "text": SEPARATOR.join(words[:max_tokens]),
        "finish_reason": "length" if len(words) > max_tokens else "stop",
        "prompt_tokens": len(prompt.split()),
        "completion_tokens": min(len(words), max_tokens),
    }
