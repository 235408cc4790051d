"""A provider's answers: what is one, what may come later, and what never will."""

import pytest
from aiohttp import web

from tests.edges.loopback import always, always_json, serving, serving_bytes
from validator.edges.openai_chat import LONGEST_WAIT_S, Busy, ChatProvider
from validator.errors import BadInput, Transient
from validator.protocol.state import Answer
from validator.protocol.wire import build_probe


def completion(content, reason="stop", model="m"):
    return {
        "model": model,
        "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": reason}],
    }


async def ask(url, api_key="sk-key", prompt="p", **options):
    async with ChatProvider(url, api_key, **options) as provider:
        return await provider.answer("m", prompt, 8)


async def test_it_is_asked_the_protocols_probe_with_the_key():
    asked = []

    async def handle(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers["Authorization"], await request.json()))
        return web.json_response(completion(" a b"))

    async with serving(handle) as url:
        assert await ask(url + "/v1/") == Answer(" a b", is_cut=False)
    assert asked == [("/v1/chat/completions", "Bearer sk-key", build_probe("m", "p", 8))]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (completion("a", "length"), Answer("a", is_cut=True)),
        (completion("a", "eos"), Answer("a", is_cut=False)),
        (completion("a", model="m-2024-08-06"), Answer("a", is_cut=False)),
        (completion(None, "content_filter"), Answer("", is_cut=False)),
    ],
    ids=["cut", "its own word for the end", "the version behind the name", "withheld by a filter"],
)
async def test_what_providers_say_in_ways_of_their_own_is_an_answer(body, answer):
    async with serving(always_json(body)) as url:
        assert await ask(url) == answer


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "86400"}, LONGEST_WAIT_S),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
    ids=repr,
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_says_when_to_come_back(status, headers, wait_s):
    """R5."""
    async with serving(always(status=status, headers=headers, text='{"error":{"message":"slow down"}}')) as url:
        with pytest.raises(Busy, match="slow down") as raised:
            await ask(url)
    assert raised.value.wait_s == wait_s


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "<html>"},
        {"text": "{}"},
        {"text": '{"choices":[]}'},
        {"text": '{"choices":[{"message":{"content":7}}]}'},
        {"body": b"x" * (2 << 20)},
        {"text": "{}", "headers": {"Content-Encoding": "gzip"}},
    ],
    ids=["html", "empty", "no choice", "no text", "too long", "compressed"],
)
async def test_nonsense_is_no_answer(answer):
    """N2, N3, N13."""
    async with serving(always(**answer)) as url:
        with pytest.raises(Transient):
            await ask(url)


async def test_an_answer_that_breaks_off_is_no_answer():
    async with serving_bytes(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"choices":') as url:
        with pytest.raises(Transient):
            await ask(url)
    with pytest.raises(Transient):
        await ask(url)  # nobody listens there any more


async def test_silence_is_no_answer():
    """N1."""
    async with serving_bytes(b"HTTP/1.1 200 OK\r\n", is_left_open=True) as url:
        with pytest.raises(Transient):
            await ask(url, timeout_s=0.2)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
async def test_what_never_will_be_an_answer_is_told_with_the_servers_own_words(status):
    """N4: a redirect is followed nowhere."""
    reply = always(status=status, text='{"error":{"message":"no\\nsuch model"}}', headers={"Location": "/elsewhere"})
    async with serving(reply) as url:
        with pytest.raises(BadInput, match=f"HTTP {status}: no such model"):
            await ask(url)


async def test_a_model_that_wants_the_limit_under_its_newer_name_gets_it():
    limits = []

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        limits.append({key: value for key, value in body.items() if key.startswith("max_")})
        if "max_tokens" in body:
            return web.json_response({"error": {"message": "Use 'max_completion_tokens' instead."}}, status=400)
        return web.json_response(completion("a"))

    async with serving(handle) as url, ChatProvider(url, None) as provider:
        assert [await provider.answer("m", prompt, 8) for prompt in "pq"] == [Answer("a", is_cut=False)] * 2
    assert limits == [{"max_tokens": 8}, {"max_completion_tokens": 8}, {"max_completion_tokens": 8}]


@pytest.mark.parametrize("url", ["", "api.example.com/v1", "ftp://x/v1", "https://u:p@x/v1", "https://x/v1?key=1"])
def test_what_is_no_base_url_is_refused(url):
    """N8."""
    with pytest.raises(BadInput, match="base URL"):
        ChatProvider(url, None)
