"""The miner's signature over its own answers: exactly one `Transcript` per task, on disk before it is shown.

Rules kept: nothing is signed that was not asked and answered (a prompt that never arrived is no miss), and the same
request brings the same signature while another one for the same task is refused for good.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from validator.edges.keys import Signer
from validator.json_lines import JsonLines
from validator.miner.answers import AnswerBook
from validator.miner.chain_client import MinerChain
from validator.miner.job import ServedModel
from validator.miner.job_request import to_hex
from validator.miner.objects import JSON, bad_request, conflict
from validator.miner.respondent import hash_reply
from validator.protocol import typed_data
from validator.protocol.commitment import hash_marks, hash_replies
from validator.types import Hash32

Change = Callable[[list[Hash32]], list[Hash32]]


class Notary:
    """Signs with the miner's evidence key."""

    def __init__(self, evidence_key: Signer, chain: MinerChain, answers: AnswerBook, path: Path) -> None:
        self._evidence_key = evidence_key
        self._chain = chain
        self._answers = answers
        self._lines = JsonLines(path)
        self._turn = asyncio.Lock()
        self._signed: dict[str, JSON] = {line["task_id"]: line for line in self._lines.load()}

    async def sign(self, model: ServedModel, prompt_hashes: Sequence[Hash32]) -> JSON:
        """The signed transcript of a model over these prompts, which stand in ascending order of their leaves.

        Refusal: 400 if the prompts are not the task's n distinct, asked rows in order; 409 if another one is signed.
        """
        task_id = to_hex(model.request.task_id)
        asked = [to_hex(prompt_hash) for prompt_hash in prompt_hashes]
        async with self._turn:
            signed = self._signed.get(task_id)
            if signed is None:
                transcript: JSON = await self._compose(model, prompt_hashes)
                signed = {"task_id": task_id, "prompt_hashes": asked, "transcript": transcript}
                self._lines.append(signed)
                self._signed[task_id] = signed
        if signed["prompt_hashes"] != asked:
            raise conflict("another transcript has been signed for this task")
        return cast(JSON, signed["transcript"])

    async def sign_over(self, model: ServedModel, prompt_hashes: Sequence[Hash32], change: Change) -> JSON:
        """A transcript over other replies than were given, whatever else is signed; Refusal (400) as of `sign`."""
        return await self._compose(model, prompt_hashes, change)

    async def _compose(self, model: ServedModel, prompt_hashes: Sequence[Hash32], change: Change | None = None) -> JSON:
        terms, dataset = model.terms, model.dataset
        if len(prompt_hashes) != terms.n:
            raise bad_request(f"{terms.n} prompt hashes are needed", "prompt_hashes")
        leaves, replies = [], []
        for prompt_hash in prompt_hashes:
            places = [i for i, hashes in enumerate(dataset.hashes) if hashes.prompt_hash == prompt_hash]
            if len(places) != 1:
                raise bad_request(f"{to_hex(prompt_hash)} is not the prompt of exactly one row", "prompt_hashes")
            answer = self._answers.get(model.model_id, dataset.rows[places[0]].prompt)
            if answer is None:
                raise bad_request(f"{to_hex(prompt_hash)} has not been asked", "prompt_hashes")
            leaves.append(dataset.hashes[places[0]].leaf)
            replies.append(hash_reply(model, answer))
        if change is not None:
            replies = change(replies)
        try:
            marks_hash = hash_marks(leaves)
        except ValueError as error:
            raise bad_request(str(error), "prompt_hashes") from error
        replies_hash = hash_replies(list(zip(prompt_hashes, replies, strict=True)))
        message = typed_data.transcript(model.request.task_id, model.model_hash, marks_hash, replies_hash)
        return {
            "task_id": to_hex(model.request.task_id),
            "model_hash": to_hex(model.model_hash),
            "marks_hash": to_hex(marks_hash),
            "replies": [to_hex(reply) for reply in replies],
            "replies_hash": to_hex(replies_hash),
            "signature": to_hex(await self._evidence_key.sign_typed_data(self._chain.domain, message)),
        }


@dataclass(frozen=True, slots=True)
class Signing:
    """A transcript that was asked for, and what a miner can sign."""

    notary: Notary
    model: ServedModel
    prompt_hashes: Sequence[Hash32]

    async def once(self) -> JSON:
        """`Notary.sign`: the one transcript of the task."""
        return await self.notary.sign(self.model, self.prompt_hashes)

    async def over(self, change: Change) -> JSON:
        """Another one, over what `change` makes of the hashes of the replies."""
        return await self.notary.sign_over(self.model, self.prompt_hashes, change)
