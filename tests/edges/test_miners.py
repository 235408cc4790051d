"""A miner as the validator sees it: the right requests, and nothing believed that has not the protocol's form (N13)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web

from tests.edges.loopback import Handler, always_json, serving
from tests.factories import CHAIN_ID, CONTRACT, MINER, TASK_ID, digest
from validator.config import DEV
from validator.edges import miners
from validator.edges.http import HttpClient
from validator.edges.keys import dev_mnemonic_signer, recover_typed_data
from validator.edges.miner_url import NO_TLS_KEY
from validator.edges.miners import SESSION_LIFETIME_S, Job, MinerClient
from validator.errors import MinerFault, Transient
from validator.protocol import typed_data
from validator.protocol.session import parse_session_token
from validator.protocol.state import Answer
from validator.protocol.typed_data import TypedData
from validator.protocol.wire import parse_probe

SIGNER = dev_mnemonic_signer(0)
DOMAIN = typed_data.domain(CHAIN_ID, CONTRACT)
Call = Callable[[MinerClient], Awaitable[Any]]
HOSTILE: list[Any] = [None, [], "text", 7, True, {}]


async def asked(handler: Handler, call: Call) -> Any:
    async with serving(handler) as url, HttpClient(DEV) as http:
        return await call(MinerClient(http.open_session(url + "/", NO_TLS_KEY), MINER, SIGNER, DOMAIN))


async def faulty(body: Any, call: Call) -> str:
    """The fault that this answer is."""
    with pytest.raises(MinerFault) as fault:
        await asked(always_json(body), call)
    assert str(fault.value).encode()
    return str(fault.value)


class Recorder:
    """A miner that keeps what it is asked, and gives one answer to all of it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str, Any]] = []
        self.tokens: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        is_json = request.content_type == "application/json"
        self.requests.append((request.method, request.path_qs, await request.json() if is_json else None))
        self.tokens.append(request.headers["Authorization"].removeprefix("Bearer "))
        return web.json_response(self.answer)


def completion(**changes: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a reply"}, "finish_reason": "stop"}
    return {"id": "cmpl-1", "choices": [choice | changes], "usage": {"total_tokens": -1}, "model": "ft:1"}


def probe(client: MinerClient) -> Awaitable[Answer]:
    return client.probe("ft:1", "Why?", 32)


def transcript(client: MinerClient) -> Awaitable[bytes]:
    return client.transcript(TASK_ID, [digest("a"), digest("b")])


async def test_a_probe_is_exactly_the_protocols():
    miner = Recorder(completion())
    assert await asked(miner.handle, probe) == Answer("a reply", is_cut=False)
    [(method, path, body)] = miner.requests
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert parse_probe(body, 32) == ("ft:1", "Why?")


async def test_an_answer_says_whether_the_token_limit_ended_it():
    assert await asked(always_json(completion(finish_reason="length")), probe) == Answer("a reply", is_cut=True)


async def test_an_empty_answer_is_an_answer():
    message = {"role": "assistant", "content": ""}
    assert await asked(always_json(completion(message=message)), probe) == Answer("", is_cut=False)


@pytest.mark.parametrize(
    "body",
    [
        *HOSTILE,
        completion() | {"model": "ft:2"},
        completion() | {"model": None},
        {"model": "ft:1"},
        {"model": "ft:1", "choices": None},
        {"model": "ft:1", "choices": []},
        {"model": "ft:1", "choices": {}},
        {"model": "ft:1", "choices": ["a reply"]},
        {"model": "ft:1", "choices": completion()["choices"] * 2},
        {"model": "ft:1", "error": {"message": "out of memory"}},
        completion(finish_reason="content_filter"),
        completion(finish_reason=None),
        completion(finish_reason=["stop"]),
        completion(message=None),
        completion(message="a reply"),
        completion(message={"role": "assistant"}),
        completion(message={"role": "assistant", "content": None}),
        completion(message={"role": "assistant", "content": [{"type": "text", "text": "a"}]}),
        completion(message={"role": "assistant", "content": "\ud800"}),
    ],
    ids=repr,
)
async def test_anything_but_one_complete_answer_is_a_fault(body):
    await faulty(body, probe)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_miner_has_not_answered(status):
    """N15: a transport failure is never an answer and never a miss."""
    with pytest.raises(Transient):
        await asked(always_json(completion(), status), probe)


async def test_upload_and_job_are_openais():
    miner = Recorder({"id": "file-1", "object": "file"})
    assert await asked(miner.handle, lambda client: client.upload(b"{}\n")) == "file-1"
    assert miner.requests == [("POST", "/v1/files", None)]

    miner = Recorder({"id": "ftjob-1"})
    assert (
        await asked(miner.handle, lambda client: client.create_job("file-1", "tiny", {"task_id": "0x01"})) == "ftjob-1"
    )
    body = {"model": "tiny", "training_file": "file-1", "metadata": {"task_id": "0x01"}}
    assert miner.requests == [("POST", "/v1/fine_tuning/jobs", body)]


@pytest.mark.parametrize(
    "body",
    [
        *HOSTILE,
        {"id": None},
        {"id": 7},
        {"id": ["x"]},
        {"id": "\ud800"},
        {"id": ""},
        {"id": ".."},
        {"id": "a/b"},
        {"id": "a?b"},
        {"id": "x" * 129},
    ],
    ids=repr,
)
async def test_an_upload_or_job_without_an_id_is_a_fault(body):
    await faulty(body, lambda client: client.upload(b"{}\n"))
    await faulty(body, lambda client: client.create_job("file-1", "tiny", {}))


@pytest.mark.parametrize(
    ("body", "job"),
    [
        ({"status": "running"}, Job("j", "running", None, None)),
        ({"status": "running", "fine_tuned_model": None, "error": None}, Job("j", "running", None, None)),
        ({"status": "succeeded", "fine_tuned_model": "ft:1"}, Job("j", "succeeded", "ft:1", None)),
        ({"status": "failed", "error": {"message": "bad rows"}}, Job("j", "failed", None, "bad rows")),
        ({"status": "failed", "error": {}}, Job("j", "failed", None, "None")),
        ({"status": "failed", "error": "bad rows"}, Job("j", "failed", None, None)),
    ],
)
async def test_a_job_is_read_as_reported(body, job):
    miner = Recorder(body)
    assert await asked(miner.handle, lambda client: client.job("j")) == job
    assert miner.requests == [("GET", "/v1/fine_tuning/jobs/j", None)]


@pytest.mark.parametrize(
    "body",
    [
        *HOSTILE,
        {"status": None},
        {"status": 1},
        {"status": "succeeded", "fine_tuned_model": 7},
        {"status": "succeeded", "fine_tuned_model": {"id": "ft:1"}},
        {"status": "succeeded", "fine_tuned_model": "\ud800"},
        {"status": "succeeded", "fine_tuned_model": ""},
        {"status": "succeeded", "fine_tuned_model": "x" * 257},
        {"status": "succeeded", "fine_tuned_model": "ft:\x1b[2J"},
        {"status": "failed", "error": {"message": "\udfff"}},
    ],
    ids=repr,
)
async def test_a_job_of_any_other_form_is_a_fault(body):
    await faulty(body, lambda client: client.job("j"))


@pytest.mark.parametrize(
    ("body", "metrics"),
    [
        ({"data": [{"data": {"step": 1}}, {"data": {"step": 0}}]}, {"step": 1}),
        ({"data": []}, {}),
        ({"data": [{}]}, {}),
        ({"data": ["x"]}, {}),
        ({"data": {"step": 1}}, {}),
        ({}, {}),
    ],
)
async def test_metrics_are_for_display_and_never_a_fault(body, metrics):
    assert await asked(always_json(body), lambda client: client.latest_metrics("j")) == metrics


async def test_a_transcript_is_asked_for_by_prompt_hashes():
    miner = Recorder({"signature": "0x" + "ab" * 65})
    assert await asked(miner.handle, transcript) == b"\xab" * 65
    body = {"prompt_hashes": ["0x" + digest("a").hex(), "0x" + digest("b").hex()]}
    assert miner.requests == [("POST", f"/v1/touchstone/tasks/0x{TASK_ID.hex()}/transcript", body)]


@pytest.mark.parametrize(
    "body", [*HOSTILE, {"signature": None}, {"signature": "0xzz"}, {"signature": "0x123"}, {"signature": "é"}], ids=repr
)
async def test_a_transcript_that_is_not_hex_is_a_fault(body):
    await faulty(body, transcript)


async def test_every_request_carries_a_session_signed_for_this_miner():
    miner = Recorder(completion())
    before_s = time.time()

    async def twice(client: MinerClient) -> None:
        await probe(client)
        await probe(client)

    await asked(miner.handle, twice)
    token = parse_session_token(miner.tokens[0])
    assert miner.tokens[0] == miner.tokens[1]
    assert (token.validator, token.miner) == (SIGNER.address, MINER)
    assert int(before_s * 1e6) <= token.nonce <= int(time.time() * 1e6)
    assert before_s + SESSION_LIFETIME_S - 1 <= token.expiry <= time.time() + SESSION_LIFETIME_S
    struct = typed_data.session(token.validator, token.miner, token.nonce, token.expiry)
    assert recover_typed_data(DOMAIN, struct, token.signature) == SIGNER.address


class SlowSigner:
    """A key that takes a moment, as a remote one does, and counts what it signs."""

    address = SIGNER.address
    signatures = 0

    async def sign_transaction(self, transaction: Mapping[str, Any]) -> bytes:
        raise AssertionError(f"a session needs no transaction: {transaction}")

    async def sign_typed_data(self, domain: dict[str, Any], data: TypedData) -> bytes:
        self.signatures += 1
        await asyncio.sleep(0)
        return await SIGNER.sign_typed_data(domain, data)


async def test_requests_at_once_share_one_session():
    miner, signer = Recorder(completion()), SlowSigner()
    async with serving(miner.handle) as url, HttpClient(DEV) as http:
        client = MinerClient(http.open_session(url + "/", NO_TLS_KEY), MINER, signer, DOMAIN)
        await asyncio.gather(*(probe(client) for _ in range(8)))
    assert signer.signatures == 1
    assert len(miner.tokens) == 8
    assert len(set(miner.tokens)) == 1


async def test_sessions_are_renewed_with_growing_nonces(monkeypatch):
    """A lower nonce than one that the miner has seen is a replay."""
    monkeypatch.setattr(miners, "SESSION_LIFETIME_S", 0)
    miner = Recorder(completion())

    async def thrice(client: MinerClient) -> None:
        for _ in range(3):
            await probe(client)

    await asked(miner.handle, thrice)
    nonces = [parse_session_token(token).nonce for token in miner.tokens]
    assert nonces == sorted(set(nonces))
    assert len(nonces) == 3
