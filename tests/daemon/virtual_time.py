"""An event loop whose clock jumps to the next timer when nothing is ready: waiting costs nothing, and repeats exactly.

For code whose input and output are all in this process. There are no sockets, no signals and no threads here: what is
handed to an executor runs at once, so that it happens at the same moment in every run.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(AssertionError):
    """Nothing is ready and no timer runs: whatever is waited for can never come."""


class Clock:
    """Seconds that have passed. It outlives the loops that run on it, as the world outlives a process."""

    def __init__(self) -> None:
        self.now_s = 0.0


class _NoSelector:
    """In the place of `select`: sleeping is a sum."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def select(self, timeout_s: float | None) -> list[Any]:
        if timeout_s is None:
            raise Stuck("everybody waits for somebody else")
        self._clock.now_s += timeout_s
        return []


class VirtualTimeLoop(asyncio.BaseEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._selector = _NoSelector(clock)

    def time(self) -> float:
        return self._clock.now_s

    def run_in_executor(  # type: ignore[override]
        self, _executor: Any, function: Callable[..., T], *arguments: Any
    ) -> "asyncio.Future[T]":
        outcome: asyncio.Future[T] = self.create_future()
        try:
            outcome.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001  # boundary: as a thread would hand it over
            outcome.set_exception(error)
        return outcome

    def _process_events(self, _events: list[Any]) -> None:
        """Timers are all there is."""

    def _write_to_self(self) -> None:
        """There is no other thread that could want to wake this one."""


def run(main: Coroutine[Any, Any, T], clock: Clock | None = None) -> T:
    """As `asyncio.run`, in virtual time."""
    loop = VirtualTimeLoop(clock or Clock())
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        asyncio.set_event_loop(None)
        loop.close()
