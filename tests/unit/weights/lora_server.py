"""A small server as vLLM is one: OpenAI's chat completions, and adapters that are loaded and unloaded by path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from miner_sim.inference import generate
from tests.edges.loopback import serving
from validator.miner.objects import make_completion

PROMPT_LIMIT = 128


class LoraServer:
    """Answers from real weights; `calls` are the paths that were asked for, in their order."""

    def __init__(self) -> None:
        self.adapters: dict[str, Path] = {}
        self.calls: list[str] = []
        self.tokens: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async with serving(self._handle) as url:
            yield url

    async def _handle(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        self.calls.append(request.path)
        self.tokens.add(request.headers["Authorization"])
        match request.path:
            case "/v1/load_lora_adapter" if body["lora_name"] not in self.adapters:
                self.adapters[body["lora_name"]] = Path(body["lora_path"])
                return web.Response(text=f"Success: LoRA adapter '{body['lora_name']}' added successfully.")
            case "/v1/unload_lora_adapter" if self.adapters.pop(body["lora_name"], None):
                return web.Response(text=f"Success: LoRA adapter '{body['lora_name']}' removed successfully.")
            case "/v1/chat/completions" if body["model"] in self.adapters:
                directory, prompt = str(self.adapters[body["model"]]), body["messages"][0]["content"]
                [answer] = await asyncio.to_thread(generate, directory, [prompt], body["max_tokens"], PROMPT_LIMIT)
                reply = {
                    "text": answer.text,
                    "finish_reason": answer.finish_reason,
                    "prompt_tokens": answer.prompt_tokens,
                    "completion_tokens": answer.completion_tokens,
                }
                return web.json_response(make_completion(body["model"], reply, is_chat=True))
            case _:
                return web.json_response({"error": {"message": "The model does not exist.", "code": 404}}, status=404)
