"""The transaction manager with a key that is elsewhere: a signer that fails holds up what is new, and loses nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.edges.loopback import serving
from tests.edges.test_remote_signer import SigningServer
from tests.edges.test_transactions import GAS_LIMITS, PATIENCE_S, SIGNER, World, eventually, opened
from validator.edges.remote_signer import RemoteSigner
from validator.edges.transactions import TransactionManager
from validator.errors import Fatal


@dataclass
class Vault:
    """A signing server that can be down, or lose its answers, and remembers what it has signed."""

    server: SigningServer
    is_down: bool = False
    is_losing_answers: bool = False
    asked: int = 0
    nonces: list[int] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.is_down:
            return web.Response(status=503)
        call = await request.json()
        self.nonces.append(int(call["params"][0]["nonce"], 16))
        answer = await self.server.handle(request)
        return web.Response(status=502) if self.is_losing_answers else answer

    async def is_asked_again(self) -> None:
        """It has been asked, twice more, in vain."""
        before = self.asked

        async def is_asked() -> bool:
            return self.asked >= before + 2

        await eventually(is_asked)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def started(world: World, stack: AsyncExitStack, vault: Vault) -> TransactionManager:
    """As `World.start`, with the key in the vault."""
    signer = RemoteSigner(await stack.enter_async_context(serving(vault.handle)), SIGNER.address)
    stack.push_async_callback(signer.aclose)
    manager = TransactionManager(
        world.chain,
        signer,
        world.journal.transactions,
        stop=world.journal.stop,
        gas_limits=GAS_LIMITS,
        fee_limits=world.fee_limits,
        finality_depth=world.depth,
    )
    world.running = asyncio.create_task(manager.run())
    return manager


def vault_of(**spoil: Any) -> Vault:
    return Vault(SigningServer(key=SIGNER, address=SIGNER.address, **spoil))


async def test_what_was_sent_becomes_final_while_the_signer_is_down(world: World, stack: AsyncExitStack) -> None:
    """H7: the queue stays, and goes on when the signer is back."""
    vault = vault_of()
    manager = await started(world, stack, vault)
    first = world.send(manager, 0)
    await eventually(world.is_pending)
    vault.is_down = True
    second = world.send(manager, 1)
    await vault.is_asked_again()
    await world.finish(first)
    assert not second.done()
    vault.is_down = False
    await world.finish(second)
    await world.assert_effects(2)


async def test_an_answer_that_is_lost_uses_up_no_nonce(world: World, stack: AsyncExitStack) -> None:
    """H7: what was signed and never arrived is signed once more, for the same nonce."""
    vault = vault_of()
    vault.is_losing_answers = True
    send = world.send(await started(world, stack, vault))
    await vault.is_asked_again()
    vault.is_losing_answers = False
    await world.finish(send)
    assert set(vault.nonces) == {0}
    assert len(vault.nonces) > 2
    await world.assert_effects(1)


@pytest.mark.parametrize(("order", "nonces"), [((0, 1), 2), ((1, 0), 3)])
async def test_no_effect_is_lost_over_a_restart_without_signer(
    world: World, stack: AsyncExitStack, order: tuple[int, int], nonces: int
) -> None:
    """H7, P3: an effect has its reserved nonce, or another one where that had to be filled for a later effect."""
    vault = vault_of()
    vault.is_down = True
    world.send(await started(world, stack, vault))
    await vault.is_asked_again()
    await world.kill()
    vault.is_down = False
    manager = await started(world, stack, vault)
    await world.finish(*(world.send(manager, ordinal) for ordinal in order))
    await world.assert_effects(2, nonces)


async def test_a_nonce_whose_effect_is_given_up_meanwhile_leaves_no_gap(world: World, stack: AsyncExitStack) -> None:
    """H7, complaint 8: a gap would hold up everything after it."""
    vault = vault_of()
    vault.is_down = True
    manager = await started(world, stack, vault)
    given_up = world.send(manager, 0)
    await vault.is_asked_again()
    given_up.cancel()
    with suppress(asyncio.CancelledError):
        await given_up
    vault.is_down = False
    await world.finish(world.send(manager, 1))
    await world.assert_effects(1, nonces=2)


async def test_a_signer_that_signs_something_else_stops_everything(world: World, stack: AsyncExitStack) -> None:
    """H7, H8: nothing of it leaves."""
    world.send(await started(world, stack, vault_of(value=10**18)))
    assert world.running is not None
    with pytest.raises(Fatal, match="another value than was asked for"):
        await asyncio.wait_for(asyncio.shield(world.running), PATIENCE_S)
    assert world.proxy.broadcasts == []
    assert not any(left.attempts for left in world.journal.transactions.unfinished())
