"""What a miner has answered: the first complete answer to a prompt is the answer, now and after a restart."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path

from validator.json_lines import JsonLines
from validator.miner.objects import JSON


class AnswerBook:
    """Remembered answers by (model id, prompt): {text, finish_reason, prompt_tokens, completion_tokens}."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path)
        self._answers = {(line["model"], line["prompt"]): line["answer"] for line in self._lines.load()}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def get(self, model_id: str, prompt: str) -> JSON | None:
        answer: JSON | None = self._answers.get((model_id, prompt))
        return answer

    async def answer(self, model_id: str, prompt: str, generate: Callable[[], Awaitable[JSON]]) -> JSON:
        """The remembered answer, or a generated one that is on disk before it is returned."""
        async with self._locks[model_id]:
            answer = self.get(model_id, prompt)
            if answer is None:
                answer = await generate()
                self._lines.append({"model": model_id, "prompt": prompt, "answer": answer})
                self._answers[(model_id, prompt)] = answer
            return answer
