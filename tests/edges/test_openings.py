"""Openings from a language model behind a URL: what it says well, badly and not at all, over real HTTP."""

import asyncio
import json
import re
from collections.abc import Callable

import pytest
from aiohttp import web

from tests.edges.loopback import serving
from tests.factories import digest
from validator.edges.openings import ROUNDS, ChatOpenings
from validator.errors import BadInput, Transient
from validator.marks.openings import OpeningsAlone
from validator.marks.schemes import OpeningCanary
from validator.marks.secrets import DrawStream
from validator.protocol.commitment import Row

W, K = 4, 16
ROW = Row("Why is the sky blue?", "Sunlight is scattered by air, and blue light is scattered most.")
LOWER = Row("say why", "because the air scatters blue light most of all")

Write = Callable[[int, int], str]
"""What the model says to its question of a round (from 0) for so many openings."""


def write_openings(count: int, first: int = 0, start: str = "Indeed") -> list[str]:
    """Different openings of W words."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"{start} the {letters[i // 26]}{letters[i % 26]} light" for i in range(first, first + count)]


class Model:
    """Answers as `write` says; remembers what it was asked."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self.questions: list[str] = []
        self.bodies: list[dict[str, object]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        question = body["messages"][0]["content"]
        count = int(re.search(r"Write (\d+) other openings", question)[1])
        text = self._write(len(self.questions), count)
        self.questions.append(question)
        self.bodies.append(body)
        message = {"role": "assistant", "content": text}
        return web.json_response({"model": "big-1", "choices": [{"message": message, "finish_reason": "stop"}]})


async def propose(handler, *rows: Row, k: int = K, **options: object) -> list[tuple[str, ...]]:
    async with serving(handler) as url:
        server = ChatOpenings(f"{url}/v1", "big", "sk-key", **options)
        return await asyncio.to_thread(server.propose, rows or (ROW,), W, k)


@pytest.mark.parametrize(
    "form",
    ["{}", "```json\n{}\n```", "Sure! Here are the openings you asked for:\n\n{}\n\nLet me know if you need more."],
    ids=["bare", "fenced", "polite"],
)
async def test_a_good_answer_is_taken_however_it_is_wrapped(form):
    model = Model(lambda _round, count: form.format(json.dumps(write_openings(count))))
    (found,) = await propose(model.handle)
    assert list(found[:K]) == write_openings(K)
    assert len(model.questions) == 1


async def test_the_model_reads_the_question_and_how_the_answer_goes_on():
    model = Model(lambda _round, count: json.dumps(write_openings(count)))
    await propose(model.handle)
    (question,) = model.questions
    for part in (ROW.prompt, "air, and blue light is scattered most.", '"Sunlight is scattered by"', "capital"):
        assert part in question
    assert model.bodies[0]["temperature"] == 0
    assert model.bodies[0]["max_tokens"] > 24 * W


async def test_unusable_openings_do_not_count_and_as_many_more_are_asked_for():
    """Of another length, twice, with other white space than single spaces, in another letter case, or no text."""
    bad = [
        "Too short",
        "This one is too long",
        "Two  spaces between words",
        "A line\nbreak is here",
        "no capital at all",
        7,
    ]

    def write(number: int, count: int) -> str:
        good = write_openings(10) * 2 if number == 0 else write_openings(count, first=10)
        return json.dumps([*bad, *good])

    model = Model(write)
    (found,) = await propose(model.handle)
    assert list(found[:K]) == write_openings(K)
    assert len(model.questions) == 2
    assert "Write 10 other openings" in model.questions[1]
    assert f"None of these: {json.dumps(write_openings(10))}" in model.questions[1]


async def test_the_letter_case_of_the_row_is_kept():
    model = Model(lambda _round, count: json.dumps(write_openings(count) + write_openings(count, start="surely")))
    (found,) = await propose(model.handle, LOWER)
    assert all(text.startswith("surely") for text in found)


@pytest.mark.parametrize(
    "reply",
    ["I cannot help with that.", "[", '{"openings": 3}', '["a", ', "[" * 100_000, json.dumps(write_openings(5)), ""],
    ids=["refusal", "bracket", "no list", "cut", "deep", "too few", "empty"],
)
async def test_a_model_that_cannot_is_named_with_the_way_out(reply):
    model = Model(lambda _round, _count: reply)
    with pytest.raises(BadInput, match=r"^big proposed \d usable openings of 4 words .* 16 are needed: name a more"):
        await propose(model.handle)
    assert len(model.questions) == ROUNDS


async def test_a_busy_server_is_asked_again():
    """N9."""
    model = Model(lambda _round, count: json.dumps(write_openings(count)))
    refusals = iter([503, 429])

    async def handle(request: web.Request) -> web.Response:
        status = next(refusals, None)
        if status is not None:
            return web.json_response({}, status=status, headers={"retry-after-ms": "1"})
        return await model.handle(request)

    (found,) = await propose(handle)
    assert len(found) >= K


async def test_a_server_that_stays_busy_is_nobodys_fault():
    async def handle(_request: web.Request) -> web.Response:
        return web.json_response({}, status=503, headers={"retry-after-ms": "1"})

    with pytest.raises(Transient, match="HTTP 503"):
        await propose(handle, patience_s=0.05)


async def test_a_wrong_key_is_said_at_once():
    async def handle(_request: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "Incorrect API key"}}, status=401)

    with pytest.raises(BadInput, match="HTTP 401: Incorrect API key"):
        await propose(handle)


async def test_canaries_are_drawn_from_what_it_proposes_row_by_row():
    rows = [Row(f"{ROW.prompt} {i}", ROW.response) for i in range(3)]
    model = Model(lambda _round, count: json.dumps(write_openings(count)))
    async with serving(model.handle) as url:
        proposer = OpeningsAlone(ChatOpenings(f"{url}/v1", "big"))
        stream = DrawStream(digest("stream"))
        marks = await asyncio.to_thread(OpeningCanary().plant, rows, [2, 0], stream, proposer)
    assert [mark.row_index for mark in marks] == [2, 0]
    assert proposer.identity == "openings by big"
    for mark in marks:
        assert mark.draw.candidates == (tuple(write_openings(K)),)
        assert mark.draw.p0 == 1 / K
        assert mark.row == Row(rows[mark.row_index].prompt, f"{mark.draw.text} air, and blue light is scattered most.")


def test_a_key_is_not_shown():
    """H5."""
    assert "sk-key" not in repr(ChatOpenings("https://host/v1", "big", "sk-key"))
