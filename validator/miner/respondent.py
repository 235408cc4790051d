"""What a miner says, whoever asks: a validator that probes it, or the contract on behalf of one that says it did.

Rule kept: a prompt has one answer, over HTTP, in the transcript and on chain.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from validator.miner.answers import AnswerBook
from validator.miner.job import ServedModel
from validator.miner.objects import JSON
from validator.protocol.commitment import hash_head
from validator.protocol.wire import reply_head
from validator.types import Hash32

if TYPE_CHECKING:
    from validator.miner.backend import Backend

MISS = Hash32(bytes(32))


class Respondent:
    """Answers for all models of one miner."""

    def __init__(self, answers: AnswerBook, backend: "Backend") -> None:
        self._answers = answers
        self._backend = backend

    async def answer(self, model: ServedModel, prompt: str) -> JSON:
        """The answer to a probe: {text, finish_reason, prompt_tokens, completion_tokens}."""
        return await self._answers.answer(model.model_id, prompt, lambda: self._backend.answer(model, prompt))

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
