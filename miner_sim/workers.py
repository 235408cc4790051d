"""The child processes of the simulated miners: a few for training, one for inference; they alone hold torch."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from validator.child_processes import ChildPool

P = ParamSpec("P")
T = TypeVar("T")

CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
    "TOKENIZERS_PARALLELISM": "false",
}
"""To be in the environment before a child starts. Several threads per miner collapse when another process is busy (spin
barriers), and glibc otherwise gives every step's buffers back to the kernel, about a tenth of the time."""


class Child(ChildPool):
    """One child process; `on_work` is told of each piece of work that begins (1) and ends (-1)."""

    def __init__(self, on_work: Callable[[int], None]) -> None:
        super().__init__(1)
        self._on_work = on_work

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._on_work(1)
        try:
            return await super().run(function, *args, **kwargs)
        finally:
            self._on_work(-1)


class Workers:
    """All child processes of the simulated miners; `on_change` is told when the first begins to work (True), and when
    the last has ended (False)."""

    def __init__(self, training_workers: int, on_change: Callable[[bool], None] = lambda _is_working: None) -> None:
        self._on_change = on_change
        self._at_work = 0
        self._children = {self._new_child() for _ in range(training_workers)}
        self._idle: asyncio.LifoQueue[ChildPool] = asyncio.LifoQueue()
        for child in self._children:
            self._idle.put_nowait(child)
        self.inference = self._new_child()

    def _new_child(self) -> ChildPool:
        return Child(self._count_work)

    def _count_work(self, change: int) -> None:
        was_working, self._at_work = self._at_work > 0, self._at_work + change
        if was_working is not (self._at_work > 0):
            self._on_change(not was_working)

    @asynccontextmanager
    async def training_child(self) -> AsyncIterator[ChildPool]:
        """A child for one piece of work, as soon as one is idle; where that is cancelled, the child ends with it."""
        child = await self._idle.get()
        try:
            yield child
        except asyncio.CancelledError:
            self._children.remove(child)
            ended, child = child, self._new_child()
            self._children.add(child)
            await asyncio.to_thread(ended.close)
            raise
        finally:
            self._idle.put_nowait(child)

    def close(self) -> None:
        """End every child, in the middle of its work if need be, and wait until it is gone."""
        for child in (*self._children, self.inference):
            child.close()
