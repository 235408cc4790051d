"""A server of the operator's own that speaks OpenAI's wire and loads LoRA adapters while it runs, as vLLM does.

It serves the base model of the tasks, sees the state directory under the same path, and of vLLM's options needs
`--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=true. What it loads has been checked; its configuration is ours.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from validator.edges.http import HttpClient
from validator.errors import MinerFault, TouchstoneError
from validator.protocol.state import Answer
from validator.protocol.wire import build_probe, parse_completion


class ServerFailed(TouchstoneError):
    """Our own server refused, or answered what is no answer: nobody else's fault."""


class OpenAIProber:
    """Adapters on one server; `url` is what stands in front of /v1. Transient if it cannot be reached."""

    def __init__(self, http: HttpClient, url: str, api_key: str = "none") -> None:
        self._session = http.open_own(url)
        self._api_key = api_key

    async def probe(self, adapter_name: str, directory: Path, prompts: Sequence[str], max_tokens: int) -> list[Answer]:
        """The answers of the base model with the adapter in `directory`, which is loaded for them and then unloaded."""
        unload = {"lora_name": adapter_name}
        with suppress(ServerFailed):  # left over from a daemon that was killed in the middle
            await self._tell("/v1/unload_lora_adapter", unload)
        await self._tell("/v1/load_lora_adapter", unload | {"lora_path": str(directory)})
        try:
            return [await self._ask(adapter_name, prompt, max_tokens) for prompt in prompts]
        finally:
            await self._tell("/v1/unload_lora_adapter", unload)

    async def _tell(self, path: str, body: dict[str, str]) -> None:
        try:
            await self._session.request("POST", path, token=self._api_key, json=body)
        except MinerFault as error:
            raise ServerFailed(str(error)) from error

    async def _ask(self, model: str, prompt: str, max_tokens: int) -> Answer:
        probe = build_probe(model, prompt, max_tokens)
        try:
            body = await self._session.request_json("POST", "/v1/chat/completions", token=self._api_key, json=probe)
            return Answer(*parse_completion(body, model))
        except (MinerFault, ValueError) as error:
            raise ServerFailed(str(error)) from error
