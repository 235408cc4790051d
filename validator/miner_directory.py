"""Who has ever registered as a miner: the addresses among which the scheduler chooses.

It is not in the journal: a start rebuilds it from the chain's own `Registered` events, in the background, and what they
registered is read from the contract when it is needed.
"""

import asyncio

import structlog

from validator.edges.contract import Registered, Touchstone
from validator.errors import Transient
from validator.types import Address, BlockNumber

RANGE_BLOCKS = 10_000
"""Looked through at once, so that an outage costs no more than that."""
OUTAGE_PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class MinerDirectory:
    """Grows only: the contract knows no way to leave, only stakes of zero."""

    def __init__(self) -> None:
        self._addresses: dict[Address, None] = {}
        self.is_complete = False
        """Whether the blocks before the watcher's own have been looked through."""

    def addresses(self) -> list[Address]:
        """Each once, in the order of being seen."""
        return list(self._addresses)

    def add(self, address: Address) -> None:
        self._addresses[address] = None

    async def scan(self, contract: Touchstone, first: BlockNumber, last: BlockNumber) -> None:
        """Look through these blocks, both included; an outage is waited out."""
        start = first
        while start <= last:
            end = BlockNumber(min(start + RANGE_BLOCKS - 1, last))
            try:
                for event in await contract.events(start, end, kind=Registered):
                    if isinstance(event, Registered):
                        self.add(event.miner)
            except Transient as error:
                log.warning("registrations cannot be read", error=str(error))
                await asyncio.sleep(OUTAGE_PAUSE_S)
                continue
            start = BlockNumber(end + 1)
        self.is_complete = True
