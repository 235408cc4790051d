"""Moves a development chain's clock on while everybody waits for a deadline, so that nobody waits for it in earnest.

Rule kept: the clock moves only while none of the miners works, the validator has nothing to do itself and knows of
all that is on chain, and nothing has happened for a while; then to the next moment that any task waits for. Neither who
trains nor who judges can therefore be too late.
"""

import asyncio
from contextlib import suppress

from validator.app import ValidatorNode
from validator.edges.chain import Chain
from validator.errors import TouchstoneError
from validator.protocol.state import Phase, TaskState
from validator.simulation.world import MinersProcess

QUIET_S = 3.0
"""Longer than a miner takes to see on chain that it is challenged (a poll a second)."""
LOOK_S = 0.25
STALL_S = 1.0
"""A look that comes so much too late says that the machine is too busy for "nothing happens" to mean anything."""


class Timekeeper:
    """Of one simulation. Tell it of every change; `run` does the rest."""

    def __init__(self, chain: Chain, miners: MinersProcess) -> None:
        self._chain = chain
        self._miners = miners
        self._is_quiet_since_s = 0.0
        self.skipped_s = 0
        """How much chain time nobody had to wait for."""

    def note_change(self) -> None:
        """Something has happened."""
        self._is_quiet_since_s = asyncio.get_running_loop().time()

    async def run(self, node: ValidatorNode) -> None:
        """For ever. On a node that lets nobody move its clock, deadlines pass in real time."""
        loop = asyncio.get_running_loop()
        self.note_change()
        while True:
            before_s = loop.time()
            await asyncio.sleep(LOOK_S)
            is_stalled = loop.time() - before_s > LOOK_S + STALL_S
            if is_stalled or self._is_somebody_busy(node):
                self.note_change()
            elif loop.time() - self._is_quiet_since_s >= QUIET_S:
                with suppress(TouchstoneError):
                    if await self._nothing_happens_still(node):
                        await self._move_on(node)
                self.note_change()

    def _is_somebody_busy(self, node: ValidatorNode) -> bool:
        return self._miners.is_working or node.driver.oldest_effect_age_s() > 0

    async def _nothing_happens_still(self, node: ValidatorNode) -> bool:
        """Once the validator, whose node may be slow, has seen what was on chain when this was asked."""
        since_s = self._is_quiet_since_s
        head = await self._chain.head()
        while node.watcher.delivered_number < head.number:  # noqa: ASYNC110 - nobody is told of a look
            await asyncio.sleep(LOOK_S)
        return self._is_quiet_since_s == since_s and not self._is_somebody_busy(node)

    async def _move_on(self, node: ValidatorNode) -> None:
        now_s = node.watcher.progress.chain_time_s
        states = node.driver.states.values()
        waits = [wake_at_s for state in states if (wake_at_s := _next_moment_s(state)) and wake_at_s > now_s]
        if not waits or any(state.phase is Phase.PLANNED for state in states):
            return
        await self._chain.ask(_ignore, "evm_setNextBlockTimestamp", min(waits))
        await self._chain.ask(_ignore, "evm_mine")
        self.skipped_s += min(waits) - now_s


def _next_moment_s(state: TaskState) -> int | None:
    return None if state.phase is Phase.CLOSED else state.wake_at_s


def _ignore(_answer: object) -> None:
    """What a node says to an order of this kind differs from one to the next."""
