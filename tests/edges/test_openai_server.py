"""A server of the operator's own: an adapter is loaded, asked and unloaded, and what fails there is nobody's fault."""

from pathlib import Path

import pytest
from aiohttp import web

from tests.edges.loopback import always, serving
from validator.config import DEV, PRODUCTION
from validator.edges.http import HttpClient
from validator.edges.openai_server import OpenAIProber, ServerFailed
from validator.errors import Transient
from validator.protocol.state import Answer
from validator.protocol.wire import build_probe

DIRECTORY = Path("/state/models/0x01/checked")


def completion(model: str, text: str, reason: str = "stop") -> dict[str, object]:
    return {"model": model, "choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}]}


class Server:
    """Adapters that are loaded, each answering with its prompt turned round; `fails_at` is a prompt that breaks it."""

    def __init__(self, *, loaded: tuple[str, ...] = (), fails_at: str | None = None) -> None:
        self.loaded = set(loaded)
        self.fails_at = fails_at
        self.calls: list[tuple[str, object]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.calls.append((request.path, body))
        if request.path == "/v1/chat/completions":
            prompt = body["messages"][0]["content"]
            if prompt == self.fails_at:
                return web.json_response({"error": {"message": "out of memory"}}, status=400)
            reply = completion(body["model"], prompt[::-1], "length" if len(prompt) > body["max_tokens"] else "stop")
            return web.json_response(reply if body["model"] in self.loaded else {}, status=200)
        is_loading = request.path == "/v1/load_lora_adapter"
        if is_loading == (body["lora_name"] in self.loaded):
            return web.json_response({"error": {"message": "no such adapter, or it is there"}}, status=400)
        self.loaded ^= {body["lora_name"]}
        return web.Response(text="Success")


async def ask(url: str, *prompts: str) -> list[Answer]:
    async with HttpClient(DEV) as http:
        return await OpenAIProber(http, url).probe("0x01", DIRECTORY, prompts, 4)


async def test_an_adapter_is_loaded_asked_the_protocols_probes_and_unloaded():
    server = Server()
    async with serving(server.handle) as url:
        assert await ask(url, "abc", "abcdef") == [Answer("cba", is_cut=False), Answer("fedcba", is_cut=True)]
    name = {"lora_name": "0x01"}
    assert server.calls[1:] == [
        ("/v1/load_lora_adapter", name | {"lora_path": str(DIRECTORY)}),
        ("/v1/chat/completions", build_probe("0x01", "abc", 4)),
        ("/v1/chat/completions", build_probe("0x01", "abcdef", 4)),
        ("/v1/unload_lora_adapter", name),
    ]
    assert server.loaded == set()


async def test_an_adapter_that_a_killed_daemon_left_there_is_loaded_again():
    """P1."""
    server = Server(loaded=("0x01",))
    async with serving(server.handle) as url:
        assert await ask(url, "abc") == [Answer("cba", is_cut=False)]


async def test_an_adapter_is_unloaded_when_a_probe_fails():
    server = Server(fails_at="b")
    async with serving(server.handle) as url:
        with pytest.raises(ServerFailed, match="out of memory"):
            await ask(url, "a", "b", "c")
    assert server.loaded == set()


@pytest.mark.parametrize(
    "answer",
    [{"status": 400}, {"text": "{}"}, {"text": "<html>"}, {"text": '{"model":"other","choices":[]}'}],
    ids=repr,
)
async def test_nonsense_is_the_servers_failure(answer):
    async with serving(always(**answer)) as url:
        with pytest.raises(ServerFailed):
            await ask(url, "a")


async def test_a_server_that_is_down_is_waited_for():
    async with serving(always(status=503)) as url:
        with pytest.raises(Transient, match="HTTP 503"):
            await ask(url, "a")


async def test_our_own_server_may_be_anywhere():
    """Not judged as a miner's address is (N5): the operator named it."""
    server = Server()
    async with serving(server.handle) as url, HttpClient(PRODUCTION) as http:
        assert await OpenAIProber(http, url).probe("0x01", DIRECTORY, ["ab"], 4) == [Answer("ba", is_cut=False)]
