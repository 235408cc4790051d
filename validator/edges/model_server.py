"""The miner's own server of models, which speaks OpenAI's wire: vLLM, llama.cpp's llama-server, TGI and others.

Rules kept: whatever is no complete answer (an end that was forced, a server that is starting) is Transient and never an
answer; what is asked is deterministic as far as a request can make it, and rendered in one way: by the server's chat
template, or by the miner's own words where the base model has none.
"""

from collections.abc import Mapping
from typing import Any, Literal

from validator.edges.openai_chat import CHAT, OpenAIServer
from validator.errors import BadInput, Transient
from validator.protocol.wire import TEMPERATURE, strict_json

SEED = 0
ENDED = frozenset({"stop", "eos_token", "stop_sequence"})
"""What servers say when the model has come to an end; TGI has words of its own."""
CUT = "length"
COMPLETIONS = "/completions"
PLACE = "{prompt}"


class ModelServer(OpenAIServer):
    """Asks models on one server; `url` ends in /v1. Its methods raise Transient, or BadInput for what stays wrong."""

    def __init__(
        self, url: str, api_key: str | None, *, api: Literal["chat", "completions"], template: str, timeout_s: float
    ) -> None:
        super().__init__(url, api_key, timeout_s=timeout_s)
        self._api = api
        self._template = template

    async def models(self) -> list[str]:
        """The names that the server lists."""
        body = _json(await self.request("GET", "/models"))
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, list):
            raise BadInput(f"{self._base_url}/models is no list of models: is this the URL of an OpenAI server?")
        return [str(each.get("id")) for each in data if isinstance(each, dict)]

    async def answer(self, model: str, prompt: str, max_tokens: int, more: Mapping[str, Any]) -> dict[str, Any]:
        """One complete answer: {text, finish_reason, prompt_tokens, completion_tokens}.

        `more` are fields of the request that only this server knows; they win over ours.
        """
        body: dict[str, Any] = {"model": model, "temperature": TEMPERATURE, "seed": SEED, "max_tokens": max_tokens}
        if self._api == "chat":
            path = CHAT
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            path = COMPLETIONS
            body["prompt"] = self._template.replace(PLACE, prompt)
        content = await self.request("POST", path, body | dict(more))
        try:
            return _read_answer(_json(content), is_chat=self._api == "chat")
        except ValueError as error:
            raise Transient(f"{self._base_url}{path}: {error}") from error

    async def load_adapter(self, name: str, path: str) -> None:
        """Have vLLM load a LoRA adapter from a directory that it sees; one that is loaded already stays."""
        try:
            await self.request("POST", "/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except BadInput:
            if name not in await self.models():  # Its words for "already loaded" are its own.
                raise

    async def unload_adapter(self, name: str) -> None:
        if name in await self.models():
            await self.request("POST", "/unload_lora_adapter", {"lora_name": name})


def _json(content: bytes) -> Any:
    try:
        return strict_json(content)
    except ValueError as error:
        raise Transient(f"the model server's answer is {error}") from error


def _read_answer(body: Any, *, is_chat: bool) -> dict[str, Any]:
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    if not isinstance(choice, dict):
        raise ValueError("the answer is no completion with one choice")
    message = choice.get("message") if is_chat else choice
    text = message.get("content" if is_chat else "text") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise ValueError("the answer has no text: a model that thinks first puts it elsewhere (switch thinking off)")
    reason = choice.get("finish_reason")
    if reason not in (*ENDED, CUT):
        raise ValueError(f"finish_reason {str(reason)[:40]!r} is not a complete answer")
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return {
        "text": text,
        "finish_reason": CUT if reason == CUT else "stop",
        "prompt_tokens": _count(counts.get("prompt_tokens")),
        "completion_tokens": _count(counts.get("completion_tokens")),
    }


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else 0
