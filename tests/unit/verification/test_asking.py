"""Asking a provider: nothing is a miss that is not an answer, and nothing is asked twice."""

import json
import stat

import pytest
from aiohttp import web

from tests.edges.loopback import serving
from validator.edges.openai_chat import ChatProvider
from validator.errors import BadInput, Transient
from validator.verification.asking import Answers, KeptAnswers, Questions, ServedModel

PROMPTS = tuple("abcdef")


class Server:
    """Answers with the prompt doubled; `replies` come first, one status for each request, 0 hanging up on it."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        prompt = (await request.json())["messages"][0]["content"]
        self.asked.append(prompt)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        message = {"message": {"content": prompt * 2}, "finish_reason": "stop"}
        headers = {"retry-after-ms": "1"}
        return web.json_response(
            {"choices": [message], "error": {"message": "no"}}, status=status or 200, headers=headers
        )


async def ask(url, path, prompts=PROMPTS, *, patience_s=30.0, at_once=1) -> Answers:
    async with ChatProvider(url, None) as provider:
        model = ServedModel(provider, url, "m", KeptAnswers(path), at_once=at_once, patience_s=patience_s)
        return await model.answer(Questions(prompts, 8))


async def test_answers_come_in_the_order_of_the_prompts_however_they_arrive(tmp_path):
    async with serving(Server().handle) as url:
        answers = await ask(url, tmp_path / "kept", at_once=4)
    assert [reply.text for reply in answers.replies] == [prompt * 2 for prompt in PROMPTS]
    assert answers.log_likelihoods is None


async def test_a_transport_failure_is_asked_again_and_never_a_miss(tmp_path):
    """N15."""
    server = Server(429, 503, 408)
    async with serving(server.handle) as url:
        answers = await ask(url, tmp_path / "kept", ("a", "b"))
    assert [reply.text for reply in answers.replies] == ["aa", "bb"]
    assert server.asked == ["a", "a", "a", "a", "b"]


async def test_a_second_run_goes_on_where_the_first_was_broken_off(tmp_path):
    """P6, K3: what is kept is never asked for again, and the line that a crash tore is."""
    path = tmp_path / "kept"
    server = Server(200, 200, 200, 400)
    async with serving(server.handle) as url:
        with pytest.raises(BadInput, match="HTTP 400: no"):
            await ask(url, path)
        assert len(path.read_bytes().splitlines()) == 3
        path.write_bytes(path.read_bytes()[:-3])
        server.asked.clear()
        answers = await ask(url, path)
    assert set(server.asked) == set(PROMPTS[2:])
    assert [reply.text for reply in answers.replies] == [prompt * 2 for prompt in PROMPTS]


async def test_without_patience_an_absent_answer_is_transient(tmp_path):
    async with serving(Server(0, 0, 0).handle) as url:
        with pytest.raises(Transient):
            await ask(url, tmp_path / "kept", ("a",), patience_s=0.001)
    assert not (tmp_path / "kept").exists()


async def test_answers_of_one_model_are_not_taken_for_anothers(tmp_path):
    path = tmp_path / "kept"
    async with serving(Server().handle) as url, ChatProvider(url, None) as provider:
        for name in ("m", "n"):
            model = ServedModel(provider, url, name, KeptAnswers(path), at_once=1, patience_s=1)
            await model.answer(Questions(("a",), 8))
        await ServedModel(provider, url, "m", KeptAnswers(path), at_once=1, patience_s=1).answer(Questions(("a",), 9))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["of"].split(" ")[0], line["max_tokens"]) for line in lines] == [("m", 8), ("n", 8), ("m", 9)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["{}\n", "[]\n", "what is this\n"])
def test_a_file_that_holds_no_answers_is_one_clear_line(content, tmp_path):
    (tmp_path / "kept").write_text(content)
    with pytest.raises(BadInput, match="does not hold answers"):
        KeptAnswers(tmp_path / "kept")
