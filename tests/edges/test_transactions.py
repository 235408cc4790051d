"""One effect on chain and one nonce used for it, whatever node, chain and machine do meanwhile."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests import factories as f
from tests.edges.fault_proxy import FaultProxy, faulty
from tests.support import require_or_skip
from validator.config import FeeLimits
from validator.edges.chain import Chain, Receipt, TransactionSender
from validator.edges.devnet import anvil_node
from validator.edges.keys import LocalSigner, SecretBytes, dev_mnemonic_signer
from validator.edges.transactions import MAX_IN_FLIGHT, TransactionManager
from validator.errors import BadInput, Cancelled, Fatal, Reverted, TouchstoneError
from validator.journal import Identity, Journal
from validator.journal.codec import read_transaction
from validator.protocol.effects import SendProbe
from validator.types import Address, UnixSeconds

KEY = bytes(range(32))
SIGNER = dev_mnemonic_signer(1)
PAYEE = LocalSigner(SecretBytes(b"\2" * 32)).address
GAS_LIMITS = {b"": 50_000}
EFFECTS = [SendProbe(f.TASK_ID, ordinal) for ordinal in range(40)]
SLOW = FeeLimits(resend_after_s=3600, bump_after_s=3600)
PATIENCE_S = 30
GWEI = 10**9


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110  another process changes it
            await asyncio.sleep(0.02)


@dataclass
class World:
    """An anvil that mines on demand, the proxy through which the manager sees it, and the validator's journal."""

    url: str
    anvil: Chain
    proxy: FaultProxy
    chain: Chain
    journal: Journal
    depth: int = 2
    fee_limits: FeeLimits = SLOW
    running: "asyncio.Task[None] | None" = None
    sends: "list[asyncio.Task[Receipt]]" = field(default_factory=list)

    async def rpc(self, method: str, *params: Any) -> Any:
        return await self.anvil.ask(lambda result: result, method, *params)

    async def mine(self, blocks: int = 1) -> None:
        await self.rpc("anvil_mine", hex(blocks))

    def start(self) -> TransactionManager:
        manager = TransactionManager(
            self.chain,
            SIGNER,
            self.journal.transactions,
            stop=self.journal.stop,
            gas_limits=GAS_LIMITS,
            fee_limits=self.fee_limits,
            finality_depth=self.depth,
        )
        self.running = asyncio.create_task(manager.run())
        return manager

    async def kill(self) -> None:
        """As a crash of this process: nothing is said to anybody."""
        for task in (self.running, *self.sends):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, TouchstoneError):
                    await task

    def send(self, manager: TransactionManager, ordinal: int = 0, deadline_s: int | None = None) -> "asyncio.Task[Any]":
        """Pay 5 wei to PAYEE, for the effect of that ordinal."""
        deadline = None if deadline_s is None else UnixSeconds(deadline_s)
        task = asyncio.create_task(manager.sender(EFFECTS[ordinal].key, deadline).send(PAYEE, value_wei=5))
        self.sends.append(task)
        return task

    async def pending(self) -> int:
        return int((await self.rpc("txpool_status"))["pending"], 16)

    async def is_pending(self) -> bool:
        return await self.pending() > 0

    async def is_mined(self) -> bool:
        """Known to be mined, by the journal."""
        return any(out.inclusion for out in self.journal.transactions.unfinished())

    async def pass_over(self, deadline_s: int) -> None:
        """Mine a block after the deadline that leaves out what is pending."""
        await eventually(self.is_pending)
        await self.rpc("anvil_dropAllTransactions")
        await self.rpc("evm_setNextBlockTimestamp", deadline_s + 1)
        await self.mine()

    async def has_broadcast(self, count: int) -> None:
        async def has() -> bool:
            return len(self.proxy.broadcasts) >= count

        await eventually(has)

    async def finish(self, *sends: "asyncio.Task[Any]") -> list[Any]:
        """Mine until all of these have an outcome."""
        async with asyncio.timeout(PATIENCE_S):
            while not all(send.done() for send in sends):
                assert self.running is not None
                if self.running.done():
                    await self.running
                await self.mine()
                await asyncio.sleep(0.05)
        return [await send for send in sends]

    async def assert_effects(self, count: int, nonces: int | None = None) -> None:
        assert await self.anvil.balance_wei(PAYEE) == 5 * count
        assert await self.anvil.nonce(SIGNER.address) == (count if nonces is None else nonces)
        assert await self.rpc("txpool_status") == {"pending": "0x0", "queued": "0x0"}
        assert self.journal.transactions.unfinished() == []


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(anvil_node("--no-mining"))
        except BadInput as error:
            require_or_skip(str(error))
        proxy, proxy_url = await stack.enter_async_context(faulty(url))
        anvil, chain = await Chain.connect(url), await Chain.connect(proxy_url)
        stack.push_async_callback(anvil.aclose)
        stack.push_async_callback(chain.aclose)
        journal = open_journal(path / "journal.sqlite")
        stack.callback(journal.close)
        world = World(url, anvil, proxy, chain, journal)
        stack.push_async_callback(world.kill)
        await world.mine(10)
        yield world


def open_journal(path: Path, *, despite_stop: bool = False) -> Journal:
    """A journal that knows every effect of EFFECTS."""
    identity = Identity(31337, f.CONTRACT, Address(SIGNER.address))
    journal = Journal(path, KEY, identity, despite_stop=despite_stop)
    if journal.is_new:
        journal.record(f.PLANNED, EFFECTS)
    return journal


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(f"touchstone_{name}") or 0.0


async def test_an_effect_is_told_when_its_transaction_is_final_and_not_before(world: World) -> None:
    """Rule 9 of the transaction manager."""
    spent_wei = metric("gas_spent_wei_total")
    send = world.send(world.start())
    await eventually(world.is_pending)
    await world.mine()
    await eventually(world.is_mined)
    await world.mine()
    assert not send.done(), "one block deep, and two are wanted"
    (receipt,) = await world.finish(send)
    assert (await world.anvil.head()).number - receipt.block_number >= world.depth
    await world.assert_effects(1)
    assert metric("gas_spent_wei_total") - spent_wei == receipt.cost_wei


@pytest.mark.parametrize("fault", ["answer lost", "request lost", "429", "503", "unheard-of words"])
async def test_whatever_the_node_says_there_is_one_transaction(world: World, fault: str) -> None:
    """R1, R5, R8."""
    world.fee_limits = replace(SLOW, resend_after_s=0.2)
    method = "eth_sendRawTransaction"
    if fault == "answer lost":
        world.proxy.lose_answer.add(method)
    elif fault == "request lost":
        world.proxy.lose_request.add(method)
    elif fault == "unheard-of words":
        world.proxy.errors[method].append("unknown transaction: the moon is full")
    else:
        world.proxy.statuses[method].append(int(fault))
    send = world.send(world.start())
    await world.has_broadcast(2)
    world.proxy.lose_answer.clear()
    world.proxy.lose_request.clear()
    await world.finish(send)
    await world.assert_effects(1)
    assert len(set(world.proxy.broadcasts)) == 1, "the same bytes"


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
async def test_a_reorganisation_brings_the_same_bytes_again(world: World, depth: int) -> None:
    """C1, C3, at Mined: anvil does not put dropped transactions back."""
    world.depth, reorged = 8, metric("transactions_reorged_total")
    send = world.send(world.start())
    await eventually(world.is_pending)
    await world.mine(depth)
    await eventually(world.is_mined)
    await world.rpc("anvil_reorg", depth, [])
    assert await world.anvil.balance_wei(PAYEE) == 0
    await world.has_broadcast(2)
    assert not await world.is_mined()
    await world.finish(send)
    await world.assert_effects(1)
    assert len(set(world.proxy.broadcasts)) == 1
    assert metric("transactions_reorged_total") == reorged + 1


@pytest.mark.parametrize("depth", [1, 5])
async def test_a_reorganisation_under_what_is_sent_changes_nothing(world: World, depth: int) -> None:
    """C1, at Sent."""
    world.fee_limits = replace(SLOW, resend_after_s=0.2)
    send = world.send(world.start())
    await eventually(world.is_pending)
    await world.rpc("anvil_reorg", depth, [])
    await world.finish(send)
    await world.assert_effects(1)
    assert len(set(world.proxy.broadcasts)) == 1


async def test_a_receipt_of_a_block_that_is_not_there_is_no_receipt(world: World) -> None:
    """C1, R2: final is what the chain's own hash says."""
    world.depth = 0
    world.proxy.falsify["eth_getTransactionReceipt"] = lambda receipt: (
        receipt and receipt | {"blockHash": "0x" + "ab" * 32}
    )
    send = world.send(world.start())
    await eventually(world.is_pending)
    await world.mine()
    before = len(world.proxy.seen)

    async def has_looked() -> bool:
        return "eth_getTransactionReceipt" in world.proxy.seen[before:]

    await eventually(has_looked)
    assert not send.done()
    world.proxy.falsify.clear()
    await world.finish(send)
    await world.assert_effects(1)


async def test_what_a_pool_forgets_is_sent_again(world: World) -> None:
    """Rule 5 of the transaction manager."""
    world.fee_limits = replace(SLOW, resend_after_s=0.2)
    send = world.send(world.start())
    await eventually(world.is_pending)
    await world.rpc("anvil_dropAllTransactions")
    await eventually(world.is_pending)
    await world.finish(send)
    await world.assert_effects(1)
    assert len(set(world.proxy.broadcasts)) == 1


async def test_what_stands_still_is_replaced_at_an_eighth_more_until_the_cap(world: World) -> None:
    """C11, complaint 9; and the pool's own rule is not asked, since anvil's is laxer than others'."""
    world.fee_limits = FeeLimits(max_fee_per_gas_wei=5 * GWEI, bump_after_s=0.05, resend_after_s=0.5)
    capped = metric("transactions_capped_total")
    send = world.send(world.start())
    await eventually(world.is_pending)
    await world.rpc("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))

    async def is_capped() -> bool:
        return metric("transactions_capped_total") > capped

    await eventually(is_capped)
    (outgoing,) = world.journal.transactions.unfinished()
    attempts = outgoing.attempts
    assert len(attempts) > 2
    for older, newer in pairwise(attempts):
        assert newer.max_fee_per_gas_wei * 8 >= older.max_fee_per_gas_wei * 9
        assert newer.max_priority_fee_per_gas_wei * 8 >= older.max_priority_fee_per_gas_wei * 9
        assert newer.nonce == older.nonce
    assert attempts[-1].max_fee_per_gas_wei <= 5 * GWEI < attempts[-1].max_fee_per_gas_wei * 9 / 8 + 1
    assert set(world.proxy.broadcasts) <= {attempt.raw for attempt in attempts}, "in the journal before they leave"
    await world.mine()
    assert not send.done()
    await world.rpc("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    await world.finish(send)
    await world.assert_effects(1)


async def test_a_cap_for_each_action_binds_too(world: World) -> None:
    """C11."""
    world.fee_limits = FeeLimits(max_fee_per_action_wei=GAS_LIMITS[b""] * GWEI)
    send = world.send(world.start())
    await world.has_broadcast(1)
    assert read_transaction(world.proxy.broadcasts[0]).max_fee_per_gas_wei == GWEI
    await world.finish(send)


async def test_a_replaced_attempt_still_counts(world: World) -> None:
    """Rule 6 of the transaction manager: a receipt for any of them."""
    world.fee_limits = FeeLimits(bump_after_s=0.2, resend_after_s=3600)
    world.depth = 0
    send = world.send(world.start())
    await world.has_broadcast(1)
    world.proxy.lose_request.add("eth_sendRawTransaction")  # The pool keeps the first.
    await world.has_broadcast(2)
    (receipt,) = await world.finish(send)
    assert receipt.tx_hash == read_transaction(world.proxy.broadcasts[0]).tx_hash
    await world.assert_effects(1)


async def test_what_is_too_late_is_cancelled_at_its_own_nonce(world: World) -> None:
    """Rule 12 of the transaction manager."""
    deadline_s = (await world.anvil.head()).timestamp_s + 100
    manager = world.start()
    send = world.send(manager, deadline_s=deadline_s)
    await world.pass_over(deadline_s)
    await world.has_broadcast(2)
    first, nothing = map(read_transaction, world.proxy.broadcasts)
    assert (nothing.nonce, nothing.to, nothing.value_wei, nothing.data) == (first.nonce, SIGNER.address, 0, b"")
    assert nothing.max_fee_per_gas_wei * 8 >= first.max_fee_per_gas_wei * 9
    with pytest.raises(Cancelled):
        await world.finish(send)
    await world.assert_effects(0, nonces=1)
    with pytest.raises(Cancelled, match="not sent by its deadline"):
        await world.finish(world.send(manager, deadline_s=deadline_s))
    await world.finish(world.send(manager, 1))
    await world.assert_effects(1, nonces=2)


async def test_whichever_of_the_two_is_mined_decides(world: World) -> None:
    """Rule 5 of the transaction manager: the cancellation never arrives, and the effect comes true."""
    deadline_s = (await world.anvil.head()).timestamp_s + 100
    send = world.send(world.start(), deadline_s=deadline_s)
    await world.has_broadcast(1)
    world.proxy.lose_request.add("eth_sendRawTransaction")
    await world.pass_over(deadline_s)
    await world.has_broadcast(2)
    await world.rpc("eth_sendRawTransaction", "0x" + world.proxy.broadcasts[0].hex())
    (receipt,) = await world.finish(send)
    assert receipt.tx_hash == read_transaction(world.proxy.broadcasts[0]).tx_hash
    await world.assert_effects(1)


@pytest.mark.parametrize("is_running", [True, False], ids=["while running", "at start"])
async def test_a_transaction_that_is_not_ours_stops_everything(world: World, is_running: bool) -> None:
    """P7, P8."""
    manager = world.start()
    await world.finish(world.send(manager))
    if is_running:
        send = world.send(manager, 1)
        await world.has_broadcast(2)
        await world.rpc("anvil_dropAllTransactions")
    else:
        await world.kill()
    await world.rpc("evm_setAutomine", True)
    await TransactionSender(world.anvil, SIGNER).send(PAYEE, value_wei=1)
    await TransactionSender(world.anvil, SIGNER).send(PAYEE, value_wei=1)
    if not is_running:
        world.start()
    assert world.running is not None
    with pytest.raises(Fatal, match="another program uses the key"):
        await asyncio.wait_for(world.running, PATIENCE_S)
    assert "another program uses the key" in str(world.journal.stop_reason)
    if is_running:
        send.cancel()


async def test_a_nonce_that_somebody_else_has_used_stops_everything(world: World) -> None:
    """P7: the chain's count is what we expect, and none of it is ours."""
    world.depth = 0
    world.send(world.start())
    await eventually(world.is_pending)
    await world.rpc("anvil_dropAllTransactions")
    await world.rpc("evm_setAutomine", True)
    await TransactionSender(world.anvil, SIGNER).send(PAYEE, value_wei=1)
    assert world.running is not None
    with pytest.raises(Fatal, match="nonce 0 was used by a transaction that is not in this journal"):
        await asyncio.wait_for(world.running, PATIENCE_S)
    assert world.journal.stop_reason is not None


async def test_many_at_once_keep_their_order_and_never_fill_the_pool(world: World) -> None:
    """Rule 14 of the transaction manager."""
    world.depth = 0
    manager = world.start()
    sends = [world.send(manager, ordinal) for ordinal in range(len(EFFECTS))]
    await world.has_broadcast(MAX_IN_FLIGHT)
    most = 0
    async with asyncio.timeout(PATIENCE_S):
        while not all(send.done() for send in sends):
            most = max(most, await world.pending())
            await world.mine()
            await asyncio.sleep(0.02)
    assert MAX_IN_FLIGHT - 1 <= most <= MAX_IN_FLIGHT, "the last one may be on its way to the pool"
    await world.assert_effects(len(EFFECTS))
    nonces = [read_transaction(raw).nonce for raw in world.proxy.broadcasts]
    assert nonces == list(range(len(EFFECTS)))
    for ordinal, effect in enumerate(EFFECTS):
        (attempt,) = world.journal.transactions.attempts_of(effect.key)
        assert attempt.nonce == ordinal


async def test_what_the_contract_refuses_takes_no_nonce(world: World) -> None:
    """Rule 13 of the transaction manager."""
    await world.rpc("anvil_setCode", PAYEE, "0x60006000fd")
    with pytest.raises(Reverted):
        await world.finish(world.send(world.start()))
    assert world.proxy.broadcasts == []
    assert world.journal.transactions.next_nonce() == 0


async def test_what_fails_in_a_block_has_used_its_nonce_up(world: World) -> None:
    manager = world.start()
    send = world.send(manager)
    await eventually(world.is_pending)
    await world.rpc("anvil_setCode", PAYEE, "0x60006000fd")
    with pytest.raises(Reverted):
        await world.finish(send)
    await world.rpc("anvil_setCode", PAYEE, "0x")
    await world.finish(world.send(manager))
    await world.assert_effects(1, nonces=2)


async def test_an_effect_that_was_carried_out_is_not_carried_out_again(world: World) -> None:
    """P4: whoever asks again is told what came of it."""
    manager = world.start()
    (first,) = await world.finish(world.send(manager))
    await world.kill()
    (again,) = await world.finish(world.send(world.start()))
    assert again == first
    await world.assert_effects(1)


async def test_a_nonce_that_was_reserved_and_never_signed_for_leaves_no_gap(world: World) -> None:
    """P3: its effect did not come back, and another one must not wait for it."""
    world.journal.transactions.reserve_nonce(EFFECTS[0].key, 0)
    manager = world.start()
    await world.finish(world.send(manager, 1))
    await world.assert_effects(1, nonces=2)
    await world.finish(world.send(manager, 0))
    await world.assert_effects(2, nonces=3)


STEPS = ["reserve_nonce", "record_attempt", "broadcast", "mark_mined", "mark_final"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_it_goes_on_and_the_effect_comes_true_once(
    world: World, tmp_path: Path, step: str, moment: str
) -> None:
    """P3, P4: SIGKILL between any two steps."""
    world.journal.close()
    path = tmp_path / "journal.sqlite"

    async def run(*fault: str) -> int:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.edges.transaction_child", world.url, str(path), *fault
        )
        async with asyncio.timeout(2 * PATIENCE_S):
            while child.returncode is None:
                await world.mine()
                await asyncio.sleep(0.1)
        return await child.wait()

    assert await run(step, moment) == -signal.SIGKILL
    assert await run() == 0
    world.journal = open_journal(path)
    try:
        await world.assert_effects(2)
    finally:
        world.journal.close()


async def test_a_restored_backup_does_not_send(world: World, tmp_path: Path) -> None:
    """P8."""
    manager = world.start()
    await world.finish(world.send(manager))
    await world.kill()
    old = open_journal(tmp_path / "backup.sqlite")
    old.transactions.reserve_nonce(EFFECTS[1].key, 0)
    await world.finish(world.send(world.start(), 1))
    await world.kill()
    world.journal.close()
    world.journal = old
    world.start()
    assert world.running is not None
    with pytest.raises(Fatal, match="the journal is an old copy"):
        await asyncio.wait_for(world.running, PATIENCE_S)
    assert len(world.proxy.broadcasts) == 2
    old.close()
