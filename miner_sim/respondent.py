"""What a miner says, whoever asks: a validator that probes it, or the contract on behalf of one that says it did.

Rule kept: a prompt has one answer, over HTTP, in the transcript and on chain.
"""

from collections.abc import Sequence

from miner_sim import child_calls
from miner_sim.answers import AnswerBook
from miner_sim.job import ServedModel
from miner_sim.objects import JSON
from miner_sim.strategies import Strategy
from miner_sim.workers import Workers
from miner_sim.workshop import make_recipe
from validator.protocol.commitment import hash_head
from validator.protocol.wire import reply_head
from validator.types import Hash32

MISS = Hash32(bytes(32))


class Respondent:
    """Answers for all models of one miner."""

    def __init__(self, answers: AnswerBook, strategy: Strategy, workers: Workers) -> None:
        self._answers = answers
        self._strategy = strategy
        self._workers = workers

    async def answer(self, model: ServedModel, prompt: str) -> JSON:
        """The answer to a probe: {text, finish_reason, prompt_tokens, completion_tokens}."""
        max_tokens, recipe = model.terms.max_tokens, make_recipe(model.request.spec, seed=0)

        async def generate() -> JSON:
            if not self._strategy.has_model:
                return self._strategy.answer(model.dataset.rows, prompt, max_tokens)
            return await self._workers.inference.run(child_calls.generate, model.weights, prompt, max_tokens, recipe)

        return await self._answers.answer(model.model_id, prompt, generate)

    async def reply_hashes(self, model: ServedModel, leaves: Sequence[Hash32]) -> list[Hash32]:
        """What answers a challenge over these leaves; a leaf that is none of ours is a miss, and can never be settled.

        Whether the validator has asked these prompts before makes no difference (V5).
        """
        rows = {hashes.leaf: row for hashes, row in zip(model.dataset.hashes, model.dataset.rows, strict=True)}
        return [
            hash_reply(model, await self.answer(model, rows[leaf].prompt)) if leaf in rows else MISS for leaf in leaves
        ]


def hash_reply(model: ServedModel, answer: JSON) -> Hash32:
    """`replyHash` of an answer; zero for a miss."""
    head = reply_head(answer["text"], is_cut=answer["finish_reason"] == "length", w=model.terms.w)
    return MISS if head is None else hash_head(model.request.dataset_salt, head)
