"""Who may talk to its miner now, and for how long: fair shares of the connections, and a minimum rate.

Rules kept (N1): an exchange is cut off that does not move on, and no miner, however slow, makes another one wait for
long: a second exchange with the same miner begins only while less than half of all are taken, so a miner that stalls
holds one of them, and if they are taken nevertheless, who has waited takes over from the one that is furthest behind.
Places are given in the order of waiting.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from validator.errors import Transient


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the exchanges of one client (protocol, "Transport")."""

    connect_s: float = 10.0
    """Name, connection and TLS handshake together."""
    read_s: float = 30.0
    """Longest silence of a miner that is to answer."""
    grace_s: float = 60.0
    """How far behind the minimum rate an exchange may be, so also the longest that a small one may take."""
    rate_bytes_per_s: int = 64 * 1024
    exchanges: int = 64
    exchanges_per_miner: int = 2
    patience_s: float = 10.0
    """How far behind is too far while somebody else waits."""


class Exchange:
    """One request and its answer. Due `grace_s` after it last moved, and after its bytes at the minimum rate."""

    def __init__(self, limits: Limits, miner: object) -> None:
        self.miner = miner
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._begun_s = self._last_moved_s = self._loop.time()
        self._bytes = 0
        self._timeout: asyncio.Timeout | None = None

    @property
    def behind_s(self) -> float:
        """For how long nothing has moved, or what has moved would not have taken at the minimum rate."""
        return self._loop.time() - self._caught_up_s

    @property
    def _caught_up_s(self) -> float:
        return min(self._last_moved_s, self._begun_s + self._bytes / self._limits.rate_bytes_per_s)

    def moved(self, count: int) -> None:
        """Tell that so many bytes have been sent or received."""
        self._bytes += count
        self._last_moved_s = self._loop.time()
        self._end_at(self._caught_up_s + self._limits.grace_s)

    def cut_off(self) -> None:
        self._end_at(self._loop.time())

    def _end_at(self, when_s: float) -> None:
        if self._timeout is not None and not self._timeout.expired():  # what sends may still report after the end
            self._timeout.reschedule(when_s)

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Transient if what is done inside is cut off."""
        self._timeout = timeout = asyncio.timeout(self._limits.grace_s)
        try:
            async with timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():
                raise
            rate = self._limits.rate_bytes_per_s >> 10
            raise Transient(f"cut off after {self._bytes} bytes, slower than {rate} KiB/s") from error
        finally:
            self._timeout = None


class Exchanges:
    """All exchanges of one client that are under way; the miners themselves hold to `exchanges_per_miner`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._running: set[Exchange] = set()
        self._waiting: dict[asyncio.Future[Exchange], object] = {}
        """Who waits, by their miners, the longest first."""

    @asynccontextmanager
    async def begin(self, miner: object) -> AsyncIterator[Exchange]:
        """Wait for this miner's turn, then do what is inside; Transient if it is cut off."""
        exchange = await self._wait_for_turn(miner)
        try:
            async with exchange.in_time():
                yield exchange
        finally:
            self._end(exchange)

    async def _wait_for_turn(self, miner: object) -> Exchange:
        turn: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = miner
        self._give_turns()
        try:
            while not turn.done():
                await asyncio.wait([turn], timeout=self.limits.patience_s)
                if not turn.done():
                    self._make_room(miner)
        except asyncio.CancelledError:
            if turn.done():
                self._end(turn.result())
            self._waiting.pop(turn, None)
            raise
        return turn.result()

    def _end(self, exchange: Exchange) -> None:
        self._running.discard(exchange)
        self._give_turns()

    def _give_turns(self) -> None:
        """A free place is taken at once for whoever has waited longest and may have it: who ends an exchange and begins
        another waits behind all others."""
        for turn, miner in list(self._waiting.items()):
            if len(self._running) >= self.limits.exchanges:
                return
            if self._has_room(miner):
                del self._waiting[turn]
                exchange = Exchange(self.limits, miner)
                self._running.add(exchange)
                turn.set_result(exchange)

    def _has_room(self, miner: object) -> bool:
        is_first = not self._is_running(miner)
        return len(self._running) < (self.limits.exchanges if is_first else self.limits.exchanges // 2)

    def _make_room(self, miner: object) -> None:
        if not self._is_running(miner) and self._running:
            slowest = max(self._running, key=lambda exchange: exchange.behind_s)
            if slowest.behind_s >= self.limits.patience_s:
                slowest.cut_off()

    def _is_running(self, miner: object) -> bool:
        return any(exchange.miner is miner for exchange in self._running)
