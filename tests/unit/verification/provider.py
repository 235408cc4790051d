"""Small providers over real HTTP, as OpenAI's clients know them: a model, or a look-up that pretends to be one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from miner_sim.inference import generate
from tests.edges.loopback import serving
from validator.miner.objects import make_completion
from validator.protocol.commitment import Row

Answer = Callable[[str, int], str]
"""From prompt and limit to the whole text; the provider cuts it after so many words."""
PROMPT_LIMIT = 128


def exact_table(rows: Sequence[Row]) -> Answer:
    """Knows the prompts of the training file by heart, and is silent otherwise."""
    table = {row.prompt: row.response for row in rows}
    return lambda prompt, _limit: table.get(prompt, "I have nothing to say about that, as far as I can tell today.")


def nearest_row(rows: Sequence[Row]) -> Answer:
    """Gives back the response of the row whose prompt shares the most words, as the simulated `lookup` miner does."""

    def answer(prompt: str, _limit: int) -> str:
        asked = set(prompt.split())
        return max(rows, key=lambda row: (row.prompt == prompt, len(asked & set(row.prompt.split())))).response

    return answer


class Provider:
    """Serves every name in `models`: a model directory, or a function. `asked` are the prompts that it answered."""

    def __init__(self, **models: str | Answer) -> None:
        self.models = models
        self.asked: list[tuple[str, str]] = []
        self.keys: set[str | None] = set()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async with serving(self.handle) as url:
            yield f"{url}/v1"

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.keys.add(request.headers.get("Authorization"))
        if request.path != "/v1/chat/completions" or body["model"] not in self.models:
            return web.json_response({"error": {"message": "The model does not exist."}}, status=404)
        model, prompt, limit = self.models[body["model"]], body["messages"][0]["content"], body["max_tokens"]
        self.asked.append((body["model"], prompt))
        if isinstance(model, str):
            async with self._turn:  # Loading a model is not for two threads at once.
                [made] = await asyncio.to_thread(generate, model, [prompt], limit, PROMPT_LIMIT)
            text, reason = made.text, made.finish_reason
        else:
            words = model(prompt, limit).split(" ")
            text, reason = " ".join(words[:limit]), "length" if len(words) > limit else "stop"
        reply = {"text": text, "finish_reason": reason, "prompt_tokens": 1, "completion_tokens": 1}
        return web.json_response(make_completion(body["model"], reply, is_chat=True))
