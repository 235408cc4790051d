"""What keeps a transaction manager from doing too much, too late, or by the word of one node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.edges.fault_proxy import FaultProxy, faulty
from tests.edges.test_transactions import (
    EFFECTS,
    PATIENCE_S,
    PAYEE,
    SIGNER,
    World,
    eventually,
    metric,
    open_journal,
    opened,
)
from validator.edges import nodes, rpc_node
from validator.edges.chain import Chain, TransactionSender
from validator.edges.keys import dev_mnemonic_signer
from validator.edges.transactions import MAX_QUEUED
from validator.errors import BadInput, Fatal, QueueFull, Reverted, Transient
from validator.journal.codec import read_transaction


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


def alarms(share: int) -> float:
    return REGISTRY.get_sample_value("touchstone_deadline_alarms_total", {"share": str(share)}) or 0.0


async def test_what_waits_is_bounded_and_new_tasks_are_refused_before_old_ones(world: World) -> None:
    """Rule 14 of the transaction manager."""
    manager = world.start()
    sends = [world.send(manager, ordinal % len(EFFECTS)) for ordinal in range(MAX_QUEUED // 2)]
    await asyncio.sleep(0)
    assert manager.is_busy
    sends += [world.send(manager, ordinal % len(EFFECTS)) for ordinal in range(MAX_QUEUED - len(sends))]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await world.send(manager)
    await world.finish(*sends)
    assert not manager.is_busy
    await world.assert_effects(len(EFFECTS))


async def test_alarms_tell_how_much_of_a_deadline_is_gone(world: World) -> None:
    """Rule 18 of the transaction manager."""
    before = [alarms(share) for share in (25, 50, 75)]
    now_s = (await world.anvil.head()).timestamp_s
    send = world.send(world.start(), deadline_s=now_s + 1_000)
    await eventually(world.is_pending)
    for gone_s, expected in ((100, [0, 0, 0]), (300, [1, 0, 0]), (600, [1, 1, 0]), (900, [1, 1, 1])):
        (raw,) = {*world.proxy.broadcasts}
        await world.rpc("anvil_dropAllTransactions")
        await world.rpc("evm_setNextBlockTimestamp", now_s + gone_s)
        await world.mine()
        seen = len(world.proxy.seen)

        async def has_looked(seen: int = seen) -> bool:
            return world.proxy.seen[seen:].count("eth_getBlockByNumber") > 2

        async def has_told(expected: list[int] = expected) -> bool:
            return [alarms(share) - was for share, was in zip((25, 50, 75), before, strict=True)] == expected

        await eventually(has_looked)  # Too many would be there by now.
        await eventually(has_told)
        await world.rpc("eth_sendRawTransaction", "0x" + raw.hex())
    await world.finish(send)


ONCE_ONLY = "0x5f54600a57" + "60015f5500" + "5b5f5ffd"
"""Code that sets a slot, and reverts if it is set: PUSH0 SLOAD PUSH1 10 JUMPI, 1 0 SSTORE STOP, JUMPDEST 0 0 REVERT."""


async def test_what_only_a_waiting_transaction_stands_against_is_not_given_up(world: World) -> None:
    """Rule 13 of the transaction manager, complaint 10: a refusal that a pending transaction causes may pass."""
    await world.rpc("anvil_setCode", PAYEE, ONCE_ONLY)
    other = TransactionSender(world.anvil, dev_mnemonic_signer(2))
    waiting = asyncio.create_task(other.send(PAYEE))
    await eventually(world.is_pending)
    manager = world.start()
    with pytest.raises(Transient, match="waits for a transaction that is not mined"):
        await world.send(manager)
    assert world.proxy.broadcasts == []
    await world.mine()
    await waiting
    with pytest.raises(Reverted):
        await world.send(manager)
    assert world.proxy.broadcasts == []


async def second_node(world: World, stack: AsyncExitStack) -> FaultProxy:
    """The manager sees the chain through another proxy too."""
    proxy, url = await stack.enter_async_context(faulty(world.url))
    first = await stack.enter_async_context(faulty(world.url))
    world.proxy = first[0]
    world.chain = await Chain.connect([first[1], url])
    stack.push_async_callback(world.chain.aclose)
    stack.push_async_callback(world.kill)
    return proxy


@pytest.mark.parametrize(
    "lie", [{"gasUsed": "0x1"}, {"status": "0x0"}, {"blockHash": "0x" + "ab" * 32}, {"effectiveGasPrice": "0x1"}]
)
async def test_nothing_is_done_by_the_word_of_one_node(
    world: World, lie: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3: final is what two nodes say, and until then the effect waits."""
    monkeypatch.setattr(nodes, "DISAGREEMENT_PAUSES_S", (0.01,))
    async with AsyncExitStack() as stack:
        liar = await second_node(world, stack)
        liar.falsify["eth_getTransactionReceipt"] = lambda receipt: receipt and receipt | lie
        disagreements = metric("rpc_disagreements_total")
        send = world.send(world.start())
        await eventually(world.is_pending)
        await world.mine(5)

        async def has_disagreed() -> bool:
            return metric("rpc_disagreements_total") > disagreements

        await eventually(has_disagreed)
        assert not send.done()
        liar.falsify.clear()
        await world.finish(send)
        await world.assert_effects(1)


async def test_a_node_that_swallows_ours_keeps_nothing_from_the_chain(world: World) -> None:
    """R11."""
    async with AsyncExitStack() as stack:
        await second_node(world, stack)
        world.proxy.swallow.add("eth_sendRawTransaction")
        await world.finish(world.send(world.start()))
        await world.assert_effects(1)


async def test_one_node_that_counts_too_much_stops_nobody(world: World) -> None:
    """R3, P7."""
    async with AsyncExitStack() as stack:
        await second_node(world, stack)
        world.proxy.falsify["eth_getTransactionCount"] = lambda _: "0x7"
        await world.finish(world.send(world.start()))
        assert world.journal.stop_reason is None


async def test_while_one_of_two_nodes_is_away_nothing_becomes_final_and_sending_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5."""
    monkeypatch.setattr(rpc_node, "LONGEST_REST_S", 0.5)
    async with AsyncExitStack() as stack:
        other = await second_node(world, stack)
        world.depth = 0
        manager = world.start()
        await world.finish(world.send(manager, 1))
        other.is_dead = True
        send = world.send(manager)
        await eventually(world.is_pending)
        await world.mine()
        await eventually(world.is_mined)
        assert not send.done()
        other.is_dead = False
        await world.finish(send)
        await world.assert_effects(2)


async def test_what_others_sent_is_accepted_by_an_operator_and_never_by_itself(world: World, tmp_path: Path) -> None:
    """P7, P8, P10: the way back after the stop; the nonces between are never used again."""
    manager = world.start()
    await world.finish(world.send(manager))
    await world.kill()
    foreign = asyncio.create_task(TransactionSender(world.anvil, SIGNER).send(SIGNER.address))
    await eventually(world.is_pending)
    await world.mine(3)
    await foreign
    world.start()
    assert world.running is not None
    with pytest.raises(Fatal, match="this journal knows of 1"):
        await asyncio.wait_for(world.running, PATIENCE_S)
    world.journal.close()
    with pytest.raises(BadInput, match="is stopped"):
        open_journal(tmp_path / "journal.sqlite")
    world.journal = open_journal(tmp_path / "journal.sqlite", despite_stop=True)
    world.journal.transactions.accept_foreign(await world.anvil.nonce(SIGNER.address))
    world.journal.clear_stop()
    await world.finish(world.send(world.start(), 1))
    await world.assert_effects(2, nonces=3)
    assert read_transaction(world.proxy.broadcasts[-1]).nonce == 2


async def test_an_effect_whose_nonce_others_used_gets_another_once_that_is_accepted(
    world: World, tmp_path: Path
) -> None:
    """P8: what was on its way when somebody else used its nonce."""
    send = world.send(world.start())
    await eventually(world.is_pending)
    await world.rpc("anvil_dropAllTransactions")
    foreign = asyncio.create_task(TransactionSender(world.anvil, SIGNER).send(SIGNER.address))
    await eventually(world.is_pending)
    await world.kill()
    assert send.done()
    await world.mine(3)
    await foreign
    world.journal.transactions.accept_foreign(1)
    await world.finish(world.send(world.start()))
    assert world.journal.stop_reason is None
    await world.assert_effects(1, nonces=2)
