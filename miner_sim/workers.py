"""The child processes of the simulated miners: a few for training, one for inference; they alone hold torch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
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
    """One child process; a context of `at_work` is around each piece of its work."""

    def __init__(self, at_work: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(1)
        self._at_work = at_work

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._at_work():
            return await super().run(function, *args, **kwargs)


class Workers:
    """All child processes of the simulated miners; `on_change` is told when the first piece of work begins (True), and
    when the last has ended (False)."""

    def __init__(self, training_workers: int, on_change: Callable[[bool], None] = lambda _is_working: None) -> None:
        self._on_change = on_change
        self._pieces = 0
        self._children = {self._new_child() for _ in range(training_workers)}
        self._idle: asyncio.LifoQueue[ChildPool] = asyncio.LifoQueue()
        for child in self._children:
            self._idle.put_nowait(child)
        self.inference = self._new_child()

    def _new_child(self) -> ChildPool:
        return Child(self.at_work)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """A piece of work, a child's or another that somebody's clock must wait for."""
        self._pieces += 1
        if self._pieces == 1:
            self._on_change(True)
        try:
            yield
        finally:
            self._pieces -= 1
            if self._pieces == 0:
                self._on_change(False)

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
