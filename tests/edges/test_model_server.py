"""The miner's own server: what is asked of it, and which of its answers are answers."""

from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.edges.loopback import serving
from validator.edges.model_server import ModelServer
from validator.errors import BadInput, Transient

TEMPLATE = "Prompt: {prompt}\nResponse:\n"


@asynccontextmanager
async def server(answer: Any, api: str = "chat", status: int = 200, asked: list[Any] | None = None):
    async def handle(request: web.Request) -> web.Response:
        if asked is not None:
            asked.append((request.path, await request.json(), request.headers.get("Authorization")))
        return web.json_response(answer, status=status)

    async with (
        serving(handle) as url,
        ModelServer(f"{url}/v1", "key", api=api, template=TEMPLATE, timeout_s=5) as models,
    ):
        yield models


def chat(reason: Any, content: Any = " text as it is ") -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "stop"), ("length", "length"), ("eos_token", "stop"), ("stop_sequence", "stop")],
)
async def test_a_complete_answer(reason: str, told: str):
    asked: list[Any] = []
    async with server(chat(reason) | {"usage": {"prompt_tokens": 5, "completion_tokens": "?"}}, asked=asked) as models:
        answer = await models.answer("m", "Hello", 12, {"cache_prompt": False, "seed": 9})
    assert answer == {
        "text": " text as it is ",
        "finish_reason": told,
        "prompt_tokens": 5,
        "completion_tokens": 0,
    }
    [(path, body, key)] = asked
    assert (path, key) == ("/v1/chat/completions", "Bearer key")
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0,
        "max_tokens": 12,
        "cache_prompt": False,
        "seed": 9,
    }


async def test_a_base_model_without_a_chat_template_is_asked_in_the_protocols_words():
    asked: list[Any] = []
    answer = {"choices": [{"text": "x", "finish_reason": "stop"}]}
    async with server(answer, "completions", asked=asked) as models:
        assert (await models.answer("m", "a {prompt}", 1, {}))["text"] == "x"
    [(path, body, _)] = asked
    assert (path, body["prompt"]) == ("/v1/completions", "Prompt: a {prompt}\nResponse:\n")


@pytest.mark.parametrize(
    "answer",
    [
        chat("abort"),
        chat("content_filter"),
        chat(None),
        chat("stop", None),
        {"choices": []},
        {"choices": [chat("stop")["choices"][0]] * 2},
        [],
    ],
    ids=["abort", "filter", "none", "thinking", "nothing", "two", "list"],
)
async def test_what_is_no_complete_answer_may_pass(answer: Any):
    async with server(answer) as models:
        with pytest.raises(Transient):
            await models.answer("m", "p", 5, {})


@pytest.mark.parametrize(("status", "kind"), [(503, Transient), (429, Transient), (404, BadInput), (400, BadInput)])
async def test_refusals(status: int, kind: type[Exception]):
    async with server({"error": "no such model", "error_type": "x"}, status=status) as models:
        with pytest.raises(kind):
            await models.answer("m", "p", 5, {})
        with pytest.raises(kind):
            await models.load_adapter("m", "/adapter")
