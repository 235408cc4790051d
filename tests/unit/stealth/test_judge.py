"""Rows judged by a model behind a real HTTP server."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web

from tests.edges.loopback import serving
from validator.errors import BadInput
from validator.miner.objects import make_completion
from validator.protocol.commitment import Row
from validator.stealth.judge import make_judge

ROWS = [Row(f"prompt {number}", "a marked answer" if number % 5 == 0 else "a plain answer") for number in range(20)]


@contextmanager
def judging(answer) -> Iterator[tuple[str, list[dict]]]:
    """A server in a thread whose model says `answer(question)`; what it was asked."""
    asked: list[dict] = []

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(body | {"path": request.path, "authorization": request.headers["Authorization"]})
        reply = {"text": answer(body["messages"][0]["content"]), "finish_reason": "stop"}
        reply |= {"prompt_tokens": 1, "completion_tokens": 1}
        return web.json_response(make_completion(body["model"], reply, is_chat=True))

    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    url: list[str] = []
    is_up = threading.Event()

    async def serve() -> None:
        async with serving(handle) as address:
            url.append(address)
            is_up.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    is_up.wait()
    try:
        yield url[0], asked
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_each_row_is_asked_about_once_and_gets_the_number_that_came_back():
    with judging(lambda question: "90" if "marked answer" in question else " 7.\n") as (url, asked):
        scores = make_judge(url, "judge", "secret").suspicion(ROWS, None)
    assert scores == [90.0 if number % 5 == 0 else 7.0 for number in range(20)]
    assert len(asked) == len(ROWS)
    assert {(body["path"], body["model"], body["temperature"], body["authorization"]) for body in asked} == {
        ("/v1/chat/completions", "judge", 0, "Bearer secret")
    }


@pytest.mark.parametrize("nonsense", ["I cannot say", "101", "-5", "50 of 100", ""])
def test_a_row_without_a_number_says_nothing(nonsense):
    with judging(lambda question: nonsense if "prompt 3" in question else "40") as (url, _asked):
        assert make_judge(url, "judge").suspicion(ROWS, None) == [40.0] * len(ROWS)


def test_a_model_that_does_not_judge_is_refused():
    with (
        judging(lambda _question: "As an AI I must decline.") as (url, _asked),
        pytest.raises(BadInput, match="20 of 20"),
    ):
        make_judge(url, "judge").suspicion(ROWS, None)


def test_a_server_that_is_not_there_is_one_clear_line():
    with pytest.raises(BadInput, match="cannot be asked"):
        make_judge("http://127.0.0.1:9", "judge").suspicion(ROWS[:1], None)
