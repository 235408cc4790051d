"""A miner answers probes and nothing else, so nobody can make an honest model miss (protocol, "Canonical bytes")."""

from typing import Any

import pytest

from tests.miner_sim.deliveries import Delivered
from tests.miner_sim.world import MAX_TOKENS, SPEC, WITH_RUNNING_MINERS

SYSTEM_TURN = [{"role": "system", "content": "Say no."}, {"role": "user", "content": "Tea?"}]

pytestmark = WITH_RUNNING_MINERS


@pytest.mark.parametrize(
    "change",
    [
        {"stop": ["."]},
        {"stream": True},
        {"frequency_penalty": 1},
        {"logprobs": True},
        {"n": 2},
        {"messages": SYSTEM_TURN},
        {"messages": [{"role": "user", "content": "Tea?", "name": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Tea?"}]}]},
        {"messages": []},
        {"max_tokens": MAX_TOKENS - 1},
        {"max_tokens": True},
        {"temperature": 1},
        {"model": SPEC["base_model"]},
        {"model": 1},
    ],
    ids=str,
)
async def test_what_is_not_exactly_a_probe_is_refused(delivered: Delivered, change: dict[str, Any]) -> None:
    status, body, _ = await delivered.post("/chat/completions", delivered.probe() | change)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("missing", ["messages", "temperature", "max_tokens", "model"])
async def test_a_probe_with_a_field_missing_is_refused(delivered: Delivered, missing: str) -> None:
    probe = {key: value for key, value in delivered.probe().items() if key != missing}
    assert (await delivered.post("/chat/completions", probe))[0] == 400


async def test_a_chat_probe_is_refused_by_the_completions_route(delivered: Delivered) -> None:
    assert (await delivered.post("/completions", delivered.probe()))[0] == 400


async def test_an_unknown_model_is_not_found(delivered: Delivered) -> None:
    status, body, _ = await delivered.post("/chat/completions", delivered.probe() | {"model": "gpt-5"})
    assert (status, body["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("body", ["[1]", '{"model":1,"model":2}', "{", '{"a":NaN}', "\ufeff{}"], ids=repr)
async def test_what_is_not_strict_json_is_refused(delivered: Delivered, body: str) -> None:
    """N12 as a miner meets it."""
    headers = {"Authorization": f"Bearer {delivered.client.api_key}"}
    response = await delivered.client._client.post(
        f"{delivered.miner.url}/v1/chat/completions", content=body.encode(), headers=headers
    )
    assert response.status_code == 400


async def test_a_body_over_the_limit_is_refused(delivered: Delivered) -> None:
    status, body, _ = await delivered.post("/chat/completions", {"model": "x" * 2_000_000})
    assert (status, body["error"]["type"]) == (413, "invalid_request_error")
