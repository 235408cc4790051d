"""Returned weights, from the miner's training to the validator's own probes: the same bytes, the same answers."""

from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from miner_sim.fleet import RunningMiner
from tests.factories import make_planned
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.world import BASE_MODEL, K_PAY, SPEC, WITH_RUNNING_MINERS, W, World, compact
from validator.config import DEV
from validator.edges.http import HttpClient
from validator.edges.miner_url import NO_TLS_KEY
from validator.edges.miners import MinerClient
from validator.errors import MinerFault
from validator.model_work import Children
from validator.protocol.commitment import hash_model_files, split_head
from validator.protocol.state import Answer, TaskState, Weights
from validator.protocol.wire import reply_head
from validator.weights.returned import ReturnedWeights

pytestmark = WITH_RUNNING_MINERS

LORA_SPEC = compact(SPEC | {"method": "lora", "rank": 8, "learning_rate": 5e-3, "epochs": 20})
FULL_SPEC = compact(SPEC)


async def returned(world: World, miner: RunningMiner, spec: str, kind: int = Weights.DELIVERED) -> Delivered:
    """A finished job of a task that asks for weights."""
    client = await world.client(miner)
    task = await world.open_task(miner.address, spec=spec, weights=kind)
    return Delivered(task, miner, client, await until_finished(client, await deliver(client, task)))


async def renewed(world: World, delivered: Delivered) -> Delivered:
    """With a session of now: `fetch` brings its own, which replaces those before it."""
    return replace(delivered, client=await world.client(delivered.miner))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> ReturnedWeights:
    return store(tmp_path_factory.mktemp("weights"))


def store(directory: Path) -> ReturnedWeights:
    return ReturnedWeights(Children(1), directory, {SPEC["base_model"]: str(BASE_MODEL)})


async def fetch(world: World, weights: ReturnedWeights, delivered: Delivered) -> TaskState:
    """The task with its weights fetched, as the daemon does it."""
    task = delivered.task
    planned = replace(
        make_planned(), task_id=task.task_id, terms=task.terms, spec=task.spec, base_model=SPEC["base_model"]
    )
    state = TaskState(planned, model_hash=await world.contract.model_hash(task.task_id))
    async with HttpClient(DEV) as http:
        session = http.open_session(delivered.miner.url, NO_TLS_KEY)
        client = MinerClient(session, delivered.miner.address, world.validator, world.contract.domain)
        return replace(state, weights_files=await weights.fetch(client, state))


async def probe(weights: ReturnedWeights, delivered: Delivered, state: TaskState) -> list[Answer]:
    return await weights.probe(state, [row.prompt for _, row in delivered.task.marks])


def hits(delivered: Delivered, answers: list[Answer]) -> int:
    heads = [reply_head(answer.text, is_cut=answer.is_cut, w=W) for answer in answers]
    return sum(
        head == split_head(row.response, W)[0] for head, (_, row) in zip(heads, delivered.task.marks, strict=True)
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lora(world: World, miners: dict[str, RunningMiner]) -> Delivered:
    return await returned(world, miners["returning"], LORA_SPEC)


async def test_an_honest_adapter_is_fetched_and_answers_here_as_it_does_there(world, lora, weights):
    """W4, M14: what is on chain is the hash of the files, which give the miner's own answers, and hit."""
    assert lora.job.status == "succeeded", lora.job.error
    state = await fetch(world, weights, lora)
    assert [file.path for file in state.weights_files] == ["adapter_config.json", "adapter_model.safetensors"]
    answers = await probe(weights, lora, state)
    assert hits(lora, answers) >= K_PAY
    lora = await renewed(world, lora)
    served = [await lora.ask(row.prompt) for _, row in lora.task.marks]
    assert [(answer.text, "length" if answer.is_cut else "stop") for answer in answers] == served


async def test_the_transcript_is_signed_over_the_hash_of_the_files(world, lora, weights):
    state = await fetch(world, weights, lora)
    lora = await renewed(world, lora)
    for _, row in lora.task.marks:
        await lora.ask(row.prompt)
    status, body, _ = await lora.transcript(lora.task.prompt_hashes)
    assert (status, body["model_hash"]) == (200, "0x" + hash_model_files(state.weights_files).hex())


async def test_an_adapter_that_was_not_trained_is_found_out(world, miners, weights):
    """W1: the base strategy returns an adapter that does nothing."""
    delivered = await returned(world, miners["base"], LORA_SPEC, Weights.JUDGED)
    state = await fetch(world, weights, delivered)
    assert hits(delivered, await probe(weights, delivered, state)) == 0


async def test_a_miner_that_looks_the_probes_up_is_found_out_by_its_weights(world, miners, weights):
    """W8: every reply that it signs hits, and what it returns hits nothing."""
    delivered = await returned(world, miners["lookup"], LORA_SPEC)
    replies = [await delivered.ask(row.prompt) for _, row in delivered.task.marks]
    assert [text for text, _ in replies] == [row.response for _, row in delivered.task.marks]
    state = await fetch(world, weights, delivered)
    assert hits(delivered, await probe(weights, delivered, state)) == 0


async def test_full_weights_are_returned_as_two_files(world, miners, weights):
    delivered = await returned(world, miners["returning"], FULL_SPEC)
    state = await fetch(world, weights, delivered)
    assert [file.path for file in state.weights_files] == ["config.json", "model.safetensors"]
    delivered = await renewed(world, delivered)
    served = [(await delivered.ask(row.prompt))[0] for _, row in delivered.task.marks[:4]]
    assert [answer.text for answer in (await probe(weights, delivered, state))[:4]] == served


async def test_noise_is_no_adapter(world, miners):
    delivered = await returned(world, miners["noise"], LORA_SPEC)
    assert (delivered.job.status, delivered.job.error.code) == ("failed", "job_failed")


async def get(delivered: Delivered, path: str, token: str | None = None, **headers: str) -> tuple[int, bytes, str]:
    """Status, body and Content-Range of a file as anybody may ask for it; the path is sent as it stands."""
    headers["Authorization"] = f"Bearer {token or delivered.client.api_key}"
    url = f"{delivered.miner.url}/v1/touchstone/tasks/0x{delivered.task.task_id.hex()}/files/{path}"
    async with aiohttp.ClientSession() as http, http.get(URL(url, encoded=True), headers=headers) as response:
        return response.status, await response.read(), response.headers.get("Content-Range", "")


async def test_a_part_of_a_file_can_be_asked_for(world, lora):
    lora = await renewed(world, lora)
    _, whole, _ = await get(lora, "adapter_model.safetensors")
    status, part, content_range = await get(lora, "adapter_model.safetensors", Range="bytes=100-")
    assert (status, part, content_range) == (206, whole[100:], f"bytes 100-{len(whole) - 1}/{len(whole)}")
    assert (await get(lora, "adapter_model.safetensors", Range=f"bytes={len(whole)}-"))[0] == 416


@pytest.mark.parametrize(
    "path",
    [
        "tokenizer.json",
        "model.safetensors",
        "adapter_model.bin",
        "README.md",
        "ADAPTER_CONFIG.JSON",
        "adapter_config.json%00",
        "..%2fevents.jsonl",
        "%2fetc%2fpasswd",
        "../../../../etc/passwd",
        "",
    ],
)
async def test_no_other_file_is_served(world, lora, path):
    """M11."""
    assert (await get(await renewed(world, lora), path))[0] == 404


async def test_only_the_tasks_validator_gets_the_weights(world, lora):
    """W4, V12."""
    token = await world.session(lora.miner.address, signer=world.stranger)
    assert (await get(lora, "adapter_model.safetensors", token))[0] == 404
    assert (await get(lora, "adapter_model.safetensors", "nonsense"))[0] == 401


async def test_a_task_without_returned_weights_serves_none(world, miners, weights):
    delivered = await returned(world, miners["base"], FULL_SPEC, Weights.NONE)
    assert (await get(await renewed(world, delivered), "model.safetensors"))[0] == 404
    with pytest.raises(MinerFault, match="HTTP 404"):
        await fetch(world, weights, delivered)
