"""What a run of a scenario ends in, in a form that two runs can be compared in, and what must never have happened.

The letters are those of the invariants of the fault catalogue.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.daemon.memory_miner import MemoryMiner
from tests.daemon.world import SEED, World
from validator.edges.contract import TaskSettled
from validator.edges.keys import derive_secret
from validator.journal import Journal
from validator.protocol.state import Phase
from validator.types import BlockNumber

BURNED = "0x" + "00" * 20


async def describe_end(world: World, journal: Journal) -> dict[str, Any]:
    """Everything that must not depend on when the validator crashed."""
    contract = world.contract
    wealth_wei = {}
    roles = {"payer": world.payer.address, "validator": world.validator.address, "burned": BURNED}
    for role, address in (roles | {f"miner {miner.name}": miner.signer.address for miner in world.miners}).items():
        onchain = await contract.miner(address)
        spent_wei = sum(
            outcome.gas_used * outcome.price_wei
            for _block, outcome in world.node.outcomes()
            if outcome.transaction.sender == address
        )
        wealth_wei[role] = (
            world.node.balance_wei(address) + spent_wei + await contract.credits_wei(address) + onchain.stake
        )
    replayed = journal.replay()
    states = [replayed[task.task_id] for task in world.tasks]
    return {
        "outcomes": [(await contract.task_state(task.task_id)).status.name for task in world.tasks],
        "wealth": wealth_wei,
        "on chain": sorted(name for name, _task_id in world.node.facts()),
        "journal": [(state.phase, state.outcome, state.hits) for state in states],
    }


async def find_violations(world: World, journal: Journal) -> list[str]:
    """I1 to I7, and the gates; empty if all is well."""
    return [*world.violations, *[found async for found in _violations(world, journal)]]


async def _violations(world: World, journal: Journal) -> AsyncIterator[str]:
    states = journal.replay()
    for task in world.tasks:
        state = states.get(task.task_id)
        if state is None or state.phase is not Phase.CLOSED:
            yield f"I3: a task is {state.phase if state else 'forgotten'}"
    if left := journal.unfinished_effects():
        yield f"I3: effects are left: {[effect.key for effect in left]}"
    if unsent := journal.transactions.unfinished():
        yield f"I4: nonces are left: {[out.nonce for out in unsent]}"
    if world.node.next_nonce(world.validator.address) != world.node.mined_count(world.validator.address):
        yield "I4: something of the validator is still on its way"
    for (name, task_id), count in Counter(world.node.facts()).items():
        if count > 1 and name in ONCE:
            yield f"I4: {name} {count} times for {task_id.hex()[:8]}"
    for miner in world.miners:
        for found in _of_miner(world, miner):
            yield found
    async for found in _in_the_books(world):
        yield found


ONCE = ("TaskOpened", "TaskAccepted", "ModelSubmitted", "Challenged", "Answered", "TaskSettled", "TaskClosed")


def _of_miner(world: World, miner: MemoryMiner) -> Iterator[str]:
    """C1, P5, P6, and the probes' gate."""
    contents = {deed.content for deed in miner.deeds if deed.kind in ("upload", "job")}
    if len(contents) > 1:
        yield f"P5: {len(contents)} different datasets"
    if contents - {world.planted.training_file}:
        yield "P5: another dataset than the planted one"
    prompts = {deed.content.decode() for deed in miner.deeds if deed.kind == "probe"}
    if prompts - {mark.row.prompt for mark in world.planted.marks}:
        yield "P6: a prompt that is no probe"
    for deed in miner.deeds:
        if not deed.is_due:
            yield f"gate: {deed.kind} before what it waits for was final"


async def _in_the_books(world: World) -> AsyncIterator[str]:
    """I1: once all tasks are closed, credits and stakes are all that there is. I7: the hits, from the chain alone."""
    contract = world.contract
    owed_wei = 0
    for address in (world.payer.address, world.validator.address, *(miner.signer.address for miner in world.miners)):
        owed_wei += await contract.credits_wei(address) + (await contract.miner(address)).stake
    if owed_wei != world.node.balance_wei(contract.address):
        yield f"I1: the contract owes {owed_wei} and has {world.node.balance_wei(contract.address)}"
    for event in await contract.events(BlockNumber(0), BlockNumber(world.node.head.number)):
        if isinstance(event, TaskSettled):
            hits = sum(row.head_hash == reply for row, reply in zip(event.rows, event.replies, strict=True))
            if hits != event.hits:
                yield f"I7: {event.hits} hits on chain, {hits} counted again"


def find_secrets(world: World, logs: str) -> list[str]:
    """I5: what must be neither on the disk nor in the logs while a task that it belongs to is not settled."""
    is_revealed = any(name == "TaskSettled" for name, _task_id in world.node.facts()) or any(
        transaction.function == "settle" for transaction in world.node.pool.values()
    )
    needles = {"master seed": SEED, "validator's key": derive_secret(SEED, "validator").reveal()}
    if not is_revealed:
        needles["salt"] = world.secrets.commitment_salt(world.validator.address, 0)
        needles |= {f"mark {mark.row_index}": mark.draw.text.encode() for mark in world.planted.marks}
    files = [path for path in world.directory.rglob("*") if path.is_file() and path.stat().st_size]
    return [
        f"I5: the {name} is in {place}"
        for name, secret in needles.items()
        for place, content in [*((path.name, path.read_bytes()) for path in files), ("the logs", logs.encode())]
        if secret in content or secret.hex().encode() in content
    ]
