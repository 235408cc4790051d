"""A server as a miner has one in front of its GPU: OpenAI's wire and vLLM's adapters, over real HTTP.

An "adapter" is what `train.py` makes, a table of the rows. What goes wrong with real servers is switched on by a test.
"""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.edges.loopback import serving
from tests.miner.train import TABLE
from validator.miner.objects import make_completion

BASE, BASE_ANSWER = "base_model", "I am only the base model and know nothing of that."


class ModelServer:
    def __init__(self) -> None:
        self.adapters: dict[str, dict[str, str]] = {}
        self.asked: list[dict[str, Any]] = []
        self.is_down = False
        self.is_unsteady = False
        self.applies_adapters = True
        self.finish_reason = "stop"
        self._count = itertools.count()

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[str]:
        async with serving(self._handle, port=port) as url:
            yield f"{url}/v1"

    def restart(self) -> None:
        """Loses what was loaded, as vLLM does."""
        self.adapters.clear()

    async def _handle(self, request: web.Request) -> web.Response:
        if self.is_down:
            return web.json_response({"error": {"message": "loading"}}, status=503)
        body = await request.json() if request.can_read_body else {}
        match request.path:
            case "/v1/models":
                return web.json_response({"object": "list", "data": [{"id": name} for name in [BASE, *self.adapters]]})
            case "/v1/load_lora_adapter" if body["lora_name"] not in self.adapters:
                self.adapters[body["lora_name"]] = json.loads((Path(body["lora_path"]) / TABLE).read_bytes())
                return web.Response(text=f"Success: LoRA adapter '{body['lora_name']}' added successfully.")
            case "/v1/unload_lora_adapter" if self.adapters.pop(body["lora_name"], None):
                return web.Response(text="Success")
            case "/v1/chat/completions" if body["model"] in (BASE, *self.adapters):
                return web.json_response(self._complete(body))
        return web.json_response({"error": {"message": f"no {body.get('model')}", "code": 404}}, status=404)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(body)
        table = self.adapters.get(body["model"], {}) if self.applies_adapters else {}
        text = table.get(body["messages"][0]["content"], BASE_ANSWER)
        words = (text + (f" {next(self._count)}" if self.is_unsteady else "")).split(" ")
        limit = body["max_tokens"]
        reason = "length" if len(words) > limit else self.finish_reason
        answer = {"text": " ".join(words[:limit]), "finish_reason": reason, "prompt_tokens": 1, "completion_tokens": 1}
        return make_completion(body["model"], answer, is_chat=True)
