"""The miner signs exactly one transcript per task, over what it was asked and what it answered."""

import asyncio
from contextlib import suppress
from pathlib import Path

import openai
import pytest
import pytest_asyncio

from miner_sim.fleet import RunningMiner
from tests.miner_sim.deliveries import Delivered, deliver, until_finished
from tests.miner_sim.world import ETHER, SPEC, WITH_RUNNING_MINERS, W, World, new_signer
from validator.edges.contract import TaskStatus
from validator.edges.keys import recover_typed_data
from validator.miner.answers import AnswerBook
from validator.miner.chain_client import MinerChain
from validator.miner.job import Dataset, ServedModel
from validator.miner.job_request import parse_job_request
from validator.miner.objects import Refusal
from validator.miner.transcript import Notary
from validator.protocol import typed_data
from validator.protocol.commitment import MerkleTree, hash_head, hash_replies, hash_row, hash_served_model
from validator.protocol.wire import reply_head
from validator.types import Hash32

pytestmark = WITH_RUNNING_MINERS


@pytest_asyncio.fixture(loop_scope="session")
async def delivered(world: World, miners: dict[str, RunningMiner]) -> Delivered:
    """A task of the base miner's, which answers at once, probed in full."""
    miner = miners["base"]
    client = await world.client(miner)
    task = await world.open_task(miner.address)
    delivered = Delivered(task, miner, client, await until_finished(client, await deliver(client, task)))
    for _, row in delivered.task.marks:
        await delivered.ask(row.prompt)
    return delivered


async def settle(world: World, delivered: Delivered) -> None:
    task = delivered.task
    _, transcript, _ = await delivered.transcript(task.prompt_hashes)
    rows = [hashes for hashes, _ in task.marks]
    tree = MerkleTree(hash_row(task.dataset_salt, row, W).leaf for row in task.rows)
    await world.contract.settle(
        world.senders[world.validator.address],
        task.terms,
        task.validator_nonce,
        salt=task.salt,
        rows=rows,
        proofs=[tree.proof(row.leaf) for row in rows],
        replies=[Hash32(bytes.fromhex(reply[2:])) for reply in transcript["replies"]],
        signature=bytes.fromhex(transcript["signature"][2:]),
        bundle_hash=Hash32(bytes(32)),
    )


async def test_the_contract_counts_it_then_the_miner_draws_its_credit_and_the_weights_may_go(
    world: World, delivered: Delivered
) -> None:
    """The whole way to the end."""
    miner = delivered.miner.address
    await settle(world, delivered)
    assert (await world.contract.task_state(delivered.task.task_id)).status == TaskStatus.REFUNDED
    assert (await world.contract.miner(miner)).locked < ETHER
    async with asyncio.timeout(10):
        while True:  # the miner looks at the chain once a second
            with suppress(openai.ConflictError):
                assert (await delivered.client.models.delete(delivered.job.fine_tuned_model)).deleted
                break
            await asyncio.sleep(0.2)
    assert await world.contract.credits_wei(miner) == 0
    with pytest.raises(openai.NotFoundError):
        await delivered.ask("What is tea?")


async def test_its_replies_are_the_heads_of_the_answers_that_were_given(delivered: Delivered) -> None:
    _, transcript, _ = await delivered.transcript(delivered.task.prompt_hashes)
    for (_, row), reply in zip(delivered.task.marks, transcript["replies"], strict=True):
        text, finish_reason = await delivered.ask(row.prompt)
        head = reply_head(text, is_cut=finish_reason == "length", w=W)
        expected = bytes(32) if head is None else hash_head(delivered.task.dataset_salt, head)
        assert reply == "0x" + expected.hex()


async def test_it_names_the_model_and_the_replies_and_is_signed_by_the_evidence_key(
    world: World, delivered: Delivered
) -> None:
    _, transcript, _ = await delivered.transcript(delivered.task.prompt_hashes)
    model_hash, marks_hash, replies_hash, signature = (
        bytes.fromhex(transcript[key][2:]) for key in ("model_hash", "marks_hash", "replies_hash", "signature")
    )
    assert model_hash == await world.contract.model_hash(delivered.task.task_id)
    replies = [Hash32(bytes.fromhex(reply[2:])) for reply in transcript["replies"]]
    pairs = [(hashes.prompt_hash, reply) for (hashes, _), reply in zip(delivered.task.marks, replies, strict=True)]
    assert replies_hash == hash_replies(pairs)
    message = typed_data.transcript(
        delivered.task.task_id, Hash32(model_hash), Hash32(marks_hash), Hash32(replies_hash)
    )
    registered = await world.contract.miner(delivered.miner.address)
    assert recover_typed_data(world.contract.domain, message, signature) == registered.evidence_key


async def test_the_same_request_gets_the_same_signature_and_another_one_a_lasting_refusal(
    delivered: Delivered,
) -> None:
    """W5."""
    prompt_hashes = delivered.task.prompt_hashes
    _, first, _ = await delivered.transcript(prompt_hashes)
    assert (await delivered.transcript(prompt_hashes))[1] == first
    status, _, headers = await delivered.transcript(prompt_hashes[::-1])
    assert (status, headers["x-should-retry"]) == (409, "false")


async def test_prompts_out_of_order_missing_doubled_or_foreign_are_refused_and_nothing_is_signed(
    delivered: Delivered,
) -> None:
    right = delivered.task.prompt_hashes
    for wrong in (right[::-1], right[1:], [*right[:-1], right[0]], [*right[1:], "0x" + "11" * 32], ["0x12"], [1]):
        assert (await delivered.transcript(wrong))[0] == 400
    assert (await delivered.post(f"/touchstone/tasks/0x{delivered.task.task_id.hex()}/transcript", {}))[0] == 400
    assert (await delivered.transcript(right))[0] == 200


async def test_a_prompt_that_was_never_asked_is_not_signed_as_a_miss(
    world: World, miners: dict[str, RunningMiner]
) -> None:
    """V5."""
    miner = miners["base"]
    client = await world.client(miner)
    task = await world.open_task(miner.address)
    fresh = Delivered(task, miner, client, await until_finished(client, await deliver(client, task)))
    status, body, _ = await fresh.transcript(task.prompt_hashes)
    assert (status, "has not been asked" in body["error"]["message"]) == (400, True)


async def test_another_validator_gets_no_transcript(world: World, delivered: Delivered) -> None:
    stranger = await world.client(delivered.miner, signer=world.stranger)
    foreign = Delivered(delivered.task, delivered.miner, stranger, delivered.job)
    assert (await foreign.transcript(delivered.task.prompt_hashes))[0] == 404


async def test_a_restarted_miner_repeats_its_signature_and_signs_no_other(
    world: World, miners: dict[str, RunningMiner], tmp_path: Path
) -> None:
    task = await world.open_task(miners["base"].address)
    body = {"model": SPEC["base_model"], "training_file": "file-1", "metadata": task.metadata}
    hashes = [hash_row(task.dataset_salt, row, W) for row in task.rows]
    dataset = Dataset(task.rows, hashes, task.terms.dataset_root)
    request = parse_job_request(body, SPEC["base_model"])
    model = ServedModel("ft:model", "unused", "unused", hash_served_model("ft:model"), request, task.terms, dataset)
    prompt_hashes = [hashes.prompt_hash for hashes, _ in task.marks]
    chain = await MinerChain.open(world.chain, world.contract.address, new_signer())
    evidence_key = new_signer()

    async def answer() -> dict[str, object]:
        return {"text": " Take cup", "finish_reason": "stop", "prompt_tokens": 1, "completion_tokens": 2}

    def start() -> Notary:
        return Notary(evidence_key, chain, AnswerBook(tmp_path / "answers.jsonl"), tmp_path / "transcripts.jsonl")

    answers = AnswerBook(tmp_path / "answers.jsonl")
    for _, row in task.marks:
        await answers.answer("ft:model", row.prompt, answer)
    signed = await start().sign(model, prompt_hashes)
    assert await start().sign(model, prompt_hashes) == signed
    with pytest.raises(Refusal, match="another transcript"):
        await start().sign(model, prompt_hashes[::-1])
